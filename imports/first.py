"""The first roster, into an empty database: staged as the tables themselves will hold it, and taken over as it is.

On SQLite, where one of two tables is empty and both have the same columns and indexes, SQLite copies rows and index entries without looking into
them (its transfer optimization, insert.c): a million people in a second, where row by row they take five. Whatever a clerk
would have to be told of goes the general way, which has the sentences.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from functools import partial
from typing import IO, Any

from accounts.keys import Keys, grouped
from imports import keyring
from imports.letters import CELL_END, LETTER, ROW_END
from imports.stores import USED, Workspace, tune
from roster import BATCH, FIELDS, Roster
from roster.parallel import Send, spawned

PLACES = {"member": "stage", "account": "logins"}
"""Where each table is staged: in files of their own, so that two may work on them."""
_SHAPE = f"{grouped('A' * 10)}{CELL_END}{grouped('A' * 14)}{CELL_END}".encode()
"""How a login ID and a temporary password stand in a letter's row: always of one length."""
FIRST_LINE = 2
STAGED = f"CREATE TABLE stage.staged (line INTEGER PRIMARY KEY, {', '.join(FIELDS)})"


class Households:
    """The letters of a roster as most are: each household together, the subscriber first, the branches ascending, no line empty.

    Such a household needs no search for its subscriber, nor for who is in it twice: they are seen in passing. What is not, is
    whether there are as many households as `count`: then none comes again.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._sizes: list[int] = []
        self._next, self._household, self._branch, self._name, self._withheld = FIRST_LINE, None, "", "", None
        self.count = self.left_out = 0

    def add(self, lines: list[int], cells: dict[str, list[Any]]) -> bool:
        """Write down a batch's letters without their logins. False where the roster is not of this kind."""
        if lines[0] != self._next or lines[-1] != lines[0] + len(lines) - 1:
            return False
        self._next += BATCH
        household, branch, name, withheld = self._household, self._branch, self._name, self._withheld
        addressees, hidden = [], []
        for key, relation, own_branch, own_name, is_hidden in zip(
            *map(cells.__getitem__, ("household", "relation", "branch", "name", "withheld")), strict=True
        ):
            if relation == 1:
                household, name, withheld = key, own_name, is_hidden
                self.count += 1
            elif key != household or not branch or own_branch <= branch:
                return False
            branch = own_branch
            addressees.append(name)
            if withheld or is_hidden:
                hidden.append(len(addressees) - 1)
                self.left_out += not is_hidden
        self._household, self._branch, self._name, self._withheld = household, branch, name, withheld
        texts = cells | {"addressee": addressees, "person_id": [text or "" for text in cells["person_id"]]}
        rows = list(map(CELL_END.join, zip(*map(texts.__getitem__, LETTER), strict=True)))
        for i in hidden:
            rows[i] = ""
        text = ROW_END.join(rows).encode()
        self._file.write(text)
        self._sizes.append(len(text))
        return True

    def letters(self, logins: Iterable[bytes]) -> Iterator[bytes]:
        """Whole letters, a batch at a time, of as many logins in letters' shape."""
        self._file.seek(0)
        for size, batch in zip(self._sizes, logins, strict=False):
            yield _joined(batch, range(0, len(batch), len(_SHAPE)), self._file.read(size))


def _joined(logins: bytes, places: Iterable[int], rows: bytes) -> bytes:
    """Each row behind the login that begins at its place; without the rows that are empty."""
    width = len(_SHAPE)
    with_logins = zip(places, rows.split(ROW_END.encode()), strict=False)
    return ROW_END.encode().join([logins[at : at + width] + row for at, row in with_logins if row])


