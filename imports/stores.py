"""Where an import works: SQLite's own file, or a temporary copy of PostgreSQL's members; and the lock that keeps two apart."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import models

LOCK = 0x6B616B75
"""The number of the advisory lock on PostgreSQL."""


class Busy(Exception):
    """Another import or upgrade is running; the text is a sentence for the clerk."""


def is_sqlite() -> bool:
    return "sqlite" in type(models.database.obj).__name__.lower()


@contextlib.contextmanager
def alone(seconds: float = 0) -> Iterator[None]:
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


class Workspace(sqlite3.Connection):
    """A connection that sees the stored members and accounts, and has `stage` and `logins`, files for tables that vanish."""

    aside: sqlite3.Connection
    """Another connection that sees the same, for another thread to read with, at the same time."""
    ended: contextlib.ExitStack
    """What ends with it: files, and other processes, which hold the import's lock as well."""
    folder: tempfile.TemporaryDirectory[str]
    """Where the files are until `folder.cleanup()`: from then on they have no name, and nothing of them is left, however the process ends."""


@contextlib.contextmanager
def workspace() -> Iterator[Workspace]:
    """Where a roster is compared with what is stored.

    On SQLite it is a connection of its own to the file; on PostgreSQL to a copy of the members.
    """
    path = Path(models.database.database) if is_sqlite() else ":memory:"
    options: dict[str, Any] = {"isolation_level": None, "timeout": 15, "check_same_thread": False, "factory": Workspace}
    with (
        contextlib.closing(sqlite3.connect(path, **options)) as work,
        contextlib.closing(sqlite3.connect(path, **options)) as aside,
    ):
        work.aside = aside
        work.folder = tempfile.TemporaryDirectory(prefix="kakunin-", dir=os.environ.get("TMPDIR", "/var/tmp"))  # noqa: S108 - as SQLite itself
        with work.folder as folder, contextlib.ExitStack() as work.ended:
            for connection in (work, aside):
                connection.executescript("PRAGMA main.synchronous = FULL; PRAGMA main.cache_size = -48000;")
                for name, cache in (("stage", 48000), ("logins", 16000)):
                    connection.execute(f"ATTACH ? AS {name}", (f"{folder}/{name}",))
                    tune(connection, name, cache)
            if not is_sqlite():
                work.folder.cleanup()
                _copy_members(work)
            yield work


def tune(connection: sqlite3.Connection, name: str, cache: int) -> None:
    """A file that need not outlive the process, with so many KB of cache, and open from now on."""
    connection.executescript(
        f"PRAGMA {name}.page_size = 16384; PRAGMA {name}.cache_size = -{cache};"
        f"PRAGMA {name}.journal_mode = OFF; PRAGMA {name}.synchronous = OFF;"
    )
    connection.execute(f"SELECT count(*) FROM {name}.sqlite_schema").fetchone()


def execute(
    work: sqlite3.Connection,
    statements: list[tuple[str, tuple[Any, ...]]],
    last: Callable[[], None],
    foreign_keys: bool = True,
) -> None:
    """Run the statements, and `last`, in one transaction of the database itself. `{}` in them stands for a value.

    Without `foreign_keys` SQLite trusts that whatever is referred to comes along.
    """
    if not is_sqlite():
        return _execute_on_server(work, statements, last)
    work.execute(f"PRAGMA foreign_keys = {foreign_keys:d}")
    work.execute("BEGIN IMMEDIATE")
    try:
        for sql, values in statements:
            work.execute(sql.format(*"?" * len(values)), values)
        last()
    except BaseException:
        work.execute("ROLLBACK")
        raise
    work.execute("COMMIT")


def _copy_members(work: sqlite3.Connection) -> None:
    """A copy of what plans look at, as SQLite would have stored it: days as 1980-01-01, truth as 0 and 1."""
    fields = models.Member._meta.sorted_fields
    numbers = [field.field_type in ("AUTO", "INT", "SMALLINT", "BOOL") for field in fields]
    names = [field.column_name for field in fields]
    columns = ", ".join(
        f"{name} {'INTEGER' if is_number else 'TEXT'}" for name, is_number in zip(names, numbers, strict=True)
    )
    values = ", ".join(f"{f.column_name}::int" if f.field_type == "BOOL" else f.column_name for f in fields)
    work.execute(f"CREATE TABLE stage.member ({columns.replace('id INTEGER', 'id INTEGER PRIMARY KEY', 1)})")
    work.execute("CREATE TABLE stage.account (login_id TEXT PRIMARY KEY)")
    work.execute("CREATE TABLE stage.audit (member INTEGER)")
    for table, source, count in (
        ("member", f"SELECT {values} FROM member", len(names)),
        ("account", "SELECT login_id FROM account", 1),
        ("audit", "SELECT max(member) FROM audit", 1),
    ):
        with _connection().cursor() as cursor, cursor.copy(f"COPY ({source}) TO STDOUT") as copy:
            work.execute("BEGIN")
            work.executemany(f"INSERT INTO {table} VALUES (?{', ?' * (count - 1)})", copy.rows())
            work.execute("COMMIT")
    work.execute("CREATE INDEX stage.member_household ON member (household, branch)")
    work.execute("CREATE INDEX stage.member_person ON member (person_id)")


def _connection() -> Any:
    return models.database.connection()


def _execute_on_server(
    work: sqlite3.Connection, statements: list[tuple[str, tuple[Any, ...]]], last: Callable[[], None]
) -> None:
    """The rows that change go over first, into temporary tables of the server's, then the same statements apply them."""
    cursor = _connection().cursor()
    with models.database.atomic():
        for name, columns in TRANSFERRED.items():
            cursor.execute(f"CREATE TEMP TABLE {name} ({columns}) ON COMMIT DROP")
            names = [column.split()[0] for column in columns.split(", ")]
            only = " WHERE line IN (SELECT line FROM fresh UNION SELECT line FROM changed)" if name == "staged" else ""
            with cursor.copy(f"COPY {name} ({', '.join(names)}) FROM STDIN") as copy:
                for row in work.execute(f"SELECT {', '.join(names)} FROM {name}{only}"):
                    copy.write_row(row)
            cursor.execute(f"ANALYZE {name}")
        for sql, values in statements:
            cursor.execute(sql.format(*["%s"] * len(values)), values)
        cursor.execute("SELECT setval(pg_get_serial_sequence('member', 'id'), greatest((SELECT max(id) FROM member), 1))")
        last()


TRANSFERRED = {
    "staged": "line integer primary key, person_id text, household text, insurer_number text, symbol text, number text,"
    " branch text, name text, kana text, birth_date date, sex smallint, relation smallint, qualified_on date, lost_on date,"
    " workplace text, delivery text, issued_on date, expires_on date, copay smallint, effective_on date, remarks text,"
    " withheld smallint",
    "changed": "line integer, id integer",
    "ending": "id integer",
    "fresh": "n integer primary key, line integer, id integer, letter integer",
    "keyed": "n integer primary key, public_id text, login_id text, temporary_hash text",
}
"""What the server needs of a plan, by table; the temporary passwords are not among it."""
