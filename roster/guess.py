"""Guess a first map of a file's columns from its titles and contents. The clerk corrects it in
Excel."""

from __future__ import annotations

import csv
import datetime as dt
import re
from collections import deque
from collections.abc import Collection, Iterator
from pathlib import Path

from roster.cells import Column, Wrong, fold_width
from roster.columns import DATES, TITLES, rules
from roster.files import opened
from roster.findings import created, plain_cell, shown
from roster.header import folded_title, letter, name_of
from roster.layout import refuse_my_number
from roster.mapping import HEADER_ROW, MAP_TITLES, OF_ERA, SKIP, SKIPPED_ROW, Codes, place_of
from roster.reading import Rows, Source, Unreadable

SAMPLE, MOST_VALUES, TITLE_ROWS = 300, 60, 20
CHOICES = ("sex", "relation", "issue_reason", "delivery", "copay", "withheld")
ERA = "era"
WORDS = (
    (r"元号|年号", ERA),
    (r"続柄|本人.*家族|本家|被保.*区分", "relation"),
    (r"(^|[カ仮])(セイ|メイ)$|カナ|かな|ふりがな|ヨミ|よみ", "kana"),
    (r"(^|漢字)[姓氏名]$|[姓氏名]漢字$|氏名|名前|^姓|^名$", "name"),
    (r"生年月日|誕生日|birth", "birth_date"),
    (r"性別|sex|gender", "sex"),
    (r"(?<!被)保険者.*番号", "insurer_number"),
    (r"枝番", "branch"),
    (r"^(?!事業所).*記号", "symbol"),
    (r"(証|被保険者|健保|資格).*番号", "number"),
    (r"喪失(.*(日|年月))?$", "lost_on"),
    (r"(取得|認定|加入).*(日|年月)", "qualified_on"),
    (r"事業所名|会社名|勤務先", "workplace"),
    (r"[交発][付行].*[事理]由", "issue_reason"),
    (r"[交発][付行].*(方法|媒体|区分)", "delivery"),
    (r"[交発][付行].*日", "issued_on"),
    (r"有効.*(期限|終了)", "expires_on"),
    (r"負担.*割合", "copay"),
    (r"発効", "effective_on"),
    (r"備考|摘要", "remarks"),
    (r"不開示", "withheld"),
)
"""Words in a title, and the column that they suggest. The first match counts."""
OTHERS = re.compile("開始|更新|作成|届|受付|登録|処理|住所|カード")
"""Words in titles that suggest no column."""
_TRAILER = re.compile(
    r"([小合総]?計|総?件数|以上|終わ?り?|END|EOF|TRAILER|TR?|E|HD?|9{2,})(\W.*|件.*)?"
)
_ERA_TEXT = re.compile("明治?|大正?|昭和?|平成?|令和?|[MTSHR]|[1-9]")
_HEAD, _KIN = "世帯主|被保.*", "[夫妻子父母男女孫兄弟姉妹長次二三四五六七義養祖実の]+"
KINDS = {
    "delivery": "WEB|電子|電磁|紙|書面",
    "copay": "[123]割",
    "sex": "男|女|男性|女性|M|F",
    "relation": f"本人|家族|被扶養者|{_HEAD}|{_KIN}",
    "kana": r"[ァ-ヶー・ ]+",
    "workplace": ".*(会社|商事|商店|工業|工場|支社|法人|組合|本社|営業所).*",
    "name": r"[^\W\d_a-zA-Z]\D{1,30}",
}
"""Columns that can be recognized by their values, and a test that nearly all values pass. The first
match counts."""

MapRow = tuple[str, str, str, str, str]


