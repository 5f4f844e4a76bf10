"""A file of rows: a text file, or a workbook."""

from __future__ import annotations

from pathlib import Path

from roster.reading import Source, TextFile, Unreadable


def opened(path: Path, sheet: str | None = None) -> Source:
    """Return the rows of the file. Of a workbook, they are the rows of the sheet named, or of the
    first one. Raise Unreadable."""
    if is_workbook(path):
        from roster.workbook import Workbook

        return Workbook(path, sheet)
    text = TextFile(path)
    if sheet is not None:
        raise Unreadable(
            "Excelブック（.xlsx）ではないので、シートはありません。--sheet を外してください。"
        )
    return text


def is_workbook(path: Path) -> bool:
    """Return whether the file begins like an Excel workbook (.xlsx), which is a ZIP archive."""
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"
