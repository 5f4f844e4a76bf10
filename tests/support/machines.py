"""Servers that the tests of faults start, stop and kill, and the reverse proxy of deploy/nginx.conf
in front of them."""

from __future__ import annotations

import http.client
import os
import re
import resource
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests.support.postgres import free_port
from tests.support.ready import children, path_of
from tests.support.sample import FLASK, ROOT


def until(true: Callable[[], object], seconds: float = 20) -> None:
    """Wait until `true()` is true. Fail after `seconds` seconds."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.05)


class Machine:
    """`flask serve` in a process group of its own."""

    def __init__(self, settings: dict[str, str], workers: str = "1") -> None:
        self.port = free_port()
        self.env = (
            os.environ
            | settings
            | {"HOST": "127.0.0.1", "PORT": str(self.port), "WORKERS": workers}
        )
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [*FLASK, "serve"],
            cwd=ROOT,
            env=self.env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        until(lambda: self.answers("/healthz") == 200)

    def answers(self, path: str) -> int:
        """Return the status of a page, or 0 if there was no answer."""
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            link.request("GET", path)
            return link.getresponse().status
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            link.close()

    def kill(self) -> None:
        """Kill all processes at once, as if the machine had lost its power."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def end(self) -> int:
        """Send SIGTERM, wait up to 40 seconds, and return the exit status."""
        self.process.terminate()
        return self.process.wait(40)


class Nginx:
    """nginx with deploy/nginx.conf, in which only host names, ports and paths are replaced, and with
    a certificate for a new key of the given kind, as openssl names it."""

    def __init__(
        self, folder: Path, port: int, machines: list[Machine], key: tuple[str, ...] = ("rsa:2048",)
    ) -> None:
        self.address, program = f"https://localhost:{port}", path_of("nginx")
        secret, certificate = folder / "privkey.pem", folder / "fullchain.pem"
        made = ["openssl", "req", "-x509", "-newkey", *key, "-nodes", "-days", "2"]
        subject = ["-subj", "/CN=localhost", "-keyout", str(secret), "-out", str(certificate)]
        subprocess.run([*made, *subject], check=True, capture_output=True)
        text = (ROOT / "deploy/nginx.conf").read_text("utf-8")
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)  # more is refused, except to root
        kinds = ("client_body", "proxy", "fastcgi", "scgi", "uwsgi")
        paths = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in kinds)
        servers = "\n".join(rf"server 127.0.0.1:{machine.port} \1" for machine in machines)
        for old, new in (
            (r"server 127\.0\.0\.1:8000 ([^\n]*)", servers),
            (r"kakunin\.example\.jp", "localhost"),
            (r"listen 80;", f"listen 127.0.0.1:{free_port()};"),
            (r"listen 443 ", f"listen 127.0.0.1:{port} "),
            (r"/etc/ssl/kakunin", str(folder)),
            (r"worker_rlimit_nofile 65536", f"worker_rlimit_nofile {min(65536, most)}"),
            (r"/run/nginx\.pid", f"{folder}/nginx.pid"),
            (r"/var/log/nginx", str(folder)),
            (r"http \{", f"http {{\n{paths}"),  # Debian's are root's
        ):
            text, count = re.subn(old, new, text)
            assert count, old
        self.conf = folder / "nginx.conf"
        self.conf.write_text(text, "utf-8")
        self.command = [program, "-c", str(self.conf), "-e", str(folder / "error.log")]
        tested = subprocess.run([*self.command, "-t"], capture_output=True, text=True, check=False)
        assert tested.returncode == 0, tested.stderr
        self.process = subprocess.Popen(
            [*self.command, "-g", "daemon off;"], stderr=subprocess.DEVNULL
        )

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(10)


def status(port: int, path: str, form: str | None = None) -> tuple[int, str]:
    """Get a page from the server on this port, or send `form` to it if given. Return the status and
    the page."""
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=40)
    kind = {"Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-Site": "same-origin"}
    link.request("POST" if form else "GET", path, form, kind)
    answer = link.getresponse()
    page = answer.read().decode()
    link.close()
    return answer.status, page


def workers(process: subprocess.Popen[bytes]) -> list[int]:
    """Return the ids of the server's worker processes, which are its children with more than four
    threads."""
    started = children(process.pid)
    return [pid for pid in started if len(list(Path(f"/proc/{pid}/task").iterdir())) > 4]
