"""The insurer's day, birthdays, and dates as Japanese offices write them: by western years or by
era, and in any width."""

from __future__ import annotations

import contextlib
import datetime as dt
import re
import unicodedata

JST = dt.timezone(dt.timedelta(hours=9), "JST")  # no daylight saving time since 1951
WEEKDAYS = "月火水木金土日"

ERAS = (
    ("明治", "M", dt.date(1868, 1, 25), dt.date(1912, 7, 30)),
    ("大正", "T", dt.date(1912, 7, 30), dt.date(1926, 12, 25)),
    ("昭和", "S", dt.date(1926, 12, 25), dt.date(1989, 1, 7)),
    ("平成", "H", dt.date(1989, 1, 8), dt.date(2019, 4, 30)),
    ("令和", "R", dt.date(2019, 5, 1), dt.date.max),
)
"""Name, letter, first and last day. The days on which 大正 and 昭和 began belong to the era before as
well."""

ERA_CODES = {"pension": "13579", "receipt": "12345"}
"""The digit that stands for each era, in the order of ERAS: the pension office's, and the medical
claims'."""

FIRST_YEAR, LAST_YEAR = 1868, 2199
EXPECTED = (
    "1980-01-01、1980/1/1、19800101、S55.1.1、昭和55年1月1日 のいずれかの形で入力してください"
)

_ALIKE = str.maketrans("-‐‑–—−ー／．。", "-------/..")
_WESTERN = re.compile(r"(\d{4})([-/.年])(\d{1,2})([-/.月])(\d{1,2})日?")
_ERA_NAME = "(明治?|大正?|昭和?|平成?|令和?|[MTSHR])"
_ERA = re.compile(rf"{_ERA_NAME}(元|\d{{1,2}})([-/.年])(\d{{1,2}})([-/.月])(\d{{1,2}})日?")
_ERA_DIGITS = re.compile(rf"{_ERA_NAME}(\d\d)(\d\d)(\d\d)")
_WEEKDAY = re.compile(rf"\([{WEEKDAYS}](曜日?)?\)$")
_MIDNIGHT = re.compile(r"[T ]0?0:00(:00(\.0+)?)?$")


def today(now: float) -> dt.date:
    """Return the insurer's day, i.e. the date in Tokyo, at the moment `now` (seconds since 1970)."""
    return dt.datetime.fromtimestamp(now, JST).date()


def birthday(born: dt.date, age: int) -> dt.date:
    """Return the day on which a person reaches `age` in years.

    If the person was born on 29 February, this is 1 March in a common year (民法143条).
    """
    try:
        return born.replace(year=born.year + age)
    except ValueError:
        return dt.date(born.year + age, 3, 1)


class BadDate(ValueError):
    """A text cannot be read as a date. The message is for the clerk, in Japanese."""


def parse_date(text: str, era_codes: str = "pension") -> dt.date:
    """Return the date that `text` names, from 1868 to 2199. Width, case and spaces do not matter.

    These forms are read: 19800101, 1980-01-01, 1980/1/1, 1980年1月1日, S55.1.1, 昭55.1.1, S550101,
    昭和55年1月1日, 令和元年5月1日, and 5550101, whose first digit is the era's in the list of ERA_CODES
    that `era_codes` names.
    Raise BadDate if the text is no date, or if the day is outside the era that it names.
    """
    if len(text) in (8, 10) and text.isascii() and text.replace("-", "").isdigit():
        # the two plain forms at once; whatever else it is, see below
        with contextlib.suppress(ValueError):
            found = dt.date.fromisoformat(text)
            if FIRST_YEAR <= found.year <= LAST_YEAR:
                return found
    if len(text) > 40:
        raise BadDate(f"日付として読めません。{EXPECTED}")
    folded = unicodedata.normalize("NFKC", text).strip().upper()
    plain = _MIDNIGHT.sub("", _WEEKDAY.sub("", folded)).translate(_ALIKE).replace(" ", "")
    if not plain.isascii() or not plain.isdigit():
        return _written(plain)
    if len(plain) == 8:
        return _day(int(plain[:4]), int(plain[4:6]), int(plain[6:]))
    if len(plain) == 7:
        era = ERA_CODES[era_codes].find(plain[0])
        if era < 0:
            raise BadDate(
                f"先頭の元号コード {plain[0]} は使えません（{describe_codes(era_codes)}）。{EXPECTED}"
            )
        return _in_era(era, int(plain[1:3]), int(plain[3:5]), int(plain[5:]))
    if len(plain) == 5:
        raise BadDate(
            f"Excelの内部の数値になっています。セルの表示形式を日付にして保存し直すか、{EXPECTED}"
        )
    raise BadDate(f"日付の桁数が足りないか、多すぎます。{EXPECTED}")


