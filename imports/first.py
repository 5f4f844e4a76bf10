"""The first roster, into an empty SQLite database: staged as the tables themselves will hold it, and taken over as it is.

Where one of two tables is empty and both have the same columns and indexes, SQLite copies rows and index entries without looking into
them (its transfer optimization, insert.c): a million people in a second, where row by row they take five. Whatever a clerk
would have to be told of goes the general way, which has the sentences.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from codes import Keys, grouped
from imports import keyring
from imports.letters import CELL_END, ROW_END
from imports.stores import Workspace, tune
from models import Account, Member
from roster import FIELDS, Roster
from roster.parallel import Send, spawned

PLACES = {Member._meta.table_name: "stage", Account._meta.table_name: "logins"}
"""Where each table is staged: in files of their own, so that two may work on them."""
_SHAPE = f"{grouped('A' * 10)}{CELL_END}{grouped('A' * 14)}{CELL_END}"
"""How a login ID and a temporary password stand in a letter's row: always of one length."""
FIRST_LINE = 2


class First:
    """A first import in the making. A row's id is its line in the file, for which another process draws a login."""

    def __init__(self, work: Workspace, roster: Roster, keys: Keys) -> None:
        self.work, self._rows = work, roster.lines
        self._copy(work, "member", "table")
        work.execute(f"CREATE VIEW stage.staged AS SELECT id AS line, {', '.join(FIELDS)} FROM member")
        values = ", ".join(["?"] * len(FIELDS))
        self._insert = (
            f"INSERT INTO stage.member (id, {', '.join(FIELDS)}, public_id, shows_children)"
            f" VALUES (?, {values[:-1]}coalesce(?, 0), ?, 0)"
        )
        (table,) = self._sources(work, "account", "table")
        indexes = self._sources(work, "account", "index")
        self._logins = spawned(partial(_draw, f"{work.folder.name}/logins", [table], indexes, roster.lines, keys))
        work.helpers.append(self._logins)
        next(self._logins)  # it has opened the file

    @staticmethod
    def takes(work: Workspace, roster: Roster) -> bool:
        """Whether nobody was ever stored, since ids are never used twice, and the file holds whole certificates."""
        used = "SELECT EXISTS (SELECT 1 FROM member) OR EXISTS (SELECT 1 FROM audit WHERE member IS NOT NULL)"
        return not work.execute(used).fetchone()[0] and not {"issued_on", "expires_on"} & roster.kept

    @staticmethod
    def _sources(connection: sqlite3.Connection, table: str, kind: str) -> list[str]:
        """How the table, or its indexes, were made."""
        made = "SELECT sql FROM main.sqlite_schema WHERE tbl_name = ? AND type = ? AND sql IS NOT NULL"
        return [sql for (sql,) in connection.execute(made, (table, kind))]

    def _copy(self, connection: sqlite3.Connection, table: str, kind: str) -> None:
        for sql in self._sources(connection, table, kind):
            before, name = sql.split(f"{kind.upper()} ", 1)
            connection.execute(f"{before}{kind} stage.{name}")

    def add(self, columns: list[list[Any]]) -> bool:
        """Stage a batch of rows. False where a cell is missing that must not be: none of them is kept."""
        lines = columns[0]
        try:
            self.work.executemany(self._insert, zip(*columns, keyring.public_ids(lines, self._rows), strict=True))
        except sqlite3.IntegrityError:
            self.work.execute("DELETE FROM stage.member WHERE id >= ?", (lines[0],))
            return False
        return True

    def is_sound(self) -> bool:
        """Whether each row is a person of their own, in a household with one subscriber. Makes the indexes by the way."""
        try:
            self._copy(self.work, "member", "index")
        except sqlite3.IntegrityError:
            return False
        keyed = "FROM stage.member WHERE branch <> ''"
        twice = f"(SELECT count(*) {keyed}) <> (SELECT count(*) FROM (SELECT DISTINCT household, branch {keyed}))"
        odd = (
            "EXISTS (SELECT 1 FROM stage.member GROUP BY household HAVING sum(relation = 1) <> 1"
            " OR count(*) > 1 AND sum(branch = '' AND person_id IS NULL))"
        )
        with ThreadPoolExecutor(1) as other:
            found = other.submit(lambda: self.work.aside.execute(f"SELECT {twice}").fetchone()[0])
            return not self.work.execute(f"SELECT {odd}").fetchone()[0] and not found.result()

    def leave(self) -> First | None:
        """None: there is something to tell. `staged` becomes a table of any rows, and logins are drawn anew if nothing is wrong."""
        self._logins.close()
        self.work.execute("DROP VIEW stage.staged")
        self.work.execute(f"CREATE TABLE stage.staged (line INTEGER PRIMARY KEY, {', '.join(FIELDS)})")
        self.work.execute(f"INSERT INTO staged SELECT id, {', '.join(FIELDS)} FROM stage.member")
        self.work.execute("DROP TABLE stage.member")
        return None

    def finish(self) -> None:
        """The accounts as they will be stored: of those who are there, and nobody who is withheld."""
        for _ in self._logins:
            pass
        people, last = self.work.execute("SELECT count(*), max(id) FROM stage.member").fetchone()
        self.work.execute("DELETE FROM logins.account WHERE member_id > ?", (last,))
        if people != last - FIRST_LINE + 1:
            self.work.execute("DELETE FROM logins.account WHERE member_id NOT IN (SELECT id FROM stage.member)")
        self.work.execute("DELETE FROM logins.account WHERE member_id IN (SELECT id FROM stage.member WHERE withheld)")

    def statements(self) -> Iterator[tuple[str, tuple[Any, ...]]]:
        for table, place in PLACES.items():
            yield f"INSERT INTO main.{table} SELECT * FROM {place}.{table}", ()

    def letters(self) -> tuple[int, Iterator[str]]:
        """How many are left out since they would go to a withheld subscriber; and the rows, a batch at a time."""
        aside = self.work.aside
        subscriber = "FROM stage.member h WHERE h.household = s.household AND h.relation = 1"
        hidden = f"s.relation = 2 AND (SELECT h.withheld {subscriber})"
        addressee = f"CASE s.relation WHEN 1 THEN s.name ELSE (SELECT h.name {subscriber}) END"
        texts = [f"s.{name}" for name in ("insurer_number", "symbol", "number", "branch", "person_id", "name")]
        row = f"printf('{CELL_END.join(['%s'] * 8)}', {', '.join(texts)}, {addressee}, s.workplace)"
        left_out = 0
        if aside.execute("SELECT EXISTS (SELECT 1 FROM stage.member WHERE withheld)").fetchone()[0]:
            row = f"CASE WHEN s.withheld OR {hidden} THEN '' ELSE {row} END"
            (left_out,) = aside.execute(f"SELECT count(*) FROM stage.member s WHERE NOT s.withheld AND {hidden}").fetchone()
        return left_out, self._letters(
            f"SELECT group_concat(id), group_concat(row, '{ROW_END}') FROM"
            f" (SELECT id, {row} AS row FROM stage.member s WHERE id BETWEEN ? AND ? ORDER BY id)"
        )

    def _letters(self, part: str) -> Iterator[str]:
        width = len(_SHAPE)
        for first, last, logins in self.work.aside.execute("SELECT * FROM logins.drawn ORDER BY first"):
            ids, rows = self.work.aside.execute(part, (first, last)).fetchone()
            if ids:
                starts = [(int(line) - first) * width for line in ids.split(",")]
                with_logins = zip(starts, rows.split(ROW_END), strict=True)
                yield ROW_END.join([logins[at : at + width] + row for at, row in with_logins if row])


