"""Loaded at the start of every Python under a moved clock: see tests/days/__main__.py."""

import threading
import time


def sleep(seconds: float) -> None:
    """Sleep by a lock's timeout: libfaketime breaks time.sleep if it leaves the monotonic clock as
    it is."""
    threading.Event().wait(seconds)


time.sleep = sleep
