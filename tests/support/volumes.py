"""Small volumes that tests mount, fill and break."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from pathlib import Path

SYS_ADMIN = 21
"""The number of the capability that mount(2) needs; see capabilities(7)."""


def can_mount() -> bool:
    """Return whether this process may mount a file as a volume: as root on Linux, and in few
    containers."""
    with contextlib.suppress(OSError):
        status = Path("/proc/self/status").read_text()
        held = int(status.partition("CapEff:")[2].split()[0], 16)
        can = bool(held >> SYS_ADMIN & 1) and Path("/dev/loop-control").exists()
        return can and Path("/sbin/mkfs.ext4").exists()
    return False


class Volume:
    """A volume of `megabytes` MB, mounted at `path` as long as the context lasts, in a folder that
    PostgreSQL's own user can enter."""

    def __init__(self, megabytes: int = 24) -> None:
        self.megabytes = megabytes

    def __enter__(self) -> Volume:
        self.folder = Path(tempfile.mkdtemp(prefix="kakunin-volume-"))
        self.folder.chmod(0o755)
        self.path, self.image = self.folder / "volume", self.folder / "image"
        with self.image.open("wb") as image:
            image.truncate(self.megabytes * 1_000_000)
        self.path.mkdir()
        _run("/sbin/mkfs.ext4", "-q", "-m", "0", str(self.image))
        self.mount()
        self.path.chmod(0o777)
        return self

    def mount(self) -> None:
        _run("mount", "-o", "loop", str(self.image), str(self.path))

    def unmount(self) -> None:
        _run("umount", str(self.path))

    def turn_read_only(self) -> None:
        """Turn read-only as after an error of the disk, under whatever is open for writing."""
        _run("mount", "-o", "remount,abort", str(self.path))

    def fill(self) -> Path:
        """Fill the volume to its last byte by one file, and return that."""
        filler = self.path / "filler"
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
        return filler

    def __exit__(self, *_error: object) -> None:
        _run("umount", "--lazy", str(self.path))
        shutil.rmtree(self.folder)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