def _draw(path: str, tables: list[str], indexes: list[str], count: int, keys: Keys, to: Send) -> None:
    """Another process's work: the accounts of so many lines into the file, and the logins as letters show them.

    It gives way to those who read and store the rows, since these have to wait for one another.
    """
    os.nice(10)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as logins:
        tune(logins, "main", 16000)
        for sql in (*tables, "CREATE TABLE drawn (first INTEGER PRIMARY KEY, last INTEGER NOT NULL, logins TEXT NOT NULL)"):
            logins.execute(sql)
        to("open")
        account = "INSERT INTO account (member_id, login_id, temporary_hash) VALUES (?, ?, ?)"
        logins.execute("BEGIN")
        for numbers, _, names, passwords, hashes in keyring.batches(count, keys):
            lines = range(numbers[0] + FIRST_LINE - 1, numbers[-1] + FIRST_LINE)
            logins.executemany(account, zip(lines, names, hashes, strict=True))
            logins.execute("INSERT INTO drawn VALUES (?, ?, ?)", (lines[0], lines[-1], _in_rows(names, passwords)))
        for sql in indexes:
            logins.execute(sql)
        logins.execute("COMMIT")


def _in_rows(logins: list[str], passwords: list[str]) -> str:
    """All of them in the shape of letters, one after the other: symbol by symbol of the shape, of all rows at once."""
    out = bytearray(_SHAPE.encode() * len(logins))
    places = (at for at, symbol in enumerate(_SHAPE) if symbol == "A")
    for texts in (logins, passwords):
        symbols = "".join(texts).encode()
        for i in range(len(texts[0])):
            out[next(places) :: len(_SHAPE)] = symbols[i :: len(texts[0])]
    return out.decode()
