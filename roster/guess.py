"""A first map of a file's columns, guessed from its titles and contents, to be corrected in Excel."""

from __future__ import annotations

import datetime as dt
import re
from collections import deque
from collections.abc import Collection, Iterator
from pathlib import Path

from dates import BadDate
from roster.cells import Column, Wrong, fold
from roster.columns import DATES, TITLES, rules
from roster.findings import shown
from roster.header import NAMES, folded_title, letter
from roster.layout import refuse_my_number
from roster.mapping import HEADER_ROW, OF_ERA, SKIP, SKIPPED_ROW, Codes, place_of
from roster.reading import Rows, Source, Unreadable, opened

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
    (r"保険者.*番号", "insurer_number"),
    (r"枝番", "branch"),
    (r"^(?!事業所).*記号", "symbol"),
    (r"(証|被保険者|健保|資格)番号", "number"),
    (r"喪失", "lost_on"),
    (r"取得|認定|加入.*日", "qualified_on"),
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
"""Words of a title, and the column that they hint at; the first that fits."""
_TRAILER = re.compile(
    r"([小合総]?計|総?件数|以上|終わ?り?|END|EOF|TRAILER|TR?|E|HD?|9{2,})(\W.*|件.*)?"
)
_ERA_TEXT = re.compile("明治?|大正?|昭和?|平成?|令和?|[MTSHR]|[1-9]")

MapRow = tuple[str, str, str, str, str]


