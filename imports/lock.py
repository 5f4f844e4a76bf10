"""The lock that keeps imports, purges and upgrades apart."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator

import models

LOCK = 0x6B616B75
"""The number of the advisory lock on PostgreSQL."""


class Busy(Exception):
    """Another import or upgrade is running; the text is a sentence for the clerk."""


def is_sqlite() -> bool:
    return "sqlite" in type(models.database.obj).__name__.lower()


@contextlib.contextmanager
def exclusive_lock(seconds: float = 0) -> Iterator[None]:
    """Keep every other import, purge and upgrade away. Waits so many seconds for one that runs. Raises Busy.

    A lock of the operating system or of the server: it ends with the process, however that ends.
    """
    until = time.monotonic() + seconds
    with contextlib.ExitStack() as stack:
        if is_sqlite():
            handle = os.open(f"{models.database.database}.lock", os.O_CREAT | os.O_RDWR, 0o600)
            stack.callback(os.close, handle)
        else:
            stack.enter_context(
                models.database.connection_context() if models.database.is_closed() else contextlib.nullcontext()
            )
        while not (_lock_file(handle) if is_sqlite() else _lock_server()):
            if time.monotonic() >= until:
                raise Busy("ほかの取り込みか更新が動いています。終わってから、もう一度実行してください。")
            time.sleep(0.1)
        if not is_sqlite():
            stack.callback(models.database.execute_sql, "SELECT pg_advisory_unlock(%s)", (LOCK,))
        yield


def _lock_file(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _lock_server() -> bool:
    return models.database.execute_sql("SELECT pg_try_advisory_lock(%s)", (LOCK,)).fetchone()[0]
