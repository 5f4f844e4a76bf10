"""The database: where it is, how many connections it gets, and transactions."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from peewee import DatabaseProxy
from playhouse import db_url

database: Any = DatabaseProxy()


def connect(url: str) -> None:
    """Bind the tables to the database at `url` (sqlite:/// or postgresql://), pooled.

    On SQLite a writer waits up to 15 seconds for another, longer than an import holds the lock; each commit is on disk when
    it returns; and the file is its owner's alone, since it holds password hashes.
    """
    scheme, _, rest = url.partition("://")
    if scheme == "sqlite":
        file = Path(rest[1:])
        if file.parent.is_dir() and not file.exists():
            file.touch(mode=0o600)
        options: dict[str, Any] = {
            "timeout": 15,
            "max_connections": 0,
            "check_same_thread": False,  # a connection goes from thread to thread, one at a time
            "pragmas": {
                "page_size": 16384,  # of a new file: a million people are written in a quarter of the calls
                "journal_mode": "wal",
                "synchronous": "full",
                "foreign_keys": 1,
                "busy_timeout": 15000,
            },
        }
    else:
        scheme = "postgresql"
        options = {"max_connections": 40, "timeout": 15, "unquote_password": True, "unquote_user": True}
        options |= {"connect_timeout": 5}
    if database.obj is not None:
        database.close_all()
    database.initialize(db_url.connect(f"{scheme}+pool://{rest}", **options))


@contextlib.contextmanager
def transaction() -> Iterator[None]:
    """All or nothing. On SQLite it takes the write lock at once, so that reading before writing never fails half-way."""
    at_once = "sqlite" in type(database.obj).__name__.lower() and not database.in_transaction()
    with (
        database.connection_context() if database.is_closed() else contextlib.nullcontext(),
        database.atomic("IMMEDIATE") if at_once else database.atomic(),
    ):
        yield
