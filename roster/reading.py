"""A text file of rows in any of its encodings, read in small pieces, and what it shares with a
workbook."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

CHUNK = 1 << 18
"""Bytes looked at together, 256 KiB: a stretch of that length without a line's end is no roster."""
BATCH = 400
"""Rows taken together: few enough to stay in a core's own cache, a sixth faster than 1,000."""
BATCH_CHARACTERS = 1 << 25
HEADER_LINES = 100
"""Lines of a file that are looked at for its titles."""
ENCODINGS = {"utf-8-sig": "UTF-8", "cp932": "Shift_JIS（CP932）", "utf-16": "UTF-16"}
MARKS = {",": "", "\t": "タブ区切り", ";": "セミコロン区切り"}

Rows = list[list[str]]


class Unreadable(Exception):
    """The file as a whole cannot be read as a roster; the text is one sentence for the clerk."""


def look_at(path: Path) -> str:
    """Return the encoding of a text file.

    It is UTF-16 if the file begins with its mark (Excel's "Unicodeテキスト"), UTF-8 if the whole file
    is, else CP932; if neither fits, the one with fewer faults. Raise Unreadable.
    """
    utf8 = codecs.getincrementaldecoder("utf-8")()
    clean = True
    with path.open("rb") as file:
        start = file.read(8)
        if not start:
            raise Unreadable("ファイルが空です。加入者CSVを選び直してください。")
        if start.startswith(b"\xd0\xcf\x11\xe0"):
            raise Unreadable(
                "古い形式（.xls）か、パスワードの付いたExcelブックです。Excelで「Excel ブック（.xlsx）」か「CSV UTF-8（コンマ区切り）」として、パスワードなしで保存し直してください。"
            )
        utf16 = start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        file.seek(0)
        while chunk := file.read(CHUNK):
            if b"\0" in chunk and not utf16:
                raise Unreadable(
                    "NUL文字が入っています。CSVではないファイルです。「CSV UTF-8（コンマ区切り）」で保存し直してください。"
                )
            if len(chunk) == CHUNK and b"\n" not in chunk and b"\r" not in chunk:
                raise Unreadable(
                    "1行が長すぎます。CSVではないファイルか、改行がないファイルです。保存し直してください。"
                )
            if clean and not utf16:
                try:
                    utf8.decode(chunk, final=len(chunk) < CHUNK)
                except UnicodeDecodeError:
                    clean = False
    if utf16:
        return "utf-16"
    if clean or start.startswith(codecs.BOM_UTF8):
        return "utf-8-sig"
    return min("cp932", "utf-8-sig", key=lambda encoding: _faults(path, encoding))


def _faults(path: Path, encoding: str) -> int:
    """Return how many characters of the file do not fit the encoding."""
    with open(path, encoding=encoding, errors="replace", newline="") as file:
        return sum(chunk.count("\ufffd") for chunk in iter(lambda: file.read(CHUNK), ""))


class Source(Protocol):
    """What has rows: a text file, or a sheet of a workbook."""

    ragged: bool
    """Whether rows come without the empty cells at their end."""

    @property
    def about(self) -> str:
        """How the file was read, for the clerk."""

    def choose(self, score: Callable[[Rows], Any]) -> None:
        """Read on with the separator whose first rows have the highest score, commas first."""

    def head(self) -> Rows:
        """Return the first rows, about HEADER_LINES of them."""

    def batches(self, skip: int) -> Iterator[tuple[int, Rows]]:
        """Yield the bytes read so far and the next rows, without the first `skip` ones."""


class TextFile:
    """A text file with a row a line, parted by commas, tabs or semicolons. Raise Unreadable."""

    ragged = False

    def __init__(self, path: Path) -> None:
        self._path, self.encoding, self._mark = path, look_at(path), ","

    @property
    def about(self) -> str:
        return "、".join(
            filter(None, (f"文字コード {ENCODINGS[self.encoding]}", MARKS[self._mark]))
        )

    def choose(self, score: Callable[[Rows], Any]) -> None:
        self._mark = max(MARKS, key=lambda mark: score(self._head(mark)))

    def head(self) -> Rows:
        """Return the rows in the first HEADER_LINES lines."""
        return self._head(self._mark)

    def _head(self, mark: str) -> Rows:
        rows: Rows = []
        with self._open() as file:
            reader = csv.reader(islice(self._bounded(file), HEADER_LINES), delimiter=mark)
            try:
                rows.extend(reader)
            except csv.Error:
                pass  # what follows is not of this form; the rows before it tell enough
            except UnicodeDecodeError:
                raise Unreadable(_CUT) from None
        return rows

    def batches(self, skip: int) -> Iterator[tuple[int, Rows]]:
        line = skip
        with self._open() as file:
            reader = csv.reader(self._bounded(file), delimiter=self._mark)
            for _ in islice(reader, skip):
                pass
            while True:
                self._pending = 0
                try:
                    rows = list(islice(reader, BATCH))
                except csv.Error:
                    raise Unreadable(
                        f'{line + 1}行目より後に、閉じていない引用符（"）か、長すぎるセルがあります。引用符を確かめてください。'
                    ) from None
                except UnicodeDecodeError:
                    raise Unreadable(_CUT) from None
                if not rows:
                    return
                line += len(rows)
                yield file.buffer.tell(), rows

    def _open(self) -> Any:
        self._pending = 0
        errors = "surrogatepass" if self.encoding == "utf-16" else "surrogateescape"
        return open(self._path, encoding=self.encoding, errors=errors, newline="")

    def _bounded(self, file: Any) -> Iterator[str]:
        for line in file:
            self._pending += len(line)
            if self._pending > BATCH_CHARACTERS:
                raise Unreadable(
                    '1行が長すぎます。閉じていない引用符（"）がないか確かめて、CSV UTF-8で保存し直してください。'
                )
            yield line


_CUT = "ファイルの終わりが欠けています。もう一度保存してください。"
