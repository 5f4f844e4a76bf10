"""The database: its connection pools and timeouts, transactions, and the lock that keeps imports,
purges and upgrades from running at the same time.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from peewee import DatabaseProxy, InterfaceError, OperationalError
from playhouse import db_url
from playhouse.pool import MaxConnectionsExceeded

AWAY = (OperationalError, InterfaceError, MaxConnectionsExceeded)
"""The errors that are raised when the database does not answer, or when all connections to it are
taken (for which peewee raises a ValueError)."""

PAGES, TICKS = 16, 6
"""Connections to PostgreSQL that a process takes at most: for pages and mail, and for the renewals
of live clocks.

Two machines with two processes each take 88 of the 100 that PostgreSQL has by default. Three of
those are its superuser's, the rest is for commands. A page holds one for milliseconds and none
while argon2 runs, a mail none while it is sent. A page that gets none in 10 seconds is answered
with 503. The clocks' are apart, so that pages that wait for a lock keep no clock waiting.
"""
SERVED_FOR = 15
"""Seconds that a statement of the server may take. A writer waits as long on SQLite, which is
longer than an import holds its lock."""
RENEWED_FOR = 2
"""Seconds that the query of a live clock may take."""


def reason(error: BaseException) -> str:
    """Return what the log may hold of a database error: its class and the code that PostgreSQL or
    SQLite gave it, e.g. `OperationalError 53300` or `OperationalError SQLITE_FULL`.

    Without a code it is libpq that could not connect, whose words are added. Other messages are
    left out, since they may hold what people typed.
    """
    cause, name = getattr(error, "orig", None), type(error).__name__
    code = getattr(cause, "sqlstate", None) or getattr(cause, "sqlite_errorname", None)
    if code is None and hasattr(cause, "sqlstate") and isinstance(error, OperationalError):
        code = " ".join(str(cause).split())[:200]
    return f"{name} {code}" if code else name


database: Any = DatabaseProxy()
ticks: Any = DatabaseProxy()
"""The same database for the clocks alone. It raises MaxConnectionsExceeded at once when its
connections are taken."""


def connect(url: str, *, serving: bool = False) -> None:
    """Bind the tables to a pool of connections to the database at `url` (sqlite:/// or
    postgresql://).

    On SQLite, a writer waits up to SERVED_FOR seconds for another, and a commit is on disk when it
    returns. On PostgreSQL, a statement is cancelled after SERVED_FOR seconds if `serving` is set.
    The statements of imports and upgrades have no such limit.
    """
    for pool in (database, ticks):
        if pool.obj is not None:
            pool.close_all()
    scheme, _, rest = url.partition("://")
    if scheme == "sqlite":
        database.initialize(_sqlite(rest))
        ticks.initialize(database.obj)
    else:
        database.initialize(
            _postgresql(url, SERVED_FOR if serving else 0, max_connections=PAGES, timeout=10)
        )
        ticks.initialize(_postgresql(url, RENEWED_FOR, max_connections=TICKS))


PRAGMAS = {
    "page_size": 16384,  # of a new file: a million people are written in a quarter of the calls
    "journal_mode": "wal",
    "synchronous": "full",
    "foreign_keys": 1,
    "busy_timeout": SERVED_FOR * 1000,
}


def _sqlite(path: str) -> Any:
    return db_url.connect(
        f"sqlite+pool://{path}",
        max_connections=0,
        check_same_thread=False,  # a connection goes from thread to thread, one at a time
        pragmas=PRAGMAS,
    )


def _postgresql(url: str, seconds: int, **pool: Any) -> Any:
    """Return a pool whose statements are cancelled after `seconds` seconds, or never if that is 0.

    If the server has vanished, this is noticed five seconds after a statement was sent
    (`tcp_user_timeout`), or after 25 seconds of silence (`keepalives…`). A connection is closed a
    minute after it was opened, so that the pool shrinks again after a rush. Any of these options
    may be set in the URL instead, e.g. `?connect_timeout=10`.
    """
    options: dict[str, Any] = {
        "connect_timeout": 3,
        "tcp_user_timeout": 5000,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "options": f"-c statement_timeout={seconds}s",
    }
    for name in parse_qs(urlsplit(url).query):
        options.pop(name, None)
    address = f"postgresql+pool://{url.partition('://')[2]}"
    return db_url.connect(
        address, unquote_password=True, unquote_user=True, stale_timeout=60, **pool, **options
    )


def connected() -> contextlib.AbstractContextManager[Any]:
    """Use this thread's connection, or take one from the pool and give it back afterwards.

    Raise one of AWAY if no connection can be made or is free.
    """
    return database.connection_context() if database.is_closed() else contextlib.nullcontext()


_asking = ThreadPoolExecutor(1, "health")
_asked: Future[Any] | None = None


def answers(seconds: float = 1.5) -> bool:
    """Return whether the database answers a query within `seconds` seconds.

    The query runs in a thread of its own, since neither a new connection nor a query can be given a
    limit that holds against a server that is silent. While one hangs, no other is begun.
    """
    global _asked
    asked = _asked
    if asked is None or asked.done():
        asked = _asked = _asking.submit(_ask)
    try:
        asked.result(seconds)
    except (*AWAY, TimeoutError):
        return False
    return True


def _ask() -> None:
    with connected():
        database.execute_sql("SELECT 1")


def rest() -> None:
    """Give this thread's connection back before long work that needs none, such as argon2. The next
    query takes one again.

    Do nothing within a transaction. Do not call it inside connected(), whose own connection it
    would close.
    """
    if database.obj is not None and not database.is_closed() and not database.in_transaction():
        database.close()


@contextlib.contextmanager
def transaction() -> Iterator[None]:
    """Run the block in a transaction.

    On SQLite, take the write lock at once. Otherwise a transaction that reads first could fail at
    its first write.
    """
    at_once = is_sqlite() and not database.in_transaction()
    with connected(), database.atomic("IMMEDIATE") if at_once else database.atomic():
        yield


LOCK = 0x6B616B75
"""The number of the advisory lock on PostgreSQL."""


class Busy(Exception):
    """Another import, purge or upgrade is running. The text is a sentence for the clerk."""


def encoding_fault() -> str:
    """Return a sentence if the present connection's database cannot store Japanese, or an empty
    string."""
    if is_sqlite():
        return ""
    found = database.connection().info.parameter_status("server_encoding")
    if found == "UTF8":
        return ""
    return (
        f"The database's encoding is {found}. Kakunin needs UTF8: make another one with "
        "createdb --encoding=UTF8 --template=template0 NAME."
    )


def is_sqlite() -> bool:
    return "sqlite" in type(database.obj).__name__.lower()


def database_place() -> str:
    """Return where the database is, without a password: the file, or the server and the name."""
    return (
        str(Path(database.database).absolute())
        if is_sqlite()
        else f"PostgreSQL {database.database}"
    )


def database_exists() -> bool:
    """Return False if the database is an SQLite file that is not there. A connection would make it."""
    return not is_sqlite() or Path(database.database).exists()


def make_database() -> None:
    """Make the SQLite file and its folder, unless they are there. It is readable by its owner
    alone, since it will contain password hashes."""
    if is_sqlite():
        file = Path(database.database)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600)


@contextlib.contextmanager
def exclusive_lock(seconds: float = 0) -> Iterator[None]:
    """Keep other imports, purges and upgrades from running during the block. Raise Busy if one
    still runs after `seconds` seconds.

    The lock belongs to the operating system (SQLite) or to the server (PostgreSQL), so it is
    released however the process ends.
    """
    until = time.monotonic() + seconds
    with contextlib.ExitStack() as stack:
        if is_sqlite():
            handle = os.open(f"{database.database}.lock", os.O_CREAT | os.O_RDWR, 0o600)
            stack.callback(os.close, handle)
        else:
            stack.enter_context(connected())
        while not (_lock_file(handle) if is_sqlite() else _lock_server()):
            if time.monotonic() >= until:
                raise Busy(
                    "ほかの取り込みか更新が動いています。終わってから、もう一度実行してください。"
                )
            time.sleep(0.1)
        if not is_sqlite():
            stack.callback(database.execute_sql, "SELECT pg_advisory_unlock(%s)", (LOCK,))
        yield


def _lock_file(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _lock_server() -> bool:
    return database.execute_sql("SELECT pg_try_advisory_lock(%s)", (LOCK,)).fetchone()[0]