class First:
    """A first import in the making. A row's id is its line in the file, for which another process draws a login."""

    def __init__(self, work: Workspace, roster: Roster, keys: Keys) -> None:
        self.work, self._rows = work, roster.lines
        letters = tempfile.TemporaryFile(dir=work.folder.name)  # noqa: SIM115 - it ends with the workspace
        self._households: Households | None = Households(work.ended.enter_context(letters))
        self._copy("member", "table")
        work.execute(f"CREATE VIEW stage.staged AS SELECT id AS line, {', '.join(FIELDS)} FROM member")
        values = ", ".join(["?"] * len(FIELDS))
        self._insert = (
            f"INSERT INTO stage.member (id, {', '.join(FIELDS)}, public_id, shows_children)"
            f" VALUES (?, {values[:-1]}coalesce(?, 0), ?, 0)"
        )
        made = self._sources("account", "table"), self._sources("account", "index")
        self._logins = spawned(partial(_draw, f"{work.folder.name}/logins", *made, roster.lines, keys))
        work.ended.callback(self._logins.close)
        next(self._logins)  # it has opened the file

    @staticmethod
    def takes(work: Workspace, roster: Roster) -> bool:
        """Whether nobody was ever stored, since ids are never used twice, and the file holds whole certificates."""
        return not work.execute(USED).fetchone()[0] and not {"issued_on", "expires_on"} & roster.kept

    def _sources(self, table: str, kind: str) -> list[str]:
        """How the table, or its indexes, were made."""
        made = "SELECT sql FROM main.sqlite_schema WHERE tbl_name = ? AND type = ? AND sql IS NOT NULL"
        return [sql for (sql,) in self.work.execute(made, (table, kind))]

    def _copy(self, table: str, kind: str) -> None:
        for sql in self._sources(table, kind):
            before, name = sql.split(f"{kind.upper()} ", 1)
            self.work.execute(f"{before}{kind} stage.{name}")

    def add(self, columns: list[list[Any]]) -> bool:
        """Stage a batch of rows. False where a cell is missing that must not be: none of them is kept."""
        lines = columns[0]
        try:
            self.work.executemany(self._insert, zip(*columns, keyring.public_ids(lines, self._rows), strict=True))
        except sqlite3.IntegrityError:
            self.work.execute("DELETE FROM stage.member WHERE id >= ?", (lines[0],))
            return False
        if self._households and not self._households.add(lines, dict(zip(FIELDS, columns[1:], strict=True))):
            self._households = None
        return True

    def is_sound(self) -> bool:
        """Whether each row is a person of their own, in a household with one subscriber. Makes the indexes by the way."""
        try:
            self._copy("member", "index")
        except sqlite3.IntegrityError:
            return False
        different = "SELECT count(*) FROM (SELECT DISTINCT household FROM stage.member {})"
        if self._households:
            return self.work.execute(different.format("")).fetchone() == (self._households.count,)
        self.work.execute("CREATE INDEX stage.subscriber ON member (household, name, withheld) WHERE relation = 1")
        keyed = "FROM stage.member WHERE branch <> ''"
        tests = (
            f"(SELECT count(*) {keyed}) = (SELECT count(*) FROM (SELECT DISTINCT household, branch {keyed}))",
            f"({different.format('')}) = ({different.format('WHERE relation = 1')})",
            f"(SELECT count(*) FROM stage.member WHERE relation = 1) = ({different.format('')})",
            "NOT EXISTS (SELECT 1 FROM stage.member s WHERE branch = '' AND person_id IS NULL AND"
            " EXISTS (SELECT 1 FROM stage.member o WHERE o.household = s.household AND o.id <> s.id))",
        )
        return bool(self.work.execute(f"SELECT {' AND '.join(tests)}").fetchone()[0])

    def leave(self) -> First | None:
        """None: there is something to tell. `staged` becomes a table of any rows, and logins are drawn anew if nothing is wrong."""
        self._logins.close()
        self.work.execute("DROP VIEW stage.staged")
        self.work.execute(STAGED)
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

    def letters(self) -> tuple[int, Iterator[bytes]]:
        """How many are left out since they would go to a withheld subscriber; and the rows, a batch at a time."""
        aside = self.work.aside
        if self._households:
            logins = (logins for (logins,) in aside.execute("SELECT logins FROM logins.drawn ORDER BY first"))
            return self._households.left_out, self._households.letters(logins)
        subscriber = "FROM stage.member h INDEXED BY subscriber WHERE h.household = s.household AND h.relation = 1"
        hidden = f"s.relation = 2 AND (SELECT h.withheld {subscriber})"
        addressee = f"CASE s.relation WHEN 1 THEN s.name ELSE (SELECT h.name {subscriber}) END"
        texts = [addressee if name == "addressee" else f"s.{name}" for name in LETTER]
        row = f"printf('{CELL_END.join(['%s'] * len(texts))}', {', '.join(texts)})"
        left_out = 0
        if aside.execute("SELECT EXISTS (SELECT 1 FROM stage.member WHERE withheld)").fetchone()[0]:
            row = f"CASE WHEN s.withheld OR {hidden} THEN '' ELSE {row} END"
            (left_out,) = aside.execute(f"SELECT count(*) FROM stage.member s WHERE NOT s.withheld AND {hidden}").fetchone()
        return left_out, self._letters(
            f"SELECT group_concat(id), CAST(group_concat(row, '{ROW_END}') AS BLOB) FROM"
            f" (SELECT id, {row} AS row FROM stage.member s WHERE id BETWEEN ? AND ? ORDER BY id)"
        )

    def _letters(self, part: str) -> Iterator[bytes]:
        for first, last, logins in self.work.aside.execute("SELECT * FROM logins.drawn ORDER BY first"):
            ids, rows = self.work.aside.execute(part, (first, last)).fetchone()
            if ids:
                yield _joined(logins, [(int(line) - first) * len(_SHAPE) for line in ids.split(",")], rows)


def _draw(path: str, tables: list[str], indexes: list[str], count: int, keys: Keys, to: Send) -> None:
    """Another process's work: the accounts of so many lines into the file, and the logins as letters show them.

    It gives way to those who read and store the rows, since these have to wait for one another.
    """
    os.nice(10)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as logins:
        tune(logins, "main", 16000)
        for sql in (*tables, "CREATE TABLE drawn (first INTEGER PRIMARY KEY, last INTEGER NOT NULL, logins BLOB NOT NULL)"):
            logins.execute(sql)
        to("open")
        account = "INSERT INTO account (member_id, login_id, temporary_hash) VALUES (?, ?, ?)"
        logins.execute("BEGIN")
        for numbers, names, passwords, hashes in keyring.logins(count, keys):
            lines = range(numbers[0] + FIRST_LINE - 1, numbers[-1] + FIRST_LINE)
            logins.executemany(account, zip(lines, names, hashes, strict=True))
            logins.execute("INSERT INTO drawn VALUES (?, ?, ?)", (lines[0], lines[-1], _in_rows(names, passwords)))
        for sql in indexes:
            logins.execute(sql)
        logins.execute("COMMIT")


def _in_rows(logins: list[str], passwords: list[str]) -> bytes:
    """All of them in the shape of letters, one after the other: symbol by symbol of the shape, of all rows at once."""
    out = bytearray(_SHAPE * len(logins))
    places = (at for at, symbol in enumerate(_SHAPE) if symbol == ord("A"))
    for texts in (logins, passwords):
        symbols = "".join(texts).encode()
        for i in range(len(texts[0])):
            out[next(places) :: len(_SHAPE)] = symbols[i :: len(texts[0])]
    return bytes(out)