class Guess:
    """A first map. Raise Unreadable if the file cannot be read or has a column of マイナンバー."""

    def __init__(
        self, path: Path, insurers: Collection[str], today: dt.date, sheet: str | None = None
    ) -> None:
        self._insurers, self._today = insurers, today.isoformat()
        self._rules: dict[str, Column] = rules(insurers, "pension")
        source = opened(path, sheet)
        source.choose(lambda rows: (_best(rows)[1], max(map(len, rows), default=0)))
        head = source.head()
        self.line = _best(head)[0]
        """The number of the row of titles, counted from 1, or 0 if there is none."""
        refuse_my_number(head[: self.line or TITLE_ROWS], head[self.line :])
        self._look_through(source, len(head[self.line - 1]) if self.line else 0)
        if not self._sample:
            raise Unreadable(
                "データの行がありません。加入者の行を入れて、もう一度保存してください。"
            )
        self._header = head[self.line - 1] if self.line else [""] * self._width
        self.found: dict[int, str] = {}
        self._by_title()
        self._sure = set(self.found)
        self._by_content()

    def _look_through(self, source: Source, width: int) -> None:
        """Read the whole file and keep its first rows, its last three, and the values of each
        column. `width` is the number of titles, or 0."""
        sample: Rows = []
        last: deque[list[str]] = deque(maxlen=3)
        values: dict[int, set[str]] = {}
        for _, rows in source.batches(self.line):
            rows = [row for row in rows if any(map(str.strip, row))]
            sample += rows[: max(SAMPLE - len(sample), 0)]
            last.extend(rows[-3:])
            for place, texts in enumerate(zip(*_even(rows), strict=True)):
                if len(found := values.setdefault(place, set())) < MOST_VALUES:
                    found.update(map(str.strip, texts))
        self._width = width or max(map(len, sample), default=0)
        self._trailers = _trailers([*sample[:2], *last], self._width)
        skipped = Codes((text, SKIP) for text in self._trailers)
        kept = [row for row in sample if skipped.known[_first(row)] != SKIP]
        self._sample = list(zip(*_even(kept, self._width), strict=True))
        self._values = values

    def _texts(self, place: int) -> list[str]:
        return (
            [fold_width(t) for t in self._sample[place] if t.strip()] if place < self._width else []
        )

    def _by_title(self) -> None:
        """Find the columns that the titles name or suggest, and then those whose values match
        best."""
        meant = [_meaning(text) if self.line else None for text in self._header[: self._width]]
        named = [(i, *meaning) for i, meaning in enumerate(meant) if meaning]
        sure = {name for _, name, sure in named if sure}
        for place, name, exactly in sorted(named, key=lambda m: (not m[2], -self._fit(m[0], m[1]))):
            if (
                name == ERA
                or (name not in self._taken and (exactly or name not in sure))
                or (name in ("name", "kana") and name not in sure and self._is_part(place))
            ):
                self.found[place] = name

    def _is_part(self, place: int) -> bool:
        """Return whether a title is that of the family name alone or of the given name alone."""
        return bool(re.search("(?<!氏)[姓名]$|[氏セイメイ]$", folded_title(self._header[place])))

    def _fit(self, place: int, name: str) -> float:
        """Return the share of the values that can be read as values of this column of the
        roster."""
        values = {fold_width(text) for text in self._values.get(place, ()) if text}
        if name == ERA or not values:
            return 0
        fitting = [
            v for v in values if self._accepts(name, v) or re.fullmatch(KINDS.get(name, "x"), v)
        ]
        return len(fitting) / len(values)

    def _accepts(self, name: str, text: str) -> bool:
        try:
            self._rules[name].parse(text)
        except Wrong:
            return False
        return True

    @property
    def _taken(self) -> set[str]:
        return set(self.found.values())

    def _by_content(self) -> None:
        """Find the remaining columns by their values: first those that are recognized alone, then
        the keys, which come before the name, then small numbers, and then days."""
        unknown = [i for i in range(self._width) if i not in self.found and self._texts(i)]
        free = [i for i in unknown if not self.line or not self._header[i].strip()]
        for place in unknown:
            name = self._kind(place)
            if name and name not in self._taken and (place in free or name in self.missing):
                self.found[place] = name
        ends = [i for i, name in self.found.items() if name in ("name", "kana")]
        self._find_keys([i for i in free if i < min(ends, default=0) and i not in self.found])
        self._find_numbers([i for i in free if i not in self.found])
        self._find_days([i for i in free if i not in self.found and self._is_day(i)])

    def _take(self, place: int, *names: str) -> None:
        """Give the column the first of these names that is not taken."""
        for name in names:
            if name not in self._taken:
                self.found[place] = name
                return

    def _kind(self, place: int) -> str | None:
        """Return the column that is recognized by its values alone."""
        texts = self._texts(place)
        if all(len(text) >= 7 and self._accepts("insurer_number", text) for text in set(texts)):
            return "insurer_number"
        if self._is_era(place):
            return ERA
        return next((name for name, form in KINDS.items() if _most(form, texts)), None)

    def _find_keys(self, places: list[int]) -> None:
        """Find 記号, 番号 and 枝番 among the columns before the name."""
        branch = [
            i
            for i in places
            if _most(r"0\d|\d", t := self._texts(i)) and ("0" in t or _most(r"0\d", t))
        ]
        for place in branch[:1]:
            self._take(place, "branch")
        before = [
            i
            for i in places
            if i < min(branch, default=i + 1) and not _most("[1-3]", self._texts(i))
        ]
        keys = [i for i in before if _most(r"[\w-]*\d[\w-]*", self._texts(i))][-2:]
        for place, name in zip(keys, ("symbol", "number")[-len(keys) :], strict=False):
            self._take(place, name)

    def _find_numbers(self, places: list[int]) -> None:
        """Distinguish 性別, 本人家族区分 and 交付事由. If two columns could both be 本人家族区分, take the one that
        follows the keys, or else the second."""
        for place in places:
            if self.found.get(place + 1) == "delivery" and _most("[1-8]", self._texts(place)):
                self._take(place, "issue_reason")
        small = [i for i in places if i not in self.found and set(self._texts(i)) <= set("123")]
        keys = {name: i for i, name in self.found.items() if name in ("branch", "number")}
        if "branch" in keys:
            heads = [not text.strip().strip("0") for text in self._sample[keys["branch"]]]
            fits = [i for i in small if heads == [t.strip() == "1" for t in self._sample[i]]]
            after = max(keys.values()) + 1
            for place in [i for i in fits if i == after] or fits[-1:]:
                self._take(place, "relation")
        for place in small:
            if place not in self.found:
                self._take(place, "sex", "relation")

    def _find_days(self, places: list[int]) -> None:
        if places and "birth_date" not in self._taken:
            self._take(min(places, key=self._middle), "birth_date")
        for place in places:
            if place in self.found:
                continue
            following = place + 1 if place + 1 in places else place
            if self._middle(place) > self._today:
                self._take(place, "expires_on", "lost_on")
            elif self._middle(following) > self._today and self._gaps(following) == self._gaps(
                place
            ):
                self._take(place, "issued_on")
            elif any(self._gaps(place)):
                self._take(place, "lost_on", "effective_on")
            else:
                self._take(place, "qualified_on", "issued_on")

    def _gaps(self, place: int) -> list[bool]:
        """Return for each row whether its cell in this column is a filler or is not a day."""
        if self.found.get(place - 1) == ERA:
            return [not text.strip().strip("0") for text in self._sample[place]]
        return [not self._rules["lost_on"].parse(text) for text in self._sample[place]]

    def _is_era(self, place: int) -> bool:
        """Return whether the column contains eras and the next one contains days of six digits
        without an era."""
        following = self._texts(place + 1)
        return (
            all(map(_ERA_TEXT.fullmatch, self._texts(place)))
            and bool(following)
            and _most(r"\d{5,6}|\d{1,2}[./-]\d.*", following)
        )

    def _is_day(self, place: int) -> bool:
        """Return whether the column contains days. A column in which all cells are 0 does not
        count, unless the column before has the era."""
        texts = self._texts(place)
        days = all(self._accepts("lost_on", text) for text in texts) and set(texts) != {"0"}
        return days or self.found.get(place - 1) == ERA

    def _middle(self, place: int) -> str:
        """Return the median of the column's days, an early day if the column before has their era,
        or today if all cells are fillers."""
        if self.found.get(place - 1) == ERA:
            return "1950"
        days = sorted(filter(None, map(self._rules["lost_on"].parse, self._texts(place))))
        return days[len(days) // 2] if days else self._today

    def write(self, path: Path) -> None:
        """Write the map into a new file for Excel. Raise OSError if the file exists or cannot be
        created."""
        with created(path) as file:
            writer = csv.writer(file)
            writer.writerow(MAP_TITLES)
            writer.writerows(map(plain_cell, row) for row in self._rows())

    def _rows(self) -> Iterator[MapRow]:
        yield HEADER_ROW, str(self.line) if self.line else "なし", "", "", "見出しが何行目か"
        for text in self._trailers:
            yield SKIPPED_ROW, "", text, "", "最初のセルがこの文字の行は、加入者として読みません"
        for place in range(self._width):
            name = self.found.get(place, "")
            memo = self._memo(place)
            yield self._item(place), self._column(place), "", "", memo
            if name in CHOICES:
                yield from self._codes(place, name)
        if "insurer_number" in self.missing and len(self._insurers) == 1:
            yield "保険者番号", "", "", next(iter(self._insurers)), "どの行も同じ番号として読みます"

    def _codes(self, place: int, name: str) -> Iterator[MapRow]:
        """Yield a row of the map for each value that this column of the roster does not accept."""
        for value in sorted(self._values.get(place, ())):
            if not value or self._accepts(name, value):
                continue
            meant = "？"
            if name == "relation" and not re.search(r"\d", fold_width(value)):
                meant = "本人" if re.fullmatch(_HEAD, value) else "家族"
            memo = "読み替えを入れてください" if meant == "？" else "確かめてください"
            yield TITLES[name].japanese, self._column(place), value, meant, memo

    def _item(self, place: int) -> str:
        name = self.found.get(place, "")
        if name != ERA:
            return TITLES[name].japanese if name else ""
        title = folded_title(self._header[place]) if place < len(self._header) else ""
        named = _meaning(re.sub("元号|年号", "", title))
        base = named[0] if named and named[0] in DATES else self.found.get(place + 1, "")
        return f"{TITLES[base].japanese}{OF_ERA}" if base in DATES else ""

    def _memo(self, place: int) -> str:
        examples = "、".join(dict.fromkeys(shown(t) for t in self._sample[place] if t.strip()))[:60]
        how = "" if place in self._sure or place not in self.found else "内容からの推測です。"
        title = self._header[place] if self.line else ""
        if place not in self.found and (meaning := _meaning(title)):
            how = f"{TITLES[meaning[0]].japanese}はほかの列から読みます。"
        return f"{how}例: {examples}" if examples else how

    def _column(self, place: int) -> str:
        title = self._header[place].strip() if place < len(self._header) else ""
        try:
            if title and place_of(title, self._header, len(self._header)) == place:
                return title
        except ValueError:
            pass  # another column has the same title
        return f"{letter(place)}列"

    @property
    def missing(self) -> list[str]:
        """The required columns that were not found."""
        return [n for n, t in TITLES.items() if t.required and n not in self._taken]


def _meaning(title: str) -> tuple[str, bool] | None:
    """Return the column that a title names or suggests, and whether it names it."""
    folded = folded_title(title)
    if name := name_of(title):
        return name, True
    if OTHERS.search(folded):
        return None
    return next(((name, False) for words, name in WORDS if re.search(words, folded)), None)


def _best(head: Rows) -> tuple[int, int]:
    """Return the number of the row that looks most like titles, counted from 1, and the number of
    its titles. Return 0 if no row has two titles."""
    counts = [sum(_meaning(text) is not None for text in row) for row in head[:TITLE_ROWS]]
    most = max(counts, default=0)
    return (counts.index(most) + 1, most) if most >= 2 else (0, 0)


def _most(form: str, texts: list[str]) -> bool:
    """Return whether at least nine in ten of the texts match this pattern."""
    return sum(bool(re.fullmatch(form, text)) for text in texts) * 10 >= len(texts) * 9


def _even(rows: Rows, width: int | None = None) -> Rows:
    """Return the rows padded or cut to the same width."""
    width = max(map(len, rows), default=0) if width is None else width
    return [row[:width] + [""] * (width - len(row)) for row in rows]


def _first(row: list[str]) -> str:
    return next((text.strip() for text in row if text.strip()), "")


def _trailers(rows: Rows, width: int) -> list[str]:
    """Return the beginnings of rows that are not people: rows with few cells and a word such as 合計.
    A `*` stands for the rest of the text after that word."""
    found: dict[str, None] = {}
    for row in rows:
        first, few = _first(row), sum(map(bool, map(str.strip, row))) * 2 <= width
        if few and (word := _TRAILER.fullmatch(fold_width(first).upper())):
            found[f"{word[1]}*" if word[2] else first] = None
    return list(found)
