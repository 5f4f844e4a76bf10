"""Read the rows of a sheet of an Excel workbook (.xlsx) as texts, as Excel's own CSV would have
them."""

from __future__ import annotations

import contextlib
import datetime as dt
import re
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any
from xml.parsers import expat

from roster.cells import BROKEN
from roster.reading import BATCH, HEADER_LINES, Rows, Unreadable

MOST_BYTES = 1 << 30
"""The most bytes of an unpacked workbook, 1 GiB, which is enough for over a million people."""
MOST_BESIDE = 1 << 28
"""The most bytes of all parts but the sheets, 256 MiB. They are kept in memory, above all the
texts."""
MOST_TIMES, FREE_BYTES = 100, 1 << 26
"""A workbook may be this many times as large when it is unpacked, or 64 MiB in any case. Excel's
own workbooks come to 5 to 30 times, and a ZIP bomb to 1,000."""
MOST_ROWS = 1 << 20  # as Excel
DATE_FORMATS = {*range(27, 37), *range(50, 59)}
"""The numbers of Excel's built-in date formats in Japan, which files do not describe (ECMA-376 part
1, 18.8.30). openpyxl does not know them."""

_ESCAPED = re.compile("_x([0-9A-Fa-f]{4})_")


class Workbook:
    """One sheet of a workbook. Raise Unreadable."""

    ragged = True
    """Rows lack the empty cells at their end."""

    def __init__(self, path: Path, sheet: str | None = None) -> None:
        _check_archive(path)
        from openpyxl import load_workbook  # it takes a while, and the server does not need it

        with path.open("rb") as file, _sentences():
            self._book = load_workbook(file, read_only=True, data_only=True, keep_links=False)
            self._sheet = self._chosen(sheet)
        self._path, self._hidden = path, 0

    @property
    def about(self) -> str:
        hidden = f"（隠れている{self._hidden}行も読みました）" if self._hidden else ""
        return f"シート「{self._sheet.title}」{hidden}"

    def choose(self, score: Callable[[Rows], Any]) -> None:
        """Do nothing, since a workbook has cells and no separators."""

    def head(self) -> Rows:
        """Return the first HEADER_LINES rows, padded to the same width."""
        with zipfile.ZipFile(self._path) as archive:
            rows = self._take(self._rows(archive), HEADER_LINES)
        width = max(map(len, rows), default=0)
        return [row + [""] * (width - len(row)) for row in rows]

    def batches(self, skip: int) -> Iterator[tuple[int, Rows]]:
        """Yield the number of bytes read so far and the next rows. Leave out the first `skip`
        rows."""
        with zipfile.ZipFile(self._path) as archive:
            rows, self._hidden = self._rows(archive, skip), 0
            self._take(rows, skip)
            while batch := self._take(rows, BATCH):
                yield archive.fp.tell() if archive.fp else 0, batch

    @staticmethod
    def _take(rows: Iterator[list[str]], count: int) -> Rows:
        with _sentences():
            return list(islice(rows, count))

    def _chosen(self, name: str | None) -> Any:
        sheets = {sheet.title: sheet for sheet in self._book.worksheets}
        if not sheets:
            raise Unreadable("表のあるシートがありません。加入者のシートを作って保存してください。")
        if name is not None and name not in sheets:
            raise Unreadable(
                f"「{name}」というシートはありません。あるのは {'、'.join(sheets)} です。"
            )
        shown = [title for title, sheet in sheets.items() if sheet.sheet_state == "visible"]
        return sheets[name or (shown or list(sheets))[0]]

    def _rows(self, archive: zipfile.ZipFile, skip: int = MOST_ROWS) -> Iterator[list[str]]:
        """Yield all rows, counted as Excel counts them. After the first `skip` rows, count the
        hidden ones, and raise Unreadable if cells of several rows are merged.

        This uses openpyxl's parser, since its own rows trust the size that the file claims, and do
        not distinguish a formula without a value from an empty cell.
        """
        from openpyxl.worksheet._reader import FORMULA_TAG, WorkSheetParser

        class Parser(WorkSheetParser):  # type: ignore[misc]
            def parse_cell(self, element: Any) -> Any:
                cell = super().parse_cell(element)
                if cell["value"] is None and cell["data_type"] == "n":
                    cell["lacks"] = element.find(FORMULA_TAG) is not None
                return cell

            def parse_row(self, row: Any) -> Any:
                line, cells = super().parse_row(row)
                hidden[0] += row.get("hidden") in ("1", "true") and line > skip and bool(cells)
                return line, cells

        hidden = [0]
        book, sheet, next_line = self._book, self._sheet, 1
        styles = {
            i for i, style in enumerate(book._cell_styles) if style.numFmtId in DATE_FORMATS
        } | book._date_formats
        formats = [_zeros(book, style) for style in book._cell_styles]
        with archive.open(sheet._worksheet_path) as source:
            parser = Parser(
                source, sheet._shared_strings, True, book.epoch, styles, book._timedelta_formats
            )
            for line, cells in parser.parse():
                if not next_line <= line <= MOST_ROWS:
                    raise Unreadable(_BROKEN)
                yield from ([] for _ in range(next_line, line))
                yield _texts(cells, formats)
                next_line = line + 1
            self._hidden = hidden[0]
            for merged in getattr(parser.merged_cells, "mergeCell", ()):
                _check_merged(merged, skip)


