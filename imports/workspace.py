"""The database in which an import compares: SQLite's own file, or a temporary copy of the members
in PostgreSQL."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

from peewee import SqliteDatabase

import models
from database import database, is_sqlite


class Workspace(sqlite3.Connection):
    """A connection to the stored members and accounts, and to `stage`, a temporary file for more
    tables."""

    aside: sqlite3.Connection
    """A second connection to the same databases, so that another thread can read at the same
    time."""


@contextlib.contextmanager
def workspace() -> Iterator[Workspace]:
    """Open the database in which a roster is compared with what is stored.

    On SQLite, it is a connection of its own to the database's file. On PostgreSQL, it is a copy of
    the tables that plans read.
    """
    place = tempfile.TemporaryDirectory(prefix="kakunin-", dir=os.environ.get("TMPDIR", "/var/tmp"))  # noqa: S108 - as SQLite itself
    options: dict[str, Any] = {
        "isolation_level": None,
        "timeout": 15,
        "check_same_thread": False,
        "factory": Workspace,
    }
    with contextlib.ExitStack() as ended:
        with place as folder:
            path = database.database if is_sqlite() else _empty_copy(f"{folder}/copy")
            work, aside = (
                ended.enter_context(contextlib.closing(sqlite3.connect(path, **options)))
                for _ in range(2)
            )
            work.aside = aside
            for connection, cache in ((work, 48000), (aside, 16000)):
                connection.execute("ATTACH ? AS stage", (f"{folder}/stage",))
                tune(connection, "stage", cache)
                if is_sqlite():
                    connection.executescript(
                        f"PRAGMA main.synchronous = FULL; PRAGMA main.cache_size = -{cache}; PRAGMA foreign_keys = 1;"
                    )
                else:
                    tune(connection, "main", cache)
        # the files have no names from here on, so nothing of them remains however the process ends
        if not is_sqlite():
            _copy_stored(work)
        yield work


def tune(connection: sqlite3.Connection, name: str, cache: int) -> None:
    """Configure and open an attached scratch database with `cache` KB. It need not outlive the
    process."""
    connection.executescript(
        f"PRAGMA {name}.page_size = 16384; PRAGMA {name}.cache_size = -{cache};"
        f"PRAGMA {name}.journal_mode = OFF; PRAGMA {name}.synchronous = OFF;"
    )
    connection.execute(f"SELECT count(*) FROM {name}.sqlite_schema").fetchone()


Added = list[tuple[str, str, str]]
"""The tables that get new rows, in the order of their foreign keys: the name, the columns, and the
query that selects the rows in the workspace."""
Statements = list[tuple[str, tuple[Any, ...]]]


def execute(
    work: Workspace, added: Added, statements: Statements, last: Callable[[], None]
) -> None:
    """Add the rows, run the statements, and call `last`, all in one transaction of the real
    database. `{}` in a statement stands for a value."""
    if not is_sqlite():
        return _execute_on_server(work, added, statements, last)
    work.execute("BEGIN IMMEDIATE")
    try:
        for table, columns, query in added:
            with _indexed_afterwards(work.execute, table, sqlite=True):
                work.execute(f"INSERT INTO main.{table} ({columns}) {query}")
        for sql, values in statements:
            work.execute(sql.format(*"?" * len(values)), values)
        last()
    except BaseException:
        work.execute("ROLLBACK")
        raise
    work.execute("COMMIT")


INDEXES = {
    True: "SELECT name, sql FROM {schema}.sqlite_schema WHERE type = 'index' AND tbl_name = '{table}' AND sql IS NOT NULL",
    False: "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = current_schema() AND tablename = '{table}'"
    " AND NOT EXISTS (SELECT 1 FROM pg_constraint WHERE conname = indexname)",
}
"""Queries for the indexes of a table that have a statement of their own, on SQLite (True) and on
PostgreSQL."""


@contextlib.contextmanager
def _indexed_afterwards(run: Callable[[str], Any], table: str, *, sqlite: bool) -> Iterator[None]:
    """If the table is empty, build its indexes after it is filled. Inserting random ids one by one
    would take a fifth of the import.

    On PostgreSQL, nobody else can read the table until the transaction ends. Since the table was
    empty, nobody is logged in.
    """
    indexes = run(INDEXES[sqlite].format(schema="main", table=table)).fetchall()
    if run(f"SELECT EXISTS (SELECT 1 FROM {table})").fetchone()[0]:
        indexes = []
    for name, _ in indexes:
        run(f"DROP INDEX {name}")
    yield
    for _, sql in indexes:
        run(sql)


def _empty_copy(path: str) -> str:
    """Create the tables that plans read, as SQLite has them, and return the path of the file."""
    tables = [models.Member, models.Account, models.Audit]
    with (
        contextlib.closing(SqliteDatabase(path, pragmas={"page_size": 16384})) as copy,
        copy.bind_ctx(tables),
    ):
        copy.create_tables(tables)
    return path


def _copy_stored(work: Workspace) -> None:
    """Copy the stored rows, with days as 1980-01-01 and booleans as 0 and 1. Keep only the indexes
    that plans use."""
    for name in ("member_public_id", "account_login_id", "account_email_key", "audit_at"):
        work.execute(f"DROP INDEX main.{name}")
    fields = models.Member._meta.sorted_fields
    members = ", ".join(
        f"{f.column_name}::int" if f.field_type == "BOOL" else f.column_name for f in fields
    )
    for table, columns, source in (
        ("member", [field.column_name for field in fields], f"SELECT {members} FROM member"),
        (
            "account",
            ["member_id", "login_id", "email", "password_hash"],
            # of the last two, only whether they are set
            "SELECT member_id, login_id, left(email, 1), left(password_hash, 1) FROM account",
        ),
        (
            "audit",
            ["at", "action", "detail", "member"],
            "SELECT 0, '', '', coalesce(max(member), 0) FROM audit",
        ),
    ):
        values = ", ".join("nullif(?, '')" if name in NULLABLE else "?" for name in columns)
        with _connection().cursor().copy(f"COPY ({source}) TO STDOUT (FORMAT csv)") as copy:
            work.execute("BEGIN")
            rows = csv.reader(bytes(row).decode() for row in copy)
            with _indexed_afterwards(work.execute, table, sqlite=True):
                work.executemany(
                    f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({values})", rows
                )
            work.execute("COMMIT")


def _connection() -> Any:
    return database.connection()


def _execute_on_server(
    work: Workspace, added: Added, statements: Statements, last: Callable[[], None]
) -> None:
    """Copy new rows into their tables, and changed rows into temporary tables, which the statements
    read."""
    cursor = _connection().cursor()

    def send(table: str, columns: str, query: str) -> None:
        texts = ", ".join(name for name in columns.split(", ") if name not in NULLABLE)
        rows = work.execute(query)
        with cursor.copy(
            f"COPY {table} ({columns}) FROM STDIN (FORMAT csv, FORCE_NOT_NULL ({texts}))"
        ) as copy:
            while part := rows.fetchmany(1000):
                text = io.StringIO()
                csv.writer(text).writerows(part)
                copy.write(text.getvalue())

    with database.atomic():
        for table, columns, query in added:
            with _indexed_afterwards(cursor.execute, table, sqlite=False):
                send(table, columns, query)
        for name in ("changing", "ending", "leaving", "turned"):
            columns = ", ".join(row[1] for row in work.execute(f"PRAGMA stage.table_info({name})"))
            cursor.execute(
                f"CREATE TEMP TABLE {name} ON COMMIT DROP AS SELECT {columns} FROM member WHERE FALSE"
            )
            send(name, columns, f"SELECT {columns} FROM {name}")
            cursor.execute(f"ANALYZE {name}")
        for sql, values in statements:
            cursor.execute(sql.format(*["%s"] * len(values)), values)
        cursor.execute(
            "SELECT setval(pg_get_serial_sequence('member', 'id'), greatest((SELECT max(id) FROM member), 1))"
        )
        last()


NULLABLE = {
    name
    for table in (models.Member, models.Account)
    for name, field in table._meta.fields.items()
    if field.null
} | {"withheld"}
"""Columns in which an empty CSV cell means NULL on the way to PostgreSQL or back. `withheld` is one
of them: it is NULL if the roster keeps what is stored."""
