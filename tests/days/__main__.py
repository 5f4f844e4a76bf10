"""Run the tests that are not slow on other days, under a clock that libfaketime moves: `python -m
tests.days`.

Other days can be given as arguments, in any form that `date --date` reads. The clock goes on from
the given moment. The monotonic clock is not moved, since libfaketime does not adjust the waits that
depend on it.
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
    pytest = [sys.executable, "-m", "pytest", "-m", "not slow", "-p", "no:cacheprovider"]
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    # all days at once, each in one process: those of pytest-xdist spin where they would wait
    runs = [
        subprocess.Popen(
            [found, "-m", "--exclude-monotonic", day, *pytest],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for day in days
    ]
    for day, run in zip(days, runs, strict=True):
        output, _ = run.communicate()
        sys.stdout.write(f"The clock says: {day}\n{output.decode()}\n")
        sys.stdout.flush()
    sys.exit(int(any(run.returncode for run in runs)))


if __name__ == "__main__":
    main()
