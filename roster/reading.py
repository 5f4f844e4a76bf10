"""A first look at a file: whether it can be a roster at all, and its encoding. Reads it once, in
small pieces."""

from __future__ import annotations

import codecs
from pathlib import Path

CHUNK = 1 << 18
"""Bytes looked at together, 256 KiB: a stretch of that length without a line's end is no roster."""


class Unreadable(Exception):
    """The file as a whole cannot be read as a roster; the text is one sentence for the clerk."""


def look_at(path: Path) -> tuple[str, int]:
    """Return the encoding, and an upper bound of the number of rows.

    It is UTF-8 if the whole file is, else CP932; if neither fits, the one with fewer faults. Raise
    Unreadable.
    """
    utf8 = codecs.getincrementaldecoder("utf-8")()
    clean, lines = True, 1
    with path.open("rb") as file:
        start = file.read(8)
        if not start:
            raise Unreadable("ファイルが空です。加入者CSVを選び直してください。")
        if start.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
            raise Unreadable(
                "CSVではなくExcelブックかZIPファイルです。Excelで「CSV UTF-8（コンマ区切り）」として保存し直してください。"
            )
        if start.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise Unreadable(
                "Unicodeテキスト（UTF-16）で保存されています。Excelで「CSV UTF-8（コンマ区切り）」として保存し直してください。"
            )
        file.seek(0)
        while chunk := file.read(CHUNK):
            if b"\0" in chunk:
                raise Unreadable(
                    "NUL文字が入っています。CSVではないファイルです。「CSV UTF-8（コンマ区切り）」で保存し直してください。"
                )
            if len(chunk) == CHUNK and b"\n" not in chunk and b"\r" not in chunk:
                raise Unreadable(
                    "1行が長すぎます。CSVではないファイルか、改行がないファイルです。保存し直してください。"
                )
            lines += max(chunk.count(b"\n"), chunk.count(b"\r"))
            if clean:
                try:
                    utf8.decode(chunk, final=len(chunk) < CHUNK)
                except UnicodeDecodeError:
                    clean = False
    if clean or start.startswith(codecs.BOM_UTF8):
        return "utf-8-sig", lines
    return min("cp932", "utf-8-sig", key=lambda encoding: _faults(path, encoding)), lines


def _faults(path: Path, encoding: str) -> int:
    """Return how many characters of the file do not fit the encoding."""
    with open(path, encoding=encoding, errors="replace", newline="") as file:
        return sum(chunk.count("\ufffd") for chunk in iter(lambda: file.read(CHUNK), ""))
