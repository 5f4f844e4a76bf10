"""The rules for the text of a cell: what all columns have in common, and free text.

A rule raises Wrong with a text for the clerk, in Japanese, which says what is wrong and what is
expected.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Callable, Collection
from itertools import accumulate
from typing import Any

BROKEN = "\udbff"
"""Stands for a cell of a workbook whose formula has no value, or has an error such as #N/A."""
CACHED = 100_000
"""How many different texts of a column are remembered: at most 20 MB, enough for all days of a
century in two forms."""


class Wrong(ValueError):
    """A cell or a row is not accepted. The message says what is wrong and what is expected."""


_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
# characters of Unicode's Bidi_Control reorder text; the others are invisible, and come with copied text
_UNSEEN = re.compile(r"[\u00ad\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
# the last ones are how CP932 decodes A0 and FD to FF
_UNREADABLE = re.compile(r"[\ud800-\udfff\uf8f0-\uf8f3]")
_PRIVATE = re.compile(r"[\ue000-\uf8ff\U000f0000-\U0010ffff]")
RARE = re.compile(r"[\ue000-\uf8ff\ufe00-\ufe0f\U00010000-\U0010ffff]")
RARE_NAME = re.compile(RARE.pattern[:-1] + "●]")
_HALF_KANA = re.compile(r"[｡-ﾟ]+")
_EXPONENT = re.compile(r"\d(\.\d+)?E\+?\d+", re.IGNORECASE)
_DATED = re.compile(
    r"(\d{1,2}月\d{1,2}日|(\d{4}[-/]\d{1,2}[-/]|\d{4}年\d{1,2}月)\d{1,2}日?( .*)?|[A-Z][a-z]{2}-\d\d|\d{1,2}-[A-Z][a-z]{2})",
)
_FORMULA = re.compile(r'="((?:[^"]|"")*)"')
_WHOLE = re.compile(r"(\d+)\.0+")
_EXCEL_ERROR = re.compile(r"#([A-Z/0]+[!?]|N/A|#{2,})")
NOTHING = {
    "NULL",
    "Null",
    "null",
    "(NULL)",
    "(null)",
    "<NULL>",
    "<NA>",
    "\\N",
    "NaN",
    "nan",
    "NaT",
    "None",
}
"""Texts that databases and other programs write for an empty cell."""


def fold_width(text: str) -> str:
    """Return the text for comparison, with full and half width folded."""
    return unicodedata.normalize("NFKC", text).strip()


def full_kana(text: str) -> str:
    """Return the text with half-width kana made full width, and everything else as it is."""
    return _HALF_KANA.sub(lambda found: unicodedata.normalize("NFKC", found[0]), text)


def mended(text: str) -> str:
    """Return the text of a cell without the marks of other programs: ="00123" is 00123, and NULL is
    empty."""
    if text in NOTHING:
        return ""
    if text[:1] == "=" and (found := _FORMULA.fullmatch(text)):
        return found[1].replace('""', '"').strip()
    return text


def mended_value(text: str) -> str:
    """Return the repaired text of a cell that is not free text: without the apostrophe that keeps
    Excel from changing it, and without the decimals of a whole number such as 123.0."""
    text = mended(text).removeprefix("'")
    found = _WHOLE.fullmatch(text) if ".0" in text else None
    return found[1] if found else text


class Column:
    """The rule of one column, which remembers the value of each text. `parse` is the rule of one
    cell.

    Wrong texts are not remembered, so each occurrence is reported. `repaired` has the texts that
    were repaired so far.
    """

    def __init__(
        self, parse: Callable[[str], Any], empty: Any = None, required: bool = False
    ) -> None:
        self._rule, self._empty, self._required = parse, empty, required
        self.known: dict[str, Any] = Remembering(self.parse)
        self.repaired: set[str] = set()

    def parse(self, text: str) -> Any:
        """Return the value of one cell. Raise Wrong."""
        given = text.strip()
        stripped = self._mended(given)
        if stripped != given:
            self.repaired.add(given)
        if not stripped and self._required:
            raise Wrong("空です。必ず入力してください")
        if not stripped:
            return self._empty
        if BROKEN in stripped:
            raise Wrong(
                "Excelの数式が値になっていません。Excelで開いて正しい値にし、保存し直してください"
            )
        if stripped[0] == "#" and _EXCEL_ERROR.fullmatch(stripped):
            raise Wrong(
                "Excelのエラーか、列の幅が足りないしるしです。Excelで開いて、数式や列の幅を直し、保存し直してください"
            )
        if _UNREADABLE.search(stripped):
            raise Wrong(
                "文字として読めないバイトがあります。ファイルを「CSV UTF-8」で保存し直してください"
            )
        return self._rule(stripped)

    _mended = staticmethod(mended_value)

    def values(self, cells: Collection[str]) -> list[Any] | None:
        """Return the values of a batch, or None if one of the cells has to be checked by `parse`
        alone, which can say what is wrong with it."""
        try:
            return (
                list(map(self.known.__getitem__, cells))
                if any(cells) or self._required
                else [self._empty] * len(cells)
            )
        except Wrong:
            return None

    def warnings(self, values: list[Any]) -> list[tuple[int, str]]:
        """Return the values of a batch that are accepted but deserve a warning, and the warning of
        each."""
        return []


class Remembering(dict[str, Any]):
    """The value of each text, as `parse` returned it. At most CACHED texts are kept."""

    def __init__(self, parse: Callable[[str], Any]) -> None:
        self._parse = parse

    def __missing__(self, text: str) -> Any:
        value = self._parse(text)
        if len(self) >= CACHED:
            self.clear()
        self[text] = value
        return value


class Text(Column):
    """Free text, which differs from row to row. It is checked a batch at a time instead of cell by
    cell."""

    strange = (
        r"\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\uf8ff\U000f0000-\U0010ffff"
        + _UNSEEN.pattern[1:-1]
    )

    def __init__(
        self,
        limit: int,
        required: bool = False,
        kana: bool = False,
        lines: bool = False,
        odd: re.Pattern[str] | None = None,
    ) -> None:
        super().__init__(self._text, empty="", required=required)
        self._limit, self._kana, self._lines, self._odd = limit, kana, lines, odd
        self._strange = re.compile(f"[{self.strange}]")
        self._look = re.compile(
            f"[{self.strange}{odd.pattern[1:-1] if odd else ''}{'｡-ﾟ' if kana else ''}]"
        )
        self._calm = False
        """Whether the present batch was searched and contains nothing that needs a closer look."""

    _mended = staticmethod(mended)

    def _is_spoiled(self, joined: str) -> bool:
        """Return whether one of the cells, which are separated by line breaks, looks as if another
        program wrote it."""
        return "\n=" in joined or "\n#" in joined

    def _text(self, text: str) -> str:
        if self._lines:
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        if found := _CONTROL.search(text.replace("\n", "") if self._lines else text):
            what = "改行" if found[0] in "\r\n" else "制御文字"
            raise Wrong(f"{what}が入っています。取り除いてください")
        if found := _UNSEEN.search(text):
            raise Wrong(
                f"見えない文字（文字の並ぶ向きを変える、幅のないなど、U+{ord(found[0]):04X}）が入っています。セルの中身を消して、入力し直してください"
            )
        if self._odd is None and _PRIVATE.search(text):
            raise Wrong("外字（私用領域の文字）が入っています。一般の文字に置き換えてください")
        if self._kana:
            text = full_kana(text)
        if len(text) > self._limit:
            raise Wrong(f"{len(text)}文字あります。{self._limit}文字以内にしてください")
        return text

    def values(self, cells: Collection[str]) -> list[Any] | None:
        """Return the same as Column.values. Search the whole batch once, and look at single cells
        only if something is found."""
        self._calm = False
        if not any(cells) and not self._required:
            self._calm = True
            return [""] * len(cells)
        stripped = list(map(str.strip, cells))
        joined = "\n".join(stripped)
        if joined.count("\n") != len(stripped) - 1 or max(map(len, stripped)) > self._limit:
            return None
        if self._required and not all(stripped):
            return None
        if ("N" in joined or "n" in joined) and not NOTHING.isdisjoint(stripped):
            return None
        if self._is_spoiled(f"\n{joined}"):
            return None
        if not self._look.search(joined):
            self._calm = True
            return stripped
        if self._strange.search(joined):
            return None
        if self._kana:
            stripped = full_kana(joined).split("\n")
            return stripped if max(map(len, stripped)) <= self._limit else None
        return stripped

    def warnings(self, values: list[Any]) -> list[tuple[int, str]]:
        if self._odd is None or self._calm:
            return []
        texts = [value or "" for value in values]
        ends, found = list(accumulate(map(len, texts))), dict[int, str]()
        for match in self._odd.finditer("".join(texts)):
            found.setdefault(bisect_right(ends, match.start()), match[0])
        return [(i, _rare(character)) for i, character in found.items()]


def _rare(character: str) -> str:
    what = "●" if character == "●" else "外字か特殊な文字"
    return f"{what}があります。このまま取り込んで表示します。正しい文字が分かるときは直してください"


class Key(Text):
    """A part of the natural key, or the 加入者ID: short text that Excel may have changed, which is an
    error."""

    # an E may be an exponent, and a point may belong to 123.0
    strange = Text.strange + "+＋eEｅＥ./月"

    _mended = staticmethod(mended_value)

    def _is_spoiled(self, joined: str) -> bool:
        dated = "-" in joined and any(map(_DATED.fullmatch, joined.split("\n")))
        return dated or "\n'" in joined or super()._is_spoiled(joined)

    def _text(self, text: str) -> str:
        if _DATED.fullmatch(fold_width(text)):
            raise Wrong(
                "Excelが日付に変えています。列の表示形式を「文字列」にして、元の値を入力し直してください"
            )
        if _EXPONENT.fullmatch(fold_width(text)):
            raise Wrong(
                "Excelが数値の指数表示に変えています。列の表示形式を「文字列」にして、元の値を入力し直してください"
            )
        return super()._text(text)
