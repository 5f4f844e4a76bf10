"""Read a text file of rows in any of its encodings, in small pieces. Workbooks are read with the
same interface, Source."""

from __future__ import annotations

import codecs
import csv
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any, Protocol

CHUNK = 1 << 18
"""Bytes that are read at once, 256 KiB. A file with so many bytes and no end of a line is not a
roster."""
BATCH = 400
"""Rows in a batch. So few stay in the cache of a core, which is a sixth faster than 1,000."""
BATCH_CHARACTERS = 1 << 25
HEADER_LINES = 100
"""The number of lines in which the titles are searched."""
ENCODINGS = {
    "utf-8-sig": "UTF-8",
    "cp932": "Shift_JIS（CP932）",
    "euc_jp": "EUC-JP",
    **dict.fromkeys(("utf-16", "utf-16-le", "utf-16-be"), "UTF-16"),
}
MARKS = {",": "", "\t": "タブ区切り", ";": "セミコロン区切り", "|": "縦線区切り"}

Rows = list[list[str]]


class Unreadable(Exception):
    """The file as a whole cannot be read as a roster; the text is one sentence for the clerk."""


def look_at(path: Path) -> str:
    """Return the encoding of a text file.

    It is UTF-16 if the file begins with a byte order mark (Excel's "Unicodeテキスト"), or looks like
    UTF-16 without one. It is UTF-8 if the whole file is valid. It is EUC-JP, in which nearly no
    kanji of CP932 is valid, if all but a few characters are. Otherwise it is CP932, or UTF-8 if that
    has fewer faults. Raise Unreadable.
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
    faults, japanese = _faults(path, "euc_jp")
    if faults * 20 < japanese:
        return "euc_jp"
    return min("cp932", "utf-8-sig", key=lambda encoding: _faults(path, encoding)[0])


def _utf16(start: bytes) -> str:
    """Return the kind of UTF-16 of a file with this beginning, or an empty string.

    Without a byte order mark, it is found by the commas and digits of the first rows. Each of them
    has a zero byte next to it, nearly always on the same side.
    """
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    zeros = [start[side::2].count(0) for side in (0, 1)]
    # U+3000 has the zero byte on the other side
    if max(zeros) * 20 < len(start) or min(zeros) * 8 > max(zeros):
        return ""
    return "utf-16-le" if zeros[1] > zeros[0] else "utf-16-be"


def _faults(path: Path, encoding: str) -> tuple[int, int]:
    """Return the number of characters that are not valid in the encoding, and the number of those
    that are not ASCII."""
    faults = others = 0
    with open(path, encoding=encoding, errors="replace", newline="") as file:
        while text := file.read(CHUNK):
            faults += text.count("\ufffd")
            others += len(text) - len(text.encode("ascii", "ignore"))
    return faults, others


class Source(Protocol):
    """The interface of a text file and of a sheet of a workbook."""

    ragged: bool
    """Whether rows lack the empty cells at their end."""

    @property
    def about(self) -> str:
        """What the clerk is told about the reading."""

    def choose(self, score: Callable[[Rows], Any]) -> None:
        """Use the separator for which the first rows have the highest score. Commas win a tie."""

    def head(self) -> Rows:
        """Return the first rows, about HEADER_LINES of them."""

    def batches(self, skip: int) -> Iterator[tuple[int, Rows]]:
        """Yield the number of bytes read so far and the next rows. Leave out the first `skip`
        rows."""


class TextFile:
    """A text file with one row in each line, separated by commas, tabs, semicolons or bars. Raise
    Unreadable."""

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
                pass  # the rest has another form; the rows before it are enough
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
        """Refuse a cell that spans lines and contains a whole row. A quotation mark opened it and
        is not closed in its own row, and the people in the cell would be lost."""
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
"""Added after the last line, to detect a cell that is still open there."""
_EOF = "\x1a"
"""The end of a file, as programs for DOS mark it."""
_CUT = "ファイルの終わりが欠けています。もう一度保存してください。"
