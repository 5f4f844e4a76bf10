"""A PostgreSQL cluster for tests, on a free port of 127.0.0.1, which they may stop and start."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

from tests.support.ready import children, path_of

SPEED = "-c fsync=off -c synchronous_commit=off -c full_page_writes=off"
"""For what tests nothing of a power cut."""


def free_port() -> int:
    """Return a port of 127.0.0.1 on which nothing listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Cluster:
    """A cluster. As a context manager, create and start it, and at the end stop and delete it.

    Raise Missing if PostgreSQL is not on this machine.
    """

    def __init__(self, options: str = SPEED) -> None:
        self.programs = Path(path_of("PostgreSQL")).parent
        self.options, self.port = options, free_port()

    def url(self, name: str = "postgres") -> str:
        return f"postgresql://kakunin@127.0.0.1:{self.port}/{name}"

    def __enter__(self) -> Cluster:
        self.folder = Path(tempfile.mkdtemp(prefix="kakunin-postgres-"))
        if os.geteuid() == 0:
            shutil.chown(self.folder, "postgres", "postgres")
        self._run(
            "initdb",
            "-D",
            str(self.folder),
            "-U",
            "kakunin",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C",
            "-N",
        )
        self.start()
        return self

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.folder} {self.options}"
        self._run(
            "pg_ctl",
            "-D",
            str(self.folder),
            "-l",
            str(self.folder / "log"),
            "-w",
            "-o",
            options,
            "start",
        )

    def stop(self, mode: str = "fast") -> None:
        """Stop the server. `fast` closes connections, and `immediate` acts like a power cut."""
        self._run("pg_ctl", "-D", str(self.folder), "-w", "-m", mode, "stop")

    def signal(self, number: int) -> None:
        """Send a signal to all processes of the server. After SIGSTOP it acts like a machine that
        hangs: it accepts connections and does not answer.
        """
        main = int((self.folder / "postmaster.pid").read_text().split()[0])
        for process in (main, *children(main)):
            os.kill(process, number)

    def __exit__(self, *_error: object) -> None:
        self._run("pg_ctl", "-D", str(self.folder), "-m", "immediate", "stop", check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, name: str, *arguments: str, check: bool = True) -> None:
        """Run a program of PostgreSQL. If the tests run as root, use Debian's user, since
        PostgreSQL refuses to run as root."""
        user = "postgres" if os.geteuid() == 0 else None
        subprocess.run(
            [str(self.programs / name), *arguments],
            check=check,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            user=user,
            group=user,
            extra_groups=user and [],
        )
