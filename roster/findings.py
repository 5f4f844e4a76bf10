"""The messages of a check: all are counted, the first thousand are kept for the screen, and all are
written into a report."""

from __future__ import annotations

import contextlib
import csv
import os
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

SHOWN = 1000
"""The most messages that are printed. The report has all of them."""

LAST = 1 << 62
"""The place in the report of messages without a line."""

KINDS = {"error": "エラー", "warning": "警告", "repair": "補正"}


def shown(value: object) -> str:
    """Return a cell as messages show it: one line of at most 60 characters, without control
    characters that a terminal would obey."""
    text = "" if value is None else str(value)
    text = re.sub(r"[\udc80-\udcff]", lambda found: f"\\x{ord(found[0]) - 0xDC00:02x}", text[:200])
    text = "".join(
        c if c.isprintable() or c == "　" else c.encode("unicode_escape").decode() for c in text
    )
    return text if len(text) <= 60 else f"{text[:59]}…"


_FORMULA = re.compile(r"(?m)^\s*[=+\-@＝＋－＠]|^[\t\r\n]")


def plain_cell(value: object) -> str:
    """Return a cell that a spreadsheet reads as text. If it would be a formula, put an apostrophe
    in front."""
    text = "" if value is None else str(value)
    return f"'{text}" if _FORMULA.match(text) else text


def created(path: Path) -> TextIO:
    """Create a CSV file for Excel that only its owner can read (mode 0600). Raise FileExistsError
    if there is a file or a symbolic link of that name, and OSError if the file cannot be
    created."""
    handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_WRONLY, 0o600)
    return os.fdopen(handle, "w", encoding="utf-8-sig", newline="")


class Findings:
    """Counts and messages. With `report`, all of them are written into that CSV file at the end, in
    the order of the lines.

    The report contains names and birth dates. Only its owner can read it (mode 0600). It never
    replaces a file or follows a symbolic link. Raises FileExistsError, and OSError if the file
    cannot be created.
    """

    def __init__(self, report: Path | None = None) -> None:
        self.errors = self.warnings = self.repaired = 0
        self.repairs: dict[str, tuple[int, str]] = {}
        self._shown: dict[str, list[tuple[str, int, str]]] = {"error": [], "warning": []}
        self._source = ""
        self._file = created(report) if report else None
        # a temporary file, since a report may have millions of rows
        self._rows = sqlite3.connect("") if report else None
        if self._rows:
            self._rows.execute("CREATE TABLE row (source, sort, line, title, value, kind, text)")

    def __enter__(self) -> Findings:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file and self._rows:
            with self._file, contextlib.closing(self._rows):
                writer = csv.writer(self._file)
                writer.writerow(("行", "列", "値", "種別", "内容"))
                rows = self._rows.execute(
                    "SELECT line, title, value, kind, text FROM row ORDER BY source, sort, rowid"
                )
                writer.writerows(map(plain_cell, row) for row in rows)

    @property
    def reported(self) -> bool:
        """Return whether there is a report."""
        return self._rows is not None

    @contextlib.contextmanager
    def about(self, source: str) -> Iterator[None]:
        """Mark each message of the block as one about the file `source` instead of the roster."""
        self._source = source
        yield
        self._source = ""

    @property
    def messages(self) -> list[str]:
        """The first thousand messages, errors before warnings, each by line."""
        found = [m for kind in self._shown.values() for m in sorted(kind, key=lambda m: m[:2])]
        return [text for _, _, text in found[:SHOWN]]

    def error(self, line: int, column: str, value: object, text: str) -> None:
        self.errors += 1
        self._add("error", line, column, value, text)

    def warning(self, line: int, column: str, value: object, text: str) -> None:
        self.warnings += 1
        self._add("warning", line, column, value, text)

    def refuse(self, text: str) -> None:
        """Add an error that concerns the file or the run as a whole, in one sentence."""
        self.errors += 1
        self._shown["error"].insert(0, ("", 0, text))
        self._write(0, "", "", "", KINDS["error"], text)

    def repair(self, line: int, column: str, value: str, now: object) -> None:
        """Count a cell that was repaired. The screen shows only the number for each column, and one
        example."""
        self.repaired += 1
        count, example = self.repairs.get(column, (0, ""))
        text = self._marked(f"{now} として読みました")
        if not count:
            example = f"line {line}, column {shown(column)}, value {shown(value)}: {text}"
        self.repairs[column] = count + 1, example
        self._write(line, line, column, value, KINDS["repair"], text)

    def change(self, line: int | None, column: str, value: object, kind: str, text: str) -> None:
        """Add to the report what an import would do to a person. The line is None if no file names
        the person."""
        at = LAST if line is None else line
        self._write(at, line, column, value, kind, self._marked(text))

    def _marked(self, text: str) -> str:
        return f"（{self._source}の行）{text}" if self._source else text

    def _add(self, kind: str, line: int, column: str, value: object, text: str) -> None:
        text = self._marked(text)
        if len(self._shown[kind]) < SHOWN:
            mark = "" if kind == "error" else f"（{KINDS[kind]}）"
            told = f"line {line}, column {shown(column)}, value {shown(value)}: {mark}{text}"
            self._shown[kind].append((self._source, line, told))
        self._write(line, line, column, value, KINDS[kind], text)

    def _write(
        self, at: int, line: object, column: str, value: object, kind: str, text: str
    ) -> None:
        if self._rows:
            cells = (self._source, at, line, shown(column), shown(value), kind, text)
            self._rows.execute("INSERT INTO row VALUES (?, ?, ?, ?, ?, ?, ?)", cells)