def describe_codes(era_codes: str) -> str:
    """Return the meaning of the era digits as text: 1=明治 3=大正 …"""
    return " ".join(
        f"{code}={era[0]}" for code, era in zip(ERA_CODES[era_codes], ERAS, strict=True)
    )


def in_words(day: dt.date) -> str:
    """Return the day by its era, e.g. 昭和55年1月1日."""
    name, _, first, _ = next(era for era in reversed(ERAS) if era[2] <= day)
    year = day.year - first.year + 1
    return f"{name}{'元' if year == 1 else year}年{day.month}月{day.day}日"


ROMAN = {"明治": "MEIJI", "大正": "TAISHO", "昭和": "SHOWA", "平成": "HEISEI", "令和": "REIWA"}


def era_years(day: dt.date) -> list[tuple[str, str]]:
    """Return the ways to write the day's era and year, as pairs: 昭和, S, SHOWA or nothing, each with
    54.

    Years below ten also come with a zero (09), and the first year of an era also as 元.
    """
    found = []
    for name, letter, first, last in ERAS:
        if first <= day <= last:
            year = day.year - first.year + 1
            forms = {str(year), f"{year:02}"} | ({"元"} if year == 1 else set())
            found += [
                (prefix, form)
                for prefix in (name, letter, ROMAN[name], "")
                for form in sorted(forms)
            ]
    return found


def _written(plain: str) -> dt.date:
    if (found := _WESTERN.fullmatch(plain)) and _consistent(found[2], found[4], plain):
        return _day(int(found[1]), int(found[3]), int(found[5]))
    if (found := _ERA.fullmatch(plain)) and _consistent(found[3], found[5], plain):
        year = 1 if found[2] == "元" else int(found[2])
        return _in_era(_era(found[1]), year, int(found[4]), int(found[6]))
    if found := _ERA_DIGITS.fullmatch(plain):
        return _in_era(_era(found[1]), int(found[2]), int(found[3]), int(found[4]))
    raise BadDate(f"日付として読めません。{EXPECTED}")


def _era(text: str) -> int:
    """Return the place in ERAS of the era that a name, its first character or a letter names."""
    return next(i for i, (name, letter, _, _) in enumerate(ERAS) if text in (name, name[0], letter))


def _consistent(first: str, second: str, plain: str) -> bool:
    """Return whether the separators belong together: 年 needs 月 and 日, and any other must be used
    twice."""
    return (
        second == "月" and plain.endswith("日")
        if first == "年"
        else first == second and not plain.endswith("日")
    )


def _in_era(era: int, year: int, month: int, day: int) -> dt.date:
    name, _, first, last = ERAS[era]
    found = _day(first.year + year - 1, month, day) if year else None
    if found is None or not first <= found <= last:
        until = "" if last == dt.date.max else f"{last:%Y-%m-%d}"
        raise BadDate(
            f"{name}{year}年{month}月{day}日はありません（{name}は {first:%Y-%m-%d}〜{until}）。正しい日付を入力してください"
        )
    return found


def _day(year: int, month: int, day: int) -> dt.date:
    if not FIRST_YEAR <= year <= LAST_YEAR:
        raise BadDate(
            f"{year}年は範囲の外です（{FIRST_YEAR}〜{LAST_YEAR}年）。正しい日付を入力してください"
        )
    try:
        return dt.date(year, month, day)
    except ValueError:
        raise BadDate(
            f"{year}年{month}月{day}日という日はありません。正しい日付を入力してください"
        ) from None
