"""Find or install the programs that tests and measurements need.

`python -m tests.support.ready` does so before the tests, and `python -m tests.support.ready left`
names after them what was missing. If the environment has CI, nothing may be missing.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from imports import printing

CACHE = Path(".pytest_cache/v/kakunin")
"""Where pytest keeps how many tests each run left out, by program; conftest.py writes it."""
POLICY = Path("/usr/sbin/policy-rc.d")
"""Debian's packages ask this program before they start a service, which 101 forbids. Source:
/usr/share/doc/init-system-helpers/README.policy-rc.d.gz."""
REFUSE = "#!/bin/sh\nexit 101\n"


class Missing(Exception):
    """Something that a test needs is not on this machine. conftest.py leaves the test out."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} is not on this machine, and python -m tests.support.ready tells")
        self.name = name


def _runs(*command: str) -> bool:
    """Return whether the program starts. One that is there may lack a library of the system's."""
    done = subprocess.run(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False
    )
    return done.returncode == 0


@functools.cache
def chromium() -> str | None:
    """Return the path of Debian's Chromium, or of Playwright's own, or None if neither starts or
    Playwright, which drives it, does not start."""
    if not _runs(sys.executable, "-m", "playwright", "--version"):
        return None
    names = ("chromium", "chromium-browser", "google-chrome")
    for path in filter(None, map(shutil.which, names)):
        if _runs(path, "--version"):
            return path
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if Path(path).exists() and _runs(path, "--version") else None


def webkit() -> str | None:
    """Return the path of WebKitGTK's MiniBrowser, or None if it or one of its tools is missing."""
    found = next(Path("/usr/lib").glob("*/webkit2gtk-4.1/MiniBrowser"), None)
    tools = ("WebKitWebDriver", "xvfb-run", "xauth")
    return str(found) if found and all(map(shutil.which, tools)) else None


def postgresql() -> str | None:
    """Return the path of initdb in the newest version, or None. Debian does not put it on the
    PATH."""
    versions = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    newest = max(versions, key=lambda path: float(path.parent.parent.name), default=None)
    return shutil.which("initdb") or (str(newest) if newest else None)


def nginx() -> str | None:
    """Return the path of nginx, or None if it or openssl, which makes its certificate, is missing.
    Debian puts nginx on the PATH of root alone."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"
    return shutil.which("nginx", path=path) if shutil.which("openssl") else None


def letters_fonts() -> str | None:
    """Return the names of the letters' fonts, or None if one is not installed."""
    return None if printing.missing_fonts() else ", ".join(printing.FONTS)


class Program(NamedTuple):
    found: Callable[[], str | None]
    debian: tuple[str, ...] = ()
    """The packages that it comes with."""
    services: tuple[str, ...] = ()
    """What these packages start at each boot, unless it is disabled."""
    otherwise: tuple[str, ...] = ()
    """The command that installs it without apt-get and root."""


PROGRAMS = {
    "Chromium": Program(
        chromium,
        ("chromium", "fonts-noto-cjk", "libatomic1"),  # Playwright's own Node needs the last
        otherwise=(sys.executable, "-m", "playwright", "install", "chromium"),
    ),
    "Noto CJK": Program(letters_fonts, ("fonts-noto-cjk",)),
    "PostgreSQL": Program(postgresql, ("postgresql",), services=("postgresql",)),
    "nginx": Program(nginx, ("nginx-light", "openssl"), services=("nginx",)),
    "systemd": Program(lambda: shutil.which("systemd-analyze"), ("systemd",)),
    "faketime": Program(lambda: shutil.which("faketime"), ("faketime",)),
    "WebKit": Program(webkit, ("webkit2gtk-driver", "xvfb", "xauth")),
    "Linux": Program(lambda: shutil.which("true") if Path("/proc/self/task").exists() else None),
}


def path_of(name: str) -> str:
    """Return the path of a program of PROGRAMS. Raise Missing if it is not there."""
    if path := PROGRAMS[name].found():
        return path
    raise Missing(name)


def children(pid: int) -> list[int]:
    """Return the ids of the processes that this one started. Raise Missing if this is not Linux."""
    path_of("Linux")
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def missing() -> list[str]:
    return [name for name, program in PROGRAMS.items() if not program.found()]


def packages(names: Iterable[str]) -> list[str]:
    return [package for name in names for package in PROGRAMS[name].debian]


def apt_get(names: Iterable[str]) -> list[str]:
    """Return the command that installs these programs on Debian."""
    return ["apt-get", "install", "-y", "--no-install-recommends", *packages(names)]


@contextlib.contextmanager
def no_service_starts() -> Iterator[None]:
    """Forbid Debian's packages to start services meanwhile."""
    before = POLICY.with_name("policy-rc.d.before")
    if POLICY.exists():
        POLICY.rename(before)
    POLICY.write_text(REFUSE)
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink(missing_ok=True)
        if before.exists():
            before.rename(POLICY)


def run(*command: str, **options: Any) -> None:
    """Run the command and show its complaints alone. Whether it did its work is looked at later."""
    env = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(command, stdout=subprocess.DEVNULL, check=False, env=env, **options)


def install(names: list[str]) -> None:
    """Install what can be installed: with apt-get as root, and with other commands otherwise.
    Nothing that comes this way listens, neither now nor after a boot."""
    if shutil.which("apt-get") and os.geteuid() == 0:
        say(f"Installing for the tests: {' '.join(packages(names))}")
        with no_service_starts():
            run("apt-get", "update", "-qq")
            run(*apt_get(names), "-qq")
        services = [service for name in names for service in PROGRAMS[name].services]
        if services and shutil.which("systemctl"):
            run("systemctl", "--quiet", "disable", *services)
    else:
        for command in filter(None, (PROGRAMS[name].otherwise for name in names)):
            say(f"Installing for the tests: {' '.join(command)}")
            run(*command, stderr=subprocess.DEVNULL)  # left() names what did not come
    chromium.cache_clear()
    printing.machine_fonts.cache_clear()


def say(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def main() -> None:
    if names := missing():
        install(names)
    if (names := missing()) and "CI" in os.environ:
        sys.exit(f"CI is set, and these are missing: {', '.join(names)}. {advice(names)}")


def advice(names: list[str]) -> str:
    return f"On Debian, as root: {' '.join(apt_get(names))}"


def left() -> None:
    """Print how many tests `make test` left out for want of which program, and what installs all
    of them at once."""
    names, counts = missing(), Counter[str]()
    for file in CACHE.glob("*"):
        counts.update(json.loads(file.read_text()))
    if not names:
        return
    say("", "Not on this machine, so these tests were left out:")
    for name in names:
        what = f"{counts[name]} tests" if counts[name] else "some of these"
        what = "all tests on other days" if name == "faketime" else what
        say(f"  {name + ':':<12}{what}")
    if packages(names):
        say(f"{advice(names)}")


if __name__ == "__main__":
    left() if sys.argv[1:] == ["left"] else main()
