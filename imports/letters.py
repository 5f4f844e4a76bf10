"""The credentials file, from which the clerk prints the letters. It is written completely or not at
all, only once, and only its owner can read it."""

from __future__ import annotations

import codecs
import contextlib
import csv
import datetime as dt
import io
import os
import stat
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import IO, Any

from accounts.keys import Keys, fold_typed, grouped
from imports.checks import LEFT
from models import Account
from roster.findings import plain_cell

LETTER = (
    "insurer_number",
    "symbol",
    "number",
    "branch",
    "person_id",
    "name",
    "addressee",
    "workplace",
)
"""The fields of a person that their letter contains, after the login."""
COLUMNS = (
    "ログインID",
    "仮パスワード",
    "保険者番号",
    "記号",
    "番号",
    "枝番",
    "加入者ID",
    "氏名",
    "宛名",
    "事業所名称",
)

ADDRESS = "住所"
"""The last column, which the file has if the roster has it. Addresses are not stored anywhere
else."""

PART = 1000  # letters that SQLite joins into one text
CELL_END, ROW_END = "\x1f", "\x1e"
"""Separators of cells and rows between SQLite and Python. Cells of a roster contain no control
characters."""
_MARKS = (
    tuple(b'",\r\n=+@')
    + tuple(text.encode() for text in "＝＋－＠")
    + (f"{CELL_END}-".encode(), f"{ROW_END}-".encode())
)
"""A row without these bytes needs no quoting and contains no formula. Searching for them one by one
takes a thirtieth of the time of a regex."""


class CannotWrite(Exception):
    """The credentials file cannot be written where it should. The text is a sentence for the
    clerk."""


def grouped_sql(column: str, length: int) -> str:
    """Return SQL that does what accounts.keys.grouped does, for a column whose texts all have this
    length."""
    parts, start = [], 1
    for part in grouped("A" * length).split("-"):
        parts.append(f"substr({column}, {start}, {len(part)})")
        start += len(part)
    return " || '-' || ".join(parts)


class NewFile:
    """A new file, which is named FILE.part until `publish`. Only its owner can read it. It never
    replaces an existing file or follows a symbolic link.

    Raises CannotWrite, and OSError if the disk refuses.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.part = path, path.with_name(path.name + ".part")
        self._file: Any = None

    def refuse_existing(self) -> None:
        """Raise CannotWrite if the file or its .part exists, even as a broken symbolic link, or if
        the folder does not exist."""
        if os.path.lexists(self.path):
            raise CannotWrite(
                f"{self.path.name} はすでにあります。仮パスワードを上書きしないよう、別の名前を指定してください。"
            )
        if os.path.lexists(self.part):
            raise CannotWrite(
                f"{self.part.name} が残っています。前に書き出しが途中で止まったものです。消してから、もう一度実行してください。"
            )
        if not self.path.parent.is_dir():
            raise CannotWrite(f"フォルダー {self.path.parent} がありません。")

    def fill(self, write: Callable[[IO[bytes]], Any]) -> None:
        """Call `write` to write the file, and flush it to the disk."""
        handle = os.open(self.part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        self._file = os.fdopen(handle, "wb")
        write(self._file)
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._sync_folder()

    def publish(self) -> None:
        """Give the file its final name. Its contents count from now on."""
        if self._file is not None:
            self.part.rename(self.path)
            self._sync_folder()

    def discard(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):  # closing fails again on a full disk
                self._file.close()
            self.part.unlink(missing_ok=True)

    def _sync_folder(self) -> None:
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


class Letters(NewFile):
    """The credentials file. Call `publish` after the commit."""

    def leftover(self, keys: Keys) -> str | None:
        """Deal with the FILE.part of a run that was interrupted, and return what it was, or None if
        there is none.

        If that run was applied, the passwords in the file fit the accounts. Then the file gets its
        final name. Raise CannotWrite if it was not written by such a run; reading a pipe, for
        example, would never end.
        """
        if not os.path.lexists(self.part):
            return None
        if not stat.S_ISREG(self.part.lstat().st_mode):
            raise CannotWrite(
                f"{self.part.name} はふつうのファイルではありません。消すか、別の名前を指定してください。"
            )
        if not self._applied(keys):
            self.part.unlink()
            return f"前回の取り込みは途中で止まり、取り込まれていません。残っていた {self.part.name} は無効なので消しました。"
        if os.path.lexists(self.path):
            raise CannotWrite(
                f"{self.part.name} は取り込み済みの仮パスワードです。{self.path.name} を別の場所に移してください。"
            )
        self.part.rename(self.path)
        return f"前回の取り込みは終わっています。残っていた {self.part.name} を {self.path.name} に直しました。お手紙に使えます。"

    def _applied(self, keys: Keys) -> bool:
        with self.part.open(encoding="utf-8-sig", newline="", errors="replace") as file:
            for row, _ in zip(csv.DictReader(file), range(1000), strict=False):
                login, password = fold_typed(row.get(COLUMNS[0]) or ""), row.get(COLUMNS[1]) or ""
                account = Account.get_or_none(Account.login_id == login)
                if account is not None and keys.fits_temporary(password, account.temporary_hash):
                    return True
        return False

    def write(self, parts: Iterable[bytes], columns: Sequence[str] = COLUMNS) -> None:
        """Write the rows of all parts, with the cells in the order of `columns`, and flush them to
        the disk."""

        def rows(file: IO[bytes]) -> None:
            file.write(codecs.BOM_UTF8 + ",".join(columns).encode() + b"\r\n")
            file.writelines(map(_csv, parts))

        self.fill(rows)


def _csv(part: bytes) -> bytes:
    """Return the part's rows as CSV."""
    if any(mark in part for mark in _MARKS):
        cells = (row.split(CELL_END) for row in part.decode().split(ROW_END))
        text = io.StringIO()
        csv.writer(text).writerows(map(plain_cell, row) for row in cells)
        return text.getvalue().encode()
    # the same text as csv writes, in a tenth of the time
    rows = part.replace(CELL_END.encode(), b",").replace(ROW_END.encode(), b"\r\n")
    return rows and rows + b"\r\n"


