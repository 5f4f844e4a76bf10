"""A text file of rows in any of its encodings, read in small pieces, and what it shares with a
workbook."""

from __future__ import annotations

import codecs
import csv
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any, Protocol

CHUNK = 1 << 18
"""Bytes looked at together, 256 KiB: a stretch of that length without a line's end is no roster."""
BATCH = 400
"""Rows taken together: few enough to stay in a core's own cache, a sixth faster than 1,000."""
BATCH_CHARACTERS = 1 << 25
HEADER_LINES = 100
"""Lines of a file that are looked at for its titles."""
ENCODINGS = {
    "utf-8-sig": "UTF-8",
    "cp932": "Shift_JIS（CP932）",
    **dict.fromkeys(("utf-16", "utf-16-le", "utf-16-be"), "UTF-16"),
}
MARKS = {",": "", "\t": "タブ区切り", ";": "セミコロン区切り"}

Rows = list[list[str]]


class Unreadable(Exception):
    """The file as a whole cannot be read as a roster; the text is one sentence for the clerk."""


def look_at(path: Path) -> str:
    """Return the encoding of a text file.

    It is UTF-16 if the file begins with its mark (Excel's "Unicodeテキスト") or as UTF-16 without one
    does, UTF-8 if the whole file is, else CP932; if neither fits, the one with fewer faults. Raise
    Unreadable.
    """
    utf8 = codecs.getincrementaldecoder("utf-8")()
    clean, line = True, 1
    with path.open("rb") as file:
        start = file.read(8)
        if not start:
            raise Unreadable("ファイルが空です。加入者CSVを選び直してください。")
        if start.startswith(b"\xd0\xcf\x11\xe0"):
            raise Unreadable(
                "古い形式（.xls）か、パスワードの付いたExcelブックです。Excelで「Excel ブック（.xlsx）」か「CSV UTF-8（コンマ区切り）」として、パスワードなしで保存し直してください。"
            )
        utf16 = _utf16(start + file.read(CHUNK))
        file.seek(0)
        while chunk := file.read(CHUNK):
            if b"\0" in chunk and not utf16:
                line += chunk[: chunk.index(b"\0")].count(b"\n")
                raise Unreadable(
                    f"{line}行目にNUL文字が入っています。CSVではないファイルか、壊れたファイルです。「CSV UTF-8（コンマ区切り）」で保存し直してください。"
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
            line += chunk.count(b"\n")
    if utf16:
        return utf16
    if clean or start.startswith(codecs.BOM_UTF8):
        return "utf-8-sig"
    return min("cp932", "utf-8-sig", key=lambda encoding: _faults(path, encoding))


def _utf16(start: bytes) -> str:
    """Return which UTF-16 a file is that begins so, or nothing.

    Without a mark it is told by the commas and digits of the first rows, each of which has a zero
    byte beside it, nearly always on the same side.
    """
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    zeros = [start[side::2].count(0) for side in (0, 1)]
    if max(zeros) * 20 < len(start) or min(zeros) * 8 > max(zeros):  # U+3000 has one on the other
        return ""
    return "utf-16-le" if zeros[1] > zeros[0] else "utf-16-be"


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
        width = Counter(map(len, self.head())).most_common(1)
        with self._open() as file:
            reader = csv.reader(chain(self._bounded(file), [END]), delimiter=self._mark)
            for _ in islice(reader, skip):
                pass
            while True:
                self._pending, before = 0, reader.line_num
                try:
                    rows = list(islice(reader, BATCH))
                except csv.Error:
                    raise Unreadable(
                        f'{line + 1}行目より後に、閉じていない引用符（"）か、長すぎるセルがあります。引用符を確かめてください。'
                    ) from None
                except UnicodeDecodeError:
                    raise Unreadable(_CUT) from None
                lines = reader.line_num - before
                if rows and rows[-1] == [END]:
                    rows.pop()
                    lines -= 1
                if lines > len(rows):
                    self._check_quotes(rows, line, width[0][0])
                if not rows:
                    return
                line += len(rows)
                yield file.buffer.tell(), rows

    def _check_quotes(self, rows: Rows, line: int, width: int) -> None:
        """Refuse a cell that goes over lines and holds a whole row: a quotation mark opens it that
        none closes in its own row, and the people in it would be lost."""
        for number, row in enumerate(rows, line + 1):
            for cell in row:
                breaks = "\n" in cell or "\r" in cell
                if END in cell or (breaks and cell.count(self._mark) >= max(width - 1, 1)):
                    raise Unreadable(
                        f'{number}行目に、閉じていない引用符（"）があり、次の行までセルが続いています。引用符を取り除くか、閉じてください。'
                    )

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
            if _EOF in line and _EOF in (line[0], line[-1]):
                line = line.replace(_EOF, "") or "\n"
            yield line


END = "\udbfe"
"""Follows the last line, so that a cell that is still open there can be told."""
_EOF = "\x1a"
"""With what programs of the days of DOS end a file."""
_CUT = "ファイルの終わりが欠けています。もう一度保存してください。"
