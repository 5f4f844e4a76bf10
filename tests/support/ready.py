"""Find or install the programs that the tests need, or print what is missing: `python -m
tests.support.ready`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from imports.printing import missing_fonts
from tests.support import postgres, webkit


def browser() -> str | None:
    """Return the path of Debian's Chromium, or of Playwright's own, or None if neither is
    installed."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if Path(path).exists() else None


def proxy() -> str | None:
    """Return the path of nginx, or None. Debian puts it on the PATH of root alone."""
    return shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


class Program(NamedTuple):
    name: str
    found: Callable[[], object]
    debian: tuple[str, ...]
    otherwise: tuple[str, ...] = ()
    """What installs it without apt-get and root."""
    wanted: str = ""
    """What becomes of the tests without it; if this is empty, they need it."""


NEEDED = (
    Program(
        "Chromium",
        browser,
        ("chromium",),
        (sys.executable, "-m", "playwright", "install", "chromium"),
    ),
    Program("the letters' fonts", lambda: not missing_fonts(), ("fonts-noto-cjk",)),
    Program("PostgreSQL", postgres.programs, ("postgresql",)),
    Program("nginx", proxy, ("nginx-light",)),
    Program("systemd", lambda: shutil.which("systemd-analyze"), ("systemd",)),
    Program(
        "faketime",
        lambda: shutil.which("faketime"),
        ("faketime",),
        wanted="no test runs on other days",
    ),
    Program(
        "WebKit",
        webkit.browser,
        ("webkit2gtk-driver", "xvfb", "xauth"),
        wanted="the tests in it are left out and counted",
    ),
)


def main() -> None:
    missing = [program for program in NEEDED if not program.found()]
    if not missing:
        return
    if shutil.which("apt-get") and os.geteuid() == 0:
        packages = [package for program in missing for package in program.debian]
        steps = [
            ["apt-get", "update", "-qq"],
            ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages],
        ]
    else:
        steps = [list(program.otherwise) for program in missing if program.otherwise]
    for step in steps:
        sys.stdout.write(
            f"The tests need {' and '.join(program.name for program in missing)}: {' '.join(step)}\n"
        )
        sys.stdout.flush()
        subprocess.run(
            step,
            stdout=subprocess.DEVNULL,
            check=False,
            env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
        )
    for program in missing:
        if program.found():
            continue
        names = ", ".join(program.debian)
        if program.wanted:
            sys.stdout.write(
                f"{program.name} is not here (Debian's packages: {names}): {program.wanted}.\n"
            )
        else:
            sys.exit(
                f"The tests need {program.name}, which could not be installed. Install it (Debian's packages: {names}), "
                "then run make test again."
            )


if __name__ == "__main__":
    main()
