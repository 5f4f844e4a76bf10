"""A PostgreSQL of the tests' own: a cluster on a free port of 127.0.0.1, that they may stop and
start."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

SPEED = "-c fsync=off -c synchronous_commit=off -c full_page_writes=off"
"""For what tests nothing of a power cut."""


def programs() -> Path | None:
    """The folder of initdb and pg_ctl, of the newest version: Debian keeps them off the PATH."""
    if found := shutil.which("initdb"):
        return Path(found).parent
    versions = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    return max(
        (path.parent for path in versions), key=lambda path: float(path.parent.name), default=None
    )


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Cluster:
    """With `with`: made and started, then stopped and deleted."""

    def __init__(self, options: str = SPEED) -> None:
        found = programs()
        assert found, "python -m tests.support.ready installs PostgreSQL"
        self.programs, self.options, self.port = found, options, free_port()

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
        """fast: connections are cut. immediate: as if the plug were pulled."""
        self._run("pg_ctl", "-D", str(self.folder), "-w", "-m", mode, "stop")

    def signal(self, number: int) -> None:
        """Send a signal to all of its processes. SIGSTOP freezes it, as a machine that hangs: it
        takes connections, and is silent."""
        main = int((self.folder / "postmaster.pid").read_text().split()[0])
        children = Path(f"/proc/{main}/task/{main}/children").read_text().split()
        for process in (main, *map(int, children)):
            os.kill(process, number)

    def __exit__(self, *_error: object) -> None:
        self._run("pg_ctl", "-D", str(self.folder), "-m", "immediate", "stop", check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, name: str, *arguments: str, check: bool = True) -> None:
        """PostgreSQL refuses to run as root: there its Debian user runs it."""
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
