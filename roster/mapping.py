"""Read a map of columns, which the clerk has corrected in Excel. It is for files with an insurer's
own titles and values.

In each row, 項目 is a column of the roster and ファイルの列 is the file's column, by its title, number or
letter. If ファイルの値 is given, that text of the column is read as 読み替え. docs/roster.md describes the
whole form.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from roster.cells import BROKEN, Column, Remembering, Wrong, fold_width, mended_value
from roster.columns import DATES, TITLES
from roster.header import NAMES, folded_title, is_my_number, letter, name_of
from roster.reading import Source, Unreadable

MAP_TITLES = ("項目", "ファイルの列", "ファイルの値", "読み替え", "メモ")
HEADER_ROW, SKIPPED_ROW, OF_ERA = "見出しの行", "読まない行", "の元号"
MOST_LINES = 10_000
SKIP = "\0"
"""The meaning of values whose rows are skipped."""

JOINED = {"name": "　", "kana": "　", **dict.fromkeys(DATES, ".")}
"""Columns of the roster that may be split over several columns of a file, and the text that joins
the parts."""

_ERA = re.compile("明治?|大正?|昭和?|平成?|令和?|[MTSHR]")


def code(text: str) -> str:
    """Return a value for comparison, without differences of width and case, and without leading
    zeros of a number, which Excel drops."""
    folded = fold_width(mended_value(text.strip())).upper()
    return folded.lstrip("0") or "0" if folded.isascii() and folded.isdigit() else folded


class Codes:
    """The meanings of the values of a column. `合計*` stands for all values with that beginning, and
    `*` for all values without a row of their own, except empty cells."""

    def __init__(self, pairs: Iterable[tuple[str, str]] = ()) -> None:
        self._exact: dict[str, str] = {}
        self._begun: dict[str, str] = {}
        for text, meant in pairs:
            self.add(text, meant)
        self.known: dict[str, str] = Remembering(self._read)
        """The meaning of each text. Without a row in the map, it is the text itself."""

    def __bool__(self) -> bool:
        return bool(self._exact or self._begun)

    def __or__(self, others: dict[str, str]) -> Codes:
        """Return these codes, and add the others for values that have none."""
        both = Codes(others.items())
        both._exact |= self._exact
        both._begun |= self._begun
        return both

    def add(self, text: str, meant: str) -> bool:
        """Add the meaning of a value. Return False if it has another one already."""
        key = code(text)
        table = self._begun if key.endswith("*") else self._exact
        return table.setdefault(key.removesuffix("*"), meant) == meant

    def _read(self, text: str) -> str:
        key = code(text)
        if key in self._exact:
            return self._exact[key]
        if not key or BROKEN in key:
            return text
        begun = [start for start in self._begun if key.startswith(start)]
        return self._begun[max(begun, key=len)] if begun else text


@dataclass
class Item:
    """A column of the roster, or the column of a day's era, as in the map."""

    line: int
    columns: list[tuple[int, str]] = field(default_factory=list)
    codes: Codes = field(default_factory=Codes)
    always: str = ""