class Guess:
    """A first map. Raise Unreadable if the file cannot be read, or has a column of マイナンバー."""

    def __init__(
        self, path: Path, insurers: Collection[str], today: dt.date, sheet: str | None = None
    ) -> None:
        self._insurers, self._today = insurers, today.isoformat()
        self._rules: dict[str, Column] = rules(insurers, "pension")
        source = opened(path, sheet)
        source.choose(lambda rows: (_best(rows)[1], max(map(len, rows), default=0)))
        head = source.head()
        refuse_my_number(head[:TITLE_ROWS])
        self.line = _best(head)[0]
        """The row of titles, counted from 1; 0 if none was found."""
        self._look_through(source)
        if not self._sample:
            raise Unreadable(
                "データの行がありません。加入者の行を入れて、もう一度保存してください。"
            )
        self._header = head[self.line - 1] if self.line else [""] * self._width
        self.found: dict[int, str] = {}
        self._by_title()
        self._sure = set(self.found)
        self._by_content()

    def _look_through(self, source: Source) -> None:
        """Read the whole file: its first rows, its last three, and the values of each column."""
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
        self._width = max(map(len, sample), default=0)
        self._trailers = _trailers([*sample[:2], *last], self._width)
        skipped = Codes((text, SKIP) for text in self._trailers)
        kept = [row for row in sample if skipped.known[_first(row)] != SKIP]
        self._sample = list(zip(*_even(kept, self._width), strict=True))
        self._values = values

    def _texts(self, place: int) -> list[str]:
        return [fold(t) for t in self._sample[place] if t.strip()] if place < self._width else []

    def _by_title(self) -> None:
        meant = [_meaning(text) if self.line else None for text in self._header]
        for place, (name, sure) in sorted(
            ((i, m) for i, m in enumerate(meant) if m), key=lambda pair: not pair[1][1]
        ):
            several = name in ("name", "kana") and not sure
            if name == ERA or name not in self.found.values() or several:
                self.found[place] = name
        exact = {self.found[i] for i, m in enumerate(meant) if m and m[1] and i in self.found}
        for place, name in list(self.found.items()):
            if name in exact and not (meant[place] or ("", False))[1] and name != ERA:
                del self.found[place]

    def _by_content(self) -> None:
        """Find what the titles did not tell, by the values."""
        unknown = [i for i in range(self._width) if i not in self.found and self._texts(i)]
        free = [i for i in unknown if not self.line or not self._header[i].strip()]
        for place in unknown:
            name = self._kind(place)
            if name and (place in free or name in self.missing):
                self.found[place] = name
        days = [i for i in free if i not in self.found and self._is_day(i)]
        for place, name in zip(sorted(days, key=self._middle)[:1], ["birth_date"], strict=False):
            self._take(place, name)
        for place in days:
            if place not in self.found:
                fillers = "" in map(str.strip, self._sample[place])
                ahead = self._middle(place) > self._today
                names = (
                    ("lost_on",)
                    if fillers
                    else ("expires_on",)
                    if ahead
                    else ("qualified_on", "issued_on")
                )
                self._take(place, *names)
        for place in free:
            if place not in self.found and all(
                re.fullmatch(r"[\w-]*\d[\w-]*", t) for t in self._texts(place)
            ):
                self._take(place, "symbol", "number")

    def _take(self, place: int, *names: str) -> None:
        """Give the column the first of the names that is still free."""
        for name in names:
            if name not in self.found.values():
                self.found[place] = name
                return

    def _kind(self, place: int) -> str | None:
        """Return the column that the values alone tell, unless it is found already."""
        texts, taken = self._texts(place), set(self.found.values())
        values = set(texts)
        tests = {
            "insurer_number": all(map(self._is_insurer, values)),
            ERA: self._is_era(place),
            "sex": values <= {"男", "女", "男性", "女性", "M", "F"},
            "relation": values <= {"本人", "家族", "被保険者", "被扶養者"},
            "delivery": values <= {"WEB", "電子", "電磁", "紙", "書面"},
            "branch": all(re.fullmatch(r"\d{2}", t) and t < "20" for t in values)
            and "00" in values,
            "kana": all(re.fullmatch(r"[ァ-ヶー・ ]+", t) for t in values),
            "workplace": any(re.search("会社|商事|工業|支社|法人|組合", t) for t in values),
            "name": all(re.fullmatch(r"[^\W\d_]+ [^\W\d_]+", t) for t in values),
        }
        found = next((name for name, fits in tests.items() if fits and name not in taken), None)
        if found is None and values <= {"1", "2", "3"} and "1" in values:
            heads = self._branch_heads()
            is_relation = heads is not None and heads == [
                t.strip() == "1" for t in self._sample[place]
            ]
            names = ("relation", "sex") if is_relation else ("sex",)
            found = next((name for name in names if name not in taken), None)
        return found

    def _branch_heads(self) -> list[bool] | None:
        place = next((i for i, name in self.found.items() if name == "branch"), None)
        return None if place is None else [not t.strip().strip("0") for t in self._sample[place]]

    def _is_insurer(self, text: str) -> bool:
        try:
            return len(text) >= 7 and bool(self._rules["insurer_number"].parse(text))
        except Wrong:
            return False

    def _is_era(self, place: int) -> bool:
        """Return whether the column holds eras, and the next one days of six digits without one."""
        following = self._texts(place + 1)
        return (
            all(map(_ERA_TEXT.fullmatch, self._texts(place)))
            and bool(following)
            and all(re.fullmatch(r"\d{5,6}|\d{1,2}[./-]\d.*", t) for t in following)
        )

    def _is_day(self, place: int) -> bool:
        return bool(self._days(place)) or self.found.get(place - 1) == ERA

    def _days(self, place: int) -> list[str]:
        """Return the column's days, earliest first; none if something else stands there."""
        days = []
        for text in self._texts(place):
            try:
                if parsed := self._rules["lost_on"].parse(text):
                    days.append(parsed)
            except (Wrong, BadDate):
                return []
        return sorted(days)

    def _middle(self, place: int) -> str:
        if days := self._days(place):
            return days[len(days) // 2]
        return "1950"  # days of an era in the column before

    def rows(self) -> Iterator[MapRow]:
        """Yield the map's rows below its titles, in the order of MAP_TITLES."""
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
        """Yield a row for each value that the column of the roster does not know."""
        for value in sorted(self._values.get(place, ())):
            try:
                if value:
                    self._rules[name].parse(value)
            except Wrong:
                meant = "？"
                if name == "relation" and not re.search(r"\d", fold(value)):
                    meant = "本人" if re.fullmatch("世帯主|被保.*", value) else "家族"
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
        return [n for n, t in TITLES.items() if t.required and n not in self.found.values()]


def _meaning(title: str) -> tuple[str, bool] | None:
    """Return the column that a title names or hints at, and whether it names it."""
    folded = folded_title(title)
    if folded in NAMES:
        return NAMES[folded], True
    if re.search("開始|更新|作成|住所|カード", folded):
        return None
    return next(((name, False) for words, name in WORDS if re.search(words, folded)), None)


def _best(head: Rows) -> tuple[int, int]:
    """Return the row that most looks like titles, counted from 1, and how many it has; 0 if none
    has two."""
    counts = [sum(_meaning(text) is not None for text in row) for row in head[:TITLE_ROWS]]
    most = max(counts, default=0)
    return (counts.index(most) + 1, most) if most >= 2 else (0, 0)


def _even(rows: Rows, width: int | None = None) -> Rows:
    """Return the rows filled up, or cut, to the same width."""
    width = max(map(len, rows), default=0) if width is None else width
    return [row[:width] + [""] * (width - len(row)) for row in rows]


def _first(row: list[str]) -> str:
    return next((text.strip() for text in row if text.strip()), "")


def _trailers(rows: Rows, width: int) -> list[str]:
    """Return how rows begin that hold no person: few cells, and a word such as 合計. A `*` stands for
    what follows the word in the same cell."""
    found: dict[str, None] = {}
    for row in rows:
        first, few = _first(row), sum(map(bool, map(str.strip, row))) * 2 <= width
        if few and (word := _TRAILER.fullmatch(fold(first).upper())):
            found[f"{word[1]}*" if word[2] else first] = None
    return list(found)
