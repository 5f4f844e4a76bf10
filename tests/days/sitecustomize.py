"""Replace time.sleep under a moved clock. Python loads this module at its start; see
tests/days/__main__.py."""

import threading
import time


def sleep(seconds: float) -> None:
    """Sleep by waiting for a lock, since libfaketime breaks time.sleep if it does not move the
    monotonic clock."""
    threading.Event().wait(seconds)


time.sleep = sleep