class Map:
    """The contents of a map. Raise Unreadable with all of its faults, one in each line."""

    def __init__(self, source: Source, rules: dict[str, Column], name: str = "対応表") -> None:
        self.header_line = 1
        self.items: dict[str, Item] = {}
        self.eras: dict[str, Item] = {}
        self.skips: list[tuple[str, Codes]] = []
        self.unread: set[str] = set()
        """The columns of the file that are not to be read."""
        self._others: list[tuple[int, str]] = []
        self._name, self._rules, self._faults = name, rules, dict[int, str]()
        for line, cells in self._lines(source):
            self._read(line, *cells)
        for name, item in (*self.items.items(), *self.eras.items()):
            if not item.columns and not item.always:
                self._fault(
                    item.line,
                    "「ファイルの列」が空です。列の見出しか、番号か、記号を入れてください",
                )
            if len(item.columns) > 1 and (name not in JOINED or item is self.eras.get(name)):
                self._fault(item.columns[1][0], "この項目にはもう列があります。1つにしてください")
        self._tell()

    def _lines(self, source: Source) -> Iterable[tuple[int, tuple[str, str, str, str]]]:
        """Yield the line numbers as Excel counts them, and the cells in the order of MAP_TITLES."""
        source.choose(lambda rows: _known(rows[0]) if rows else 0)
        head = source.head()
        titles = [folded_title(text) for text in head[0]] if head else []
        if _known(titles) < 4:
            raise Unreadable(
                f"{self._name}の1行目は {'、'.join(MAP_TITLES[:4])} です。flask roster columns で作り直せます。"
            )
        places = [titles.index(title) for title in MAP_TITLES[:4]]
        line = 1
        for _, rows in source.batches(1):
            for row in rows:
                line += 1
                if line > MOST_LINES:
                    raise Unreadable(
                        f"{self._name}が長すぎます。{MOST_LINES:,}行以内にしてください。"
                    )
                item, column, value, meant = (
                    _unquoted(row[i]) if i < len(row) else "" for i in places
                )
                if item or column or value or meant:
                    yield line, (item, column, value, meant)

    def _read(self, line: int, title: str, column: str, value: str, meant: str) -> None:
        folded = folded_title(title)
        base = NAMES.get(folded.removesuffix(OF_ERA), "") if folded.endswith(OF_ERA) else ""
        if is_my_number(title) or is_my_number(column):
            raise Unreadable(
                f"{self._name}の{line}行目: マイナンバーは取り扱えません。ファイルからもその列を削除してください。"
            )
        if folded == HEADER_ROW:
            self._read_header_row(line, column)
        elif folded == SKIPPED_ROW:
            if not value:
                self._fault(
                    line,
                    "「ファイルの値」が空です。読まない行にある文字（合計 など）を入れてください",
                )
            codes = Codes([(value, SKIP)])
            self.skips.append((column, codes))
            self._others += [(line, column)] if column else []
        elif not title and not column:
            self._fault(line, "「項目」も「ファイルの列」も空です")
        elif not title:
            self._others.append((line, column))
            self.unread.add(column)
        elif base in DATES:
            self._read_item(self.eras, base, line, column, value, meant)
        elif folded in NAMES:
            self._read_item(self.items, NAMES[folded], line, column, value, meant)
        else:
            self._fault(line, f"「{title}」という項目はありません")

    def _read_header_row(self, line: int, text: str) -> None:
        number = fold_width(text).removesuffix("行目")
        if number in ("なし", "無し", "0"):
            self.header_line = 0
        elif number.isascii() and number.isdigit() and 1 <= int(number) <= 50:
            self.header_line = int(number)
        else:
            self._fault(
                line,
                "見出しが何行目かを、「ファイルの列」に 1〜50 の数字か「なし」で入れてください",
            )

    def _read_item(
        self, items: dict[str, Item], name: str, line: int, column: str, value: str, meant: str
    ) -> None:
        item = items.setdefault(name, Item(line))
        if column and column not in [text for _, text in item.columns]:
            item.columns.append((line, column))
        if not value and not meant:
            return
        if items is self.eras:
            if meant and not _ERA.fullmatch(fold_width(meant).upper()):
                self._fault(line, f"「{meant}」は元号ではありません")
        else:
            try:
                found = self._rules[name].parse(meant)
                if name in ("insurer_number", "branch"):
                    meant = found  # restores the zeros that Excel dropped
            except Wrong as wrong:
                self._fault(line, f"読み替え「{meant}」は{wrong}")
        if not column and not value and not item.columns:
            item.always = meant
        elif not item.codes.add(value, meant):
            self._fault(line, f"「{value}」の読み替えが2つあります")

    @property
    def titles(self) -> set[str]:
        """The folded titles of the file's columns that the map names."""
        items = (*self.items.values(), *self.eras.values())
        named = [pair for item in items for pair in item.columns] + self._others
        return {folded_title(text) for _, text in named}

    def places(self, header: list[str], most: int) -> dict[str, int]:
        """Return the place of each column that the map names, counted from 0 and below `most`.
        Raise Unreadable."""
        for base, era in self.eras.items():
            if base not in self.items:
                title = next((t for t in header if name_of(t) == base), None)
                if title is None:
                    self._fault(era.line, f"「{TITLES[base].japanese}」の行もいります")
                self.items[base] = Item(era.line, [(era.line, title)] if title else [])
        found: dict[str, int] = {}
        items = (*self.items.values(), *self.eras.values())
        for line, text in [pair for item in items for pair in item.columns] + self._others:
            try:
                found[text] = place_of(text, header, most)
            except ValueError as fault:
                self._fault(line, str(fault))
        self._tell()
        return found

    def _fault(self, line: int, text: str) -> None:
        self._faults.setdefault(line, text)

    def _tell(self) -> None:
        if self._faults:
            raise Unreadable(
                "\n".join(
                    f"{self._name}の{line}行目: {text.removesuffix('。')}。"
                    for line, text in sorted(self._faults.items())
                )
            )


def place_of(text: str, header: list[str], most: int) -> int:
    """Return the place, below `most`, of the column with this title, number (3, 3列) or letter (C,
    C列). Raise ValueError with a sentence."""
    wanted = folded_title(text)
    places = [i for i, title in enumerate(header) if folded_title(title) == wanted]
    if len(places) == 1:
        return places[0]
    if places:
        raise ValueError(
            f"「{text}」の列が{len(places)}つあります。{'、'.join(f'{letter(i)}列' for i in places)} のどれかを書いてください"
        )
    short = wanted.removesuffix("列").removeprefix("列")
    if short.isascii() and short.isdigit():
        place = int(short) - 1
    else:
        names = [letter(i).lower() for i in range(most)]
        place = names.index(short) if short in names else -1
    if not 0 <= place < most:
        raise ValueError(f"「{text}」という列はファイルにありません")
    return place


def _known(titles: list[str]) -> int:
    return len({folded_title(text) for text in titles} & set(MAP_TITLES[:4]))


def _unquoted(text: str) -> str:
    """Return a cell without surrounding spaces, and without the apostrophe that marks a formula as
    text."""
    text = text.strip()
    return text[1:] if re.match(r"'[=+\-@＝＋－＠]", text) else text
