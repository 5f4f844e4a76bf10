"""Map the columns of a file to the columns of the roster, by known titles, or by a map if there is
one."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import zip_longest

from dates import ERA_CODES, ERAS
from roster.cells import fold_width
from roster.columns import TITLES
from roster.header import are_my_numbers, is_my_number, letter, name_of
from roster.mapping import JOINED, SKIP, Codes, Map
from roster.reading import Rows, Unreadable

MOST_COLUMNS = 500

Texts = Sequence[str]


class Source:
    """The source of one column of the roster: columns of the file, a column for the era, and the
    meanings of their texts; or no column, and the same text for every row."""

    def __init__(
        self,
        name: str,
        places: list[int],
        codes: Codes | None = None,
        era: tuple[int, Codes] | None = None,
        always: str = "",
    ) -> None:
        self.places, self._codes, self._era, self._always = places, codes, era, always
        self._between = JOINED.get(name, "")

    def texts(self, columns: list[Texts], count: int) -> tuple[Texts, Texts]:
        """Return the texts of `count` rows twice: as they are in the file, and as they are read."""
        if not self.places:
            return [self._always] * count, [self._always] * count
        found: Texts = columns[self.places[0]]
        if len(self.places) > 1:
            parts = zip(*(columns[i] for i in self.places), strict=True)
            found = [self._between.join(filter(None, map(str.strip, row))) for row in parts]
        read = [self._codes.known[text] for text in found] if self._codes else found
        if self._era is None:
            return found, read
        place, codes = self._era
        eras = columns[place]
        seen = [f"{era.strip()} {text}".strip() for era, text in zip(eras, found, strict=True)]
        return seen, [by_era(codes.known[e], text) for e, text in zip(eras, read, strict=True)]


def by_era(era: str, text: str) -> str:
    """Return a day of an era with the era in front: 昭和, 550512 → 昭和550512. Do not change days that
    contain their era or a western year, or fillers such as 0."""
    day = fold_width(text)
    return f"{era}{day}" if era and re.fullmatch(r"\d{5,6}|(元|\d{1,2})\D.+", day) else text


def refuse_my_number(titles: Rows, below: Rows) -> None:
    """Raise Unreadable if a title is one of マイナンバー, or if a column contains such numbers under any
    title."""
    for title in (cell for row in titles for cell in row if is_my_number(cell)):
        raise Unreadable(
            f"「{title.strip()}」の列があります。マイナンバーは取り扱えないので、この列を削除して保存し直してください。"
        )
    for place, cells in enumerate(zip_longest(*below, fillvalue="")):
        if are_my_numbers(cells):
            raise Unreadable(
                f"{letter(place)}列の値がマイナンバー（検査用数字の合う12桁）です。マイナンバーは取り扱えないので、この列を削除して保存し直してください。"
            )


class Layout:
    """The columns of a file, of which `head` are the first rows. `ragged` is explained in
    reading.Source.

    Raise Unreadable if the file has no row of titles, has a column of マイナンバー, or lacks a column
    that the map names.
    """

    def __init__(self, head: Rows, ragged: bool, columns: Map | None, era_codes: str) -> None:
        self.line = columns.header_line if columns else 1
        """The number of the row of titles, counted from 1, or 0 if there is none."""
        refuse_my_number(head[: max(self.line, 1)], head[self.line :])
        self.header = self._header(head)
        if columns is None and not any(map(name_of, self.header)):
            raise Unreadable(
                "1行目に知っている見出しが1つもありません。1行目を見出し（保険者番号、記号、番号、氏名 など）にしてください。"
                "ひな形は flask roster template で作れます。見出しがちがうファイルは、flask roster columns で対応表を作ると読めます。"
            )
        if len(self.header) > MOST_COLUMNS:
            raise Unreadable(
                f"列が{len(self.header)}あります。{MOST_COLUMNS}列以内にしてください。"
            )
        self.sources: dict[str, Source] = {}
        self._used: set[int] = set()
        self._skips: list[tuple[int | None, Codes]] = []
        if columns:
            self._follow(columns, ragged, era_codes)
        self.twins: list[tuple[int, int]] = []
        """Columns that mean the same as an earlier one: the places of both."""
        for place, text in enumerate(self.header):
            name = name_of(text)
            if name is None or not self.line or place in self._used:
                continue
            if name not in self.sources:
                self.sources[name] = Source(name, [place])
                self._used.add(place)
            elif not (columns and name in columns.items):
                self.twins.append((self.sources[name].places[0], place))

    @property
    def needed(self) -> int:
        """The least number of cells in a row: up to the last title, or up to the last column that
        is read."""
        titled = (i for i, text in enumerate(self.header) if text.strip())
        return 1 + max((*self._used, *titled), default=-1)

    def _header(self, head: Rows) -> list[str]:
        """Return the row of titles. If there is none, return as many empty titles as most rows have
        cells."""
        if self.line:
            return head[self.line - 1] if self.line <= len(head) else []
        widths = Counter(map(len, head)).most_common(1)
        return [""] * (widths[0][0] if widths else 0)

    def _follow(self, columns: Map, ragged: bool, era_codes: str) -> None:
        places = columns.places(self.header, MOST_COLUMNS if ragged else len(self.header))
        width = (
            max(places.values(), default=0) + 1
        )  # the last columns of a workbook may be empty in the first rows
        self.header = self.header + [""] * (width - len(self.header))
        for name, item in columns.items.items():
            era = columns.eras.get(name)
            self.sources[name] = Source(
                name,
                [places[text] for _, text in item.columns],
                item.codes,
                (places[era.columns[0][1]], era.codes | _eras(era_codes)) if era else None,
                item.always,
            )
            self._used |= {
                places[text] for _, text in (*item.columns, *(era.columns if era else ()))
            }
        self._used |= {places[text] for text in columns.unread}
        self._skips = [(places[t] if t else None, codes) for t, codes in columns.skips]

    @property
    def strange(self) -> list[int]:
        """The places of the columns that have a title but are not read."""
        twins = {place for _, place in self.twins}
        return [
            i
            for i, text in enumerate(self.header)
            if text.strip() and i not in self._used and i not in twins
        ]

    def column(self, place: int) -> str:
        """Return the title of a column of the file, or its letter in Excel."""
        return self.header[place].strip() or f"{letter(place)}列"

    def title(self, name: str) -> str:
        """Return the title in the file for a column of the roster. There may be several."""
        source = self.sources.get(name)
        if source is None or not source.places:
            return TITLES[name].japanese
        return "、".join(map(self.column, source.places))

    def is_skipped(self, row: list[str]) -> bool:
        """Return whether the map says to skip this row."""
        for place, codes in self._skips:
            if place is None:
                text = next(filter(str.strip, row), "")
            else:
                text = row[place] if place < len(row) else ""
            if codes.known[text] == SKIP:
                return True
        return False

    @property
    def skips(self) -> bool:
        return bool(self._skips)

    def texts(self, columns: list[Texts], count: int) -> tuple[dict[str, Texts], dict[str, Texts]]:
        """Return the texts of `count` rows for each column of the roster, twice: as they are in the
        file, and as they are read."""
        found = {name: source.texts(columns, count) for name, source in self.sources.items()}
        return (
            {name: seen for name, (seen, _) in found.items()},
            {name: read for name, (_, read) in found.items()},
        )


def _eras(era_codes: str) -> dict[str, str]:
    """Return the digits that stand for eras, and these eras."""
    return {code: era[0] for code, era in zip(ERA_CODES[era_codes], ERAS, strict=True)}
