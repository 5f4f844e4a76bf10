"""Run every test, as `make test` does: `python -m tests`.

Tests that drive browsers and tests that drive servers mostly wait. So each kind has a lane of its
own, and the tests that compute use the cores behind them, at the lowest priority. What a run prints
comes once it has ended. A lane stops at its first run that fails.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

CALM = ("nice", "-n", "19")
PYTEST = (sys.executable, "-m", "pytest")
POSTGRESQL = ("--database", "postgresql")
LANES = (
    (
        (*PYTEST, "-m", "slow and browser"),
        (*PYTEST, "-m", "slow and browser", *POSTGRESQL),
    ),
    (
        (*PYTEST, "-m", "slow and not browser"),
        (*PYTEST, "-m", "slow and not browser", *POSTGRESQL),
    ),
    (
        (*CALM, *PYTEST, "-m", "not slow", "-n", "auto"),
        (*CALM, *PYTEST, "-m", "not slow", "-n", "auto", *POSTGRESQL),
        (*CALM, sys.executable, "-m", "tests.days"),
    ),
)


def main() -> int:
    """Return 0 if all runs succeed, and else 1."""
    printing, red = threading.Lock(), threading.Event()

    def follow(lane: tuple[tuple[str, ...], ...]) -> None:
        for run in lane:
            done = subprocess.run(
                run, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
            )
            with printing:
                name = " ".join([Path(run[0]).name, *run[1:]])
                print(f"\n{name}\n{done.stdout.decode()}", flush=True)
            if done.returncode:
                red.set()
                return

    print(
        "Three lanes of tests run beside each other. The first prints in some minutes.", flush=True
    )
    threads = [threading.Thread(target=follow, args=(lane,)) for lane in LANES]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return int(red.is_set())


if __name__ == "__main__":
    sys.exit(main())
