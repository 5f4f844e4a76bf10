"""`python -m tests.days` runs the tests that are not slow once more on other days, under clocks
that libfaketime moves.

Other days may be named as arguments, in any form that `date --date` reads. The clocks advance; only
the monotonic one is left as it is, since libfaketime does not shorten the waits that depend on it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

DAYS = ("400 days", "2028-02-29 12:00:00 +0900", "2030-01-01 00:00:30 +0900")
"""In the next but one year, on a leap day, and half a minute into a year in Tokyo, where it is
still the old one in UTC."""


def main() -> None:
    days, found = sys.argv[1:] or DAYS, shutil.which("faketime")
    if not found:
        sys.stdout.write(
            f"Tests not run on {len(days)} other days: libfaketime (Debian's faketime) could not be installed.\n"
        )
        return
    pytest = [sys.executable, "-m", "pytest", "-m", "not slow", "-n", "2", "-p", "no:cacheprovider"]
    for day in days:
        sys.stdout.write(f"The clock says: {day}\n")
        sys.stdout.flush()
        moved = [found, "-m", "--exclude-monotonic", day, *pytest]
        done = subprocess.run(
            moved, env=os.environ | {"PYTHONPATH": str(Path(__file__).parent)}, check=False
        )
        if done.returncode:
            sys.exit(done.returncode)


if __name__ == "__main__":
    main()
