"""A file of rows: a text file, or a workbook."""

from __future__ import annotations

from pathlib import Path

from roster.reading import Source, TextFile, Unreadable


def opened(path: Path, sheet: str | None = None) -> Source:
    """Return the file's rows; for a workbook those of the first sheet, or of the one named. Raise
    Unreadable."""
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
    """Return whether the file begins as an Excel workbook of today (a ZIP archive) does."""
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"
