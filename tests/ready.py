"""`python -m tests.ready` finds or installs the browser that the tests need, or says in a sentence what is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

CJK = ("fonts-noto-cjk",)


def browser() -> str | None:
    """The path of a Chromium: Debian's, or the one that Playwright keeps."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if Path(path).exists() else None


def main() -> None:
    if browser():
        return
    if shutil.which("apt-get") and os.geteuid() == 0:
        steps = [["apt-get", "update", "-qq"], ["apt-get", "install", "-y", "-qq", "chromium", *CJK]]
    else:
        steps = [[sys.executable, "-m", "playwright", "install", "chromium"]]
    for step in steps:
        sys.stdout.write(f"The browser tests need Chromium: {' '.join(step)}\n")
        subprocess.run(step, stdout=subprocess.DEVNULL, check=False)
    if not browser():
        sys.exit("The browser tests need Chromium, which could not be installed. Install it, then run make test again.")


if __name__ == "__main__":
    main()