def write_letters(plan: Any, letters: Letters) -> None:
    """Write the letters in the order of the roster. Letters that would go to a withheld subscriber
    are left out and counted.

    If the roster has a column 住所, the file has one too, with the subscriber's address, or the
    dependent's own if the roster does not have the subscriber's. `plan` is the imports.plan.Plan
    that is being applied.
    """
    hidden, name = (
        _subscribers("coalesce(h.withheld, m.withheld, 0)", plan.today),
        _subscribers("h.name", plan.today),
    )
    addressee = f"CASE s.relation WHEN 1 THEN s.name ELSE {name} END"
    people = "FROM keyed k JOIN staged s ON s.line = k.line WHERE k.login_id IS NOT NULL"
    anybody = "SELECT EXISTS (SELECT 1 FROM staged WHERE withheld) OR EXISTS (SELECT 1 FROM member WHERE withheld)"
    aside = plan.work.aside
    if aside.execute(anybody).fetchone()[0]:
        (plan.left_out,) = aside.execute(
            f"SELECT count(*) {people} AND s.relation = 2 AND {hidden}"
        ).fetchone()
        people += f" AND (s.relation = 1 OR NOT {hidden})"
    columns: tuple[str, ...] = COLUMNS
    texts = [addressee if name == "addressee" else f"s.{name}" for name in LETTER]
    if plan.roster.has("address"):
        columns += (ADDRESS,)
        theirs = _subscribers("h.address", plan.today, stored="''")
        texts.append(
            f"CASE s.relation WHEN 1 THEN s.address ELSE coalesce(nullif({theirs}, ''), s.address) END"
        )
    cells = [*map(grouped_sql, ("k.login_id", "k.password"), (10, 14)), *texts]
    row = f"printf('{CELL_END.join(['%s'] * len(cells))}', {', '.join(cells)})"
    part = f"SELECT CAST(group_concat(row, '{ROW_END}') AS BLOB) FROM (SELECT {row} AS row {people} AND k.line BETWEEN ? AND ? ORDER BY k.line)"
    starts = range(1, aside.execute("SELECT max(line) FROM staged").fetchone()[0] + 1, PART)
    letters.write(
        filter(None, (aside.execute(part, (n, n + PART - 1)).fetchone()[0] for n in starts)),
        columns,
    )


def _subscribers(value: str, today: dt.date, stored: str | None = None) -> str:
    """Return SQL for a value of the subscriber to whom the letter of a dependent `s` is sent, by
    the rule of Member.subscriber_on.

    The day is today, or the first day of the dependent's cover if that is later. If no subscriber
    is covered then, the letter goes to the newest. A subscriber in the file takes precedence over
    one who is only stored; the value of the latter is `stored`, or else the one of `m`.
    """
    file = f"SELECT {value} FROM staged h LEFT JOIN hit t ON t.line = h.line LEFT JOIN member m ON m.id = t.id WHERE "
    alone = f"SELECT {stored or value.replace('h.', 'm.')} FROM member m WHERE {LEFT} AND "
    found = []
    for day in (f"max(s.qualified_on, '{today}')", None):
        for query, who, last in ((file, "h", "line"), (alone, "m", "id")):
            covered = (
                f" AND {who}.qualified_on <= {day} AND coalesce({who}.lost_on, '9999') > {day}"
                if day
                else ""
            )
            theirs = f"{query} {who}.household = s.household AND {who}.relation = 1{covered}"
            found.append(f"({theirs} ORDER BY {who}.qualified_on DESC, {who}.{last} DESC LIMIT 1)")
    return f"coalesce({', '.join(found)})"
