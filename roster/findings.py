"""What a check of the roster has to say: counted, the first thousand kept for the screen, all of
them in a report."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TextIO

SHOWN = 1000
"""Messages that are printed; the report has them all."""

KINDS = {"error": "エラー", "warning": "警告", "repair": "補正"}


def shown(value: object) -> str:
    """Return a cell as a message shows it: one line of at most 60 characters, with nothing that a
    terminal would obey."""
    text = "" if value is None else str(value)
    text = re.sub(r"[\udc80-\udcff]", lambda found: f"\\x{ord(found[0]) - 0xDC00:02x}", text[:200])
    text = "".join(
        c if c.isprintable() or c == "　" else c.encode("unicode_escape").decode() for c in text
    )
    return text if len(text) <= 60 else f"{text[:59]}…"


_FORMULA = re.compile(r"(?m)^\s*[=+\-@＝＋－＠]|^[\t\r\n]")


def plain_cell(value: object) -> str:
    """Return a cell that a spreadsheet takes for text: an apostrophe goes before whatever would
    begin a formula."""
    text = "" if value is None else str(value)
    return f"'{text}" if _FORMULA.match(text) else text


def created(path: Path) -> TextIO:
    """Create a CSV file for Excel, which is its owner's alone (mode 0600). Raise FileExistsError if
    anything is there, be it a symbolic link, and OSError if it cannot be made."""
    handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_WRONLY, 0o600)
    return os.fdopen(handle, "w", encoding="utf-8-sig", newline="")


class Findings:
    """Counts and messages. With `report`, all of them go into that CSV file as they come.

    The report holds names and birth dates. It is its owner's alone (mode 0600), and never an
    existing file, nor what a symbolic link names: raises FileExistsError, and OSError if it cannot
    be made.
    """

    def __init__(self, report: Path | None = None) -> None:
        self.errors = self.warnings = self.repaired = 0
        self.repairs: dict[str, tuple[int, str]] = {}
        self._shown: dict[str, list[tuple[int, str]]] = {"error": [], "warning": []}
        self._file = created(report) if report else None
        self._writer = csv.writer(self._file) if self._file else None
        self._write(("行", "列", "値", "種別", "内容"))

    def __enter__(self) -> Findings:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file:
            self._file.close()

    @property
    def messages(self) -> list[str]:
        """The first thousand messages, errors before warnings, each by line."""
        found = sorted(self._shown["error"], key=lambda m: m[0]) + sorted(
            self._shown["warning"], key=lambda m: m[0]
        )
        return [text for _, text in found[:SHOWN]]

    def error(self, line: int, column: str, value: object, text: str) -> None:
        self.errors += 1
        self._add("error", line, column, value, text)

    def warning(self, line: int, column: str, value: object, text: str) -> None:
        self.warnings += 1
        self._add("warning", line, column, value, text)

    def refuse(self, text: str) -> None:
        """Note an error of the file or the run as a whole, in one sentence."""
        self.errors += 1
        self._shown["error"].insert(0, (0, text))
        self._write(("", "", "", KINDS["error"], text))

    def repair(self, line: int, column: str, value: str, now: object) -> None:
        """Note a cell that was put right. The screen shows only their number and one example for
        each column."""
        self.repaired += 1
        count, example = self.repairs.get(column, (0, ""))
        if not count:
            example = (
                f"line {line}, column {shown(column)}, value {shown(value)}: {now} として読みました"
            )
        self.repairs[column] = count + 1, example
        self._write((line, shown(column), shown(value), KINDS["repair"], f"{now} として読みました"))

    def _add(self, kind: str, line: int, column: str, value: object, text: str) -> None:
        if len(self._shown[kind]) < SHOWN:
            mark = "" if kind == "error" else f"（{KINDS[kind]}）"
            self._shown[kind].append(
                (line, f"line {line}, column {shown(column)}, value {shown(value)}: {mark}{text}")
            )
        self._write((line, shown(column), shown(value), KINDS[kind], text))

    def _write(self, cells: Iterable[Any]) -> None:
        if self._writer:
            self._writer.writerow(map(plain_cell, cells))