def _check_merged(merged: Any, skip: int) -> None:
    """Refuse cells that are merged over several people, since only the first row has their
    value."""
    first, last = (int(line) for line in re.findall(r"\d+", merged.ref))
    if skip < first < last:
        raise Unreadable(
            f"セル {merged.ref} が結合されていて、{first + 1}行目からは空です。結合を解除し、どの行にも値を入れて保存し直してください。"
        )


def _texts(cells: list[dict[str, Any]], zeros: list[int]) -> list[str]:
    texts: list[str] = []
    for cell in cells:
        place = cell["column"] - 1
        if place > len(texts):
            texts.extend([""] * (place - len(texts)))
        elif place < len(texts):
            raise Unreadable(_BROKEN)
        value, kind = cell["value"], cell["data_type"]
        if type(value) is str and kind == "s":
            text = _ESCAPED.sub(_unescaped, value) if "_x" in value else value
        elif value is None:
            text = BROKEN if cell.get("lacks") else ""
        elif kind == "e":
            text = f"{BROKEN}{value}"
        else:
            text = _text(value, zeros[cell["style_id"]])
        texts.append(text)
    while texts and not texts[-1]:
        texts.pop()
    return texts


def _unescaped(found: re.Match[str]) -> str:
    character = chr(int(found[1], 16))
    return "" if character == "\r" else character


def _text(value: Any, zeros: int) -> str:
    """Return a value that is not text as Excel's CSV would have it: whole numbers without a point
    and with the zeros of a format such as 00000000, and days as 1980-01-01."""
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        value = int(value)
    if isinstance(value, int):
        return str(value).zfill(zeros)
    if isinstance(value, dt.datetime):
        return str(value.date() if value.time() == dt.time() else value)
    return str(value)


def _zeros(book: Any, style: Any) -> int:
    """Return the least number of digits that a format shows: 8 for 00000000, also if a space or a
    form for negative numbers follows, as in 00000000_ ;[Red]-00000000."""
    found = style.numFmtId - 164  # a workbook's own formats have this number or more
    own = book._number_formats[found] if 0 <= found < len(book._number_formats) else ""
    own = re.sub(r"_.|\*.|\\?\s|\[[^]]*\]", "", own.partition(";")[0])
    return len(own) if own.strip("0") == "" else 0


class _sentences:
    """Turn all errors that openpyxl raises for a damaged workbook into one sentence, and hide its
    warnings."""

    def __enter__(self) -> None:
        self._quiet = warnings.catch_warnings()
        self._quiet.__enter__()
        warnings.simplefilter("ignore")

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self._quiet.__exit__(kind, error, trace)
        if isinstance(error, Exception) and not isinstance(error, Unreadable):
            raise Unreadable(_BROKEN) from error


_BROKEN = "Excelブックが壊れています。Excelで開いて、もう一度保存してください。"


def _check_archive(path: Path) -> None:
    """Check that a ZIP archive is a workbook of a reasonable size, without entities in its XML."""
    try:
        with zipfile.ZipFile(path) as archive:
            parts = archive.infolist()
            if not any(re.fullmatch(r"xl/workbook\d*\.xml", part.filename) for part in parts):
                raise Unreadable(
                    "Excelブック（.xlsx）でもCSVでもないファイルです。Excelで「Excel ブック（.xlsx）」か「CSV UTF-8（コンマ区切り）」として保存し直してください。"
                )
            size = sum(part.file_size for part in parts)
            most = min(MOST_BYTES, FREE_BYTES + MOST_TIMES * path.stat().st_size)
            beside = sum(p.file_size for p in parts if not p.filename.startswith("xl/worksheets/"))
            if size > most or beside > MOST_BESIDE:
                raise Unreadable(
                    "Excelブックが大きすぎます。加入者のシートだけを「CSV UTF-8（コンマ区切り）」として保存し直してください。"
                )
            for part in parts:
                if not part.filename.startswith("xl/media/"):
                    with archive.open(part) as file:
                        _check_prologue(file)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, OSError, EOFError):
        raise Unreadable(_BROKEN) from None


def _check_prologue(file: Any) -> None:
    """Refuse a document type. Workbooks have none, and it can declare entities that grow without
    limit or name files."""
    parser, seen = expat.ParserCreate(), []
    parser.StartElementHandler = lambda *_: seen.append("element")
    parser.StartDoctypeDeclHandler = lambda *_: seen.append("doctype")
    with contextlib.suppress(
        expat.ExpatError
    ):  # not XML, such as a picture or a printer's settings
        while not seen and (chunk := file.read(1024)):
            parser.Parse(chunk)
    if seen[:1] == ["doctype"]:
        raise Unreadable(_BROKEN)
