"""Where an import works: SQLite's own file, or a temporary copy of PostgreSQL's members; and the lock that keeps two apart."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

from peewee import SqliteDatabase

import models
from database import connected

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
            stack.enter_context(connected())
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

    On SQLite it is a connection of its own to the file; on PostgreSQL to a copy of what plans look at.
    """
    place = tempfile.TemporaryDirectory(prefix="kakunin-", dir=os.environ.get("TMPDIR", "/var/tmp"))  # noqa: S108 - as SQLite itself
    options: dict[str, Any] = {"isolation_level": None, "timeout": 15, "check_same_thread": False, "factory": Workspace}
    with place as folder, contextlib.ExitStack() as ended:
        path = models.database.database if is_sqlite() else _empty_copy(f"{folder}/copy")
        work, aside = (ended.enter_context(contextlib.closing(sqlite3.connect(path, **options))) for _ in range(2))
        work.folder, work.ended, work.aside = place, ended, aside
        for connection in (work, aside):
            for name, cache in (("stage", 48000), ("logins", 16000)):
                connection.execute(f"ATTACH ? AS {name}", (f"{folder}/{name}",))
                tune(connection, name, cache)
            if is_sqlite():
                connection.executescript("PRAGMA main.synchronous = FULL; PRAGMA main.cache_size = -48000;")
            else:
                tune(connection, "main", 48000)
        if not is_sqlite():
            _copy_stored(work)
        yield work


def tune(connection: sqlite3.Connection, name: str, cache: int) -> None:
    """A file that need not outlive the process, with so many KB of cache, and open from now on."""
    connection.executescript(
        f"PRAGMA {name}.page_size = 16384; PRAGMA {name}.cache_size = -{cache};"
        f"PRAGMA {name}.journal_mode = OFF; PRAGMA {name}.synchronous = OFF;"
    )
    connection.execute(f"SELECT count(*) FROM {name}.sqlite_schema").fetchone()


def execute(
    work: Workspace, statements: list[tuple[str, tuple[Any, ...]]], last: Callable[[], None], whole: dict[str, str]
) -> None:
    """Fill tables from whole ones of the workspace, run the statements, and `last`, in one transaction of the database itself.

    `whole` says where each such table is staged, those that others refer to first. `{}` in a statement stands for a value.
    """
    if not is_sqlite():
        return _execute_on_server(work, statements, last, whole)
    work.execute(f"PRAGMA foreign_keys = {not whole:d}")  # what a whole table refers to came before it
    work.execute("BEGIN IMMEDIATE")
    try:
        for table, place in whole.items():
            work.execute(f"INSERT INTO main.{table} SELECT * FROM {place}.{table}")
        for sql, values in statements:
            work.execute(sql.format(*"?" * len(values)), values)
        last()
    except BaseException:
        work.execute("ROLLBACK")
        raise
    work.execute("COMMIT")


USED = "SELECT EXISTS (SELECT 1 FROM member) OR EXISTS (SELECT 1 FROM audit WHERE member IS NOT NULL)"
"""Whether anybody was ever stored."""


def _empty_copy(path: str) -> str:
    """The tables that plans look at, as SQLite would have them."""
    tables = [models.Member, models.Account, models.Audit]
    with contextlib.closing(SqliteDatabase(path, pragmas={"page_size": 16384})) as copy, copy.bind_ctx(tables):
        copy.create_tables(tables)
    return path


def _copy_stored(work: Workspace) -> None:
    """What is stored, with days as 1980-01-01 and truth as 0 and 1."""
    cursor = _connection().cursor()
    if not cursor.execute(USED).fetchone()[0]:
        return
    work.folder.cleanup()  # before anything of anybody is written there
    indexes = work.execute("SELECT name, sql FROM main.sqlite_schema WHERE type = 'index' AND sql IS NOT NULL").fetchall()
    for name, _ in indexes:
        work.execute(f"DROP INDEX {name}")
    fields = models.Member._meta.sorted_fields
    members = ", ".join(f"{f.column_name}::int" if f.field_type == "BOOL" else f.column_name for f in fields)
    for table, columns, source in (
        ("member", ", ".join(field.column_name for field in fields), f"SELECT {members} FROM member"),
        ("account", "member_id, login_id", "SELECT member_id, login_id FROM account"),
        ("audit", "at, action, detail, member", "SELECT 0, '', '', max(member) FROM audit"),
    ):
        with cursor.copy(f"COPY ({source}) TO STDOUT") as copy:
            work.execute("BEGIN")
            work.executemany(f"INSERT INTO {table} ({columns}) VALUES (?{', ?' * columns.count(',')})", copy.rows())
            work.execute("COMMIT")
    for _, sql in indexes:
        work.execute(sql)


def _connection() -> Any:
    return models.database.connection()


def _execute_on_server(
    work: Workspace, statements: list[tuple[str, tuple[Any, ...]]], last: Callable[[], None], whole: dict[str, str]
) -> None:
    """Whole tables go over as they are. Else the rows that change do, into temporary tables, where the same statements apply them."""
    cursor = _connection().cursor()

    def send(table: str, columns: list[str], source: str) -> None:
        names = ", ".join(columns)
        with cursor.copy(f"COPY {table} ({names}) FROM STDIN") as copy:
            for row in work.execute(f"SELECT {names} FROM {source}"):
                copy.write_row(row)

    with models.database.atomic():
        for table, place in whole.items():
            send(table, [row[1] for row in work.execute(f"PRAGMA {place}.table_info({table})")], f"{place}.{table}")
        for name, columns in ({} if whole else TRANSFERRED).items():
            cursor.execute(f"CREATE TEMP TABLE {name} ({columns}) ON COMMIT DROP")
            only = " WHERE line IN (SELECT line FROM fresh UNION SELECT line FROM changed)" if name == "staged" else ""
            send(name, [column.split()[0] for column in columns.split(", ")], name + only)
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
