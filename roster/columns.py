"""The rules of the roster's columns, which turn the text of a cell into the value that is stored.

Sources: the table of the roster in the insurer's agreement, the notice on WEB交付, and for the check
digit the rules for claims (記載要領) on 保険者番号.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from dates import BadDate, parse_date
from roster.cells import RARE, RARE_NAME, Column, Key, Text, Wrong, fold_width


class Title(NamedTuple):
    japanese: str
    required: bool = False


TITLES = {
    "person_id": Title("加入者ID"),
    "insurer_number": Title("保険者番号", required=True),
    "symbol": Title("記号"),
    "number": Title("番号", required=True),
    "branch": Title("枝番"),
    "name": Title("氏名", required=True),
    "kana": Title("氏名カナ"),
    "birth_date": Title("生年月日", required=True),
    "sex": Title("性別", required=True),
    "relation": Title("本人家族区分", required=True),
    "qualified_on": Title("資格取得年月日", required=True),
    "lost_on": Title("資格喪失年月日"),
    "workplace": Title("事業所名称"),
    "issue_reason": Title("交付事由"),
    "delivery": Title("交付方法"),
    "issued_on": Title("交付年月日"),
    "expires_on": Title("有効期限"),
    "copay": Title("一部負担金の割合"),
    "effective_on": Title("発効期日"),
    "remarks": Title("備考"),
    "withheld": Title("不開示"),
    "address": Title("住所"),
}
FIELDS = (
    "person_id",
    "household",
    "insurer_number",
    "symbol",
    "number",
    "branch",
    "name",
    "kana",
    "birth_date",
    "sex",
    "relation",
    "qualified_on",
    "lost_on",
    "workplace",
    "delivery",
    "issued_on",
    "expires_on",
    "copay",
    "effective_on",
    "remarks",
    "withheld",
)
"""The fields of a checked row after its line number, named as in the table. `withheld` is 1, 0, or
None to keep what is stored."""
STAGED = (*FIELDS, "address")
"""FIELDS, and the address, which is printed in the letters and never stored."""
DATES = ("birth_date", "qualified_on", "lost_on", "issued_on", "expires_on", "effective_on")

SEX = {
    "1": 1,
    "男": 1,
    "男性": 1,
    "M": 1,
    "2": 2,
    "女": 2,
    "女性": 2,
    "F": 2,
    "3": 3,
    "裏面参照": 3,
}
RELATION = {"1": 1, "本人": 1, "被保険者": 1, "2": 2, "家族": 2, "被扶養者": 2}
DELIVERY = {
    "": None,
    **dict.fromkeys(
        ("WEB", "ウェブ", "WEB交付", "電子", "電子交付", "電磁", "電磁的", "電磁的方法"), "web"
    ),
    **dict.fromkeys(("紙", "紙交付", "書面", "書面交付"), "paper"),
}
COPAY = (
    {"": None}
    | {f"{n}{form}": n * 10 for n in (1, 2, 3) for form in ("割", "0")}
    | {f"0{n}0": n * 10 for n in (1, 2, 3)}
)
WITHHELD = {"": None, "0": 0, "1": 1}


def check_digit_fits(number: str) -> bool:
    """Return whether the last of the eight digits of a 保険者番号 is the right check digit.

    The weights of the first seven digits are 2, 1, 2 and so on from the right. Add the digits of
    each product, and subtract the last digit of the sum from ten.
    """
    products = (
        int(digit) * weight
        for digit, weight in zip(number[6::-1], (2, 1, 2, 1, 2, 1, 2), strict=True)
    )
    return (10 - sum(p // 10 + p % 10 for p in products)) % 10 == int(number[7])


def choice(table: dict[str, Any], expected: str) -> Callable[[str], Any]:
    """Return a rule that accepts the keys of the table, in any width and case."""

    def parse(text: str) -> Any:
        try:
            return table[fold_width(text).upper()]
        except KeyError:
            raise Wrong(f"使えない値です。{expected} のいずれかにしてください") from None

    return parse


class Reason(Column):
    """1 to 8, also written as (1) or 01, or followed by the words of the reason: ②利用登録なし,
    2：利用登録なし."""

    _circled = re.compile(r"([①-⑧])\s*[^\d\s].*", re.DOTALL)
    _plain = re.compile(r"\(?0?([1-8])\)?(([:.、)]\s*|\s+)[^\d\s].*)?", re.DOTALL)

    def __init__(self) -> None:
        super().__init__(self._reason)

    def _reason(self, text: str) -> int:
        folded = fold_width(text)
        found = self._circled.fullmatch(text) or self._plain.fullmatch(folded)
        if found is None:
            raise Wrong("使えない値です。1〜8、または空 のいずれかにしてください")
        if len(folded) > 1:
            self.repaired.add(text)
        return int(fold_width(found[1]))


class Day(Column):
    """A date in any form, stored as 1980-01-01. A zero that Excel dropped after the era (昭和70703)
    is restored."""

    _short = re.compile(r"([^\d\s]{1,2})(\d{5})")

    def __init__(self, era_codes: str, required: bool = False) -> None:
        super().__init__(self._day, empty="", required=required)
        self._era_codes = era_codes

    def _day(self, text: str) -> str:
        if found := self._short.fullmatch(fold_width(text)):
            self.repaired.add(text)
            text = f"{found[1]}0{found[2]}"
        try:
            return parse_date(text, self._era_codes).isoformat()
        except BadDate as wrong:
            raise Wrong(str(wrong)) from None


class LossDay(Day):
    """The day of loss, or a filler that other systems write if there is none, such as 0, 00000000,
    99999999, 9999/12/31 and 平成99年12月31日. Fillers count as repaired."""

    _never = re.compile(
        r"0|0{7,8}|[1-9]?9{6,7}|(0000|9999)[-/.年](00|12|99)[-/.月](00|31|99)日?([T ]0?0:00(:00(\.0+)?)?)?"
        r"|(明治?|大正?|昭和?|平成?|令和?|[MTSHR])99[-/.年]?(00|12|99)[-/.月]?(00|31|99)日?",
        re.IGNORECASE,
    )

    def _day(self, text: str) -> str:
        if self._never.fullmatch(fold_width(text)):
            self.repaired.add(text)
            return ""
        try:
            return super()._day(text)
        except Wrong as wrong:
            raise Wrong(f"{wrong}。喪失していない人は空にしてください") from None


class InsurerNumber(Column):
    """Eight digits with a check digit: the number of one of the insurers that are served here.
    Zeros that Excel dropped are restored."""

    def __init__(self, insurers: Collection[str]) -> None:
        super().__init__(self._number, required=True)
        self._insurers = insurers

    def _number(self, text: str) -> str:
        digits = fold_width(text)
        if not (digits.isascii() and digits.isdigit() and len(digits) <= 8):
            raise Wrong("保険者番号ではありません。8桁の数字にしてください")
        number = digits.zfill(8)
        if not check_digit_fits(number):
            raise Wrong("検証番号（最後の1桁）が合いません。8桁の保険者番号を確かめてください")
        if number not in self._insurers:
            raise Wrong(
                f"このシステムの保険者ではありません。{'、'.join(sorted(self._insurers))} のいずれかにしてください"
            )
        if len(digits) < 8:
            self.repaired.add(text)
        return number


class Branch(Column):
    """Two digits, or nothing. A zero that Excel dropped is restored."""

    def __init__(self) -> None:
        super().__init__(self._branch, empty="")

    def _branch(self, text: str) -> str:
        digits = fold_width(text)
        if not (digits.isascii() and digits.isdigit() and len(digits) <= 2):
            raise Wrong("枝番ではありません。2桁の数字にするか、枝番がなければ空にしてください")
        if len(digits) == 1:
            self.repaired.add(text)
        return digits.zfill(2)


def rules(insurers: Collection[str], era_codes: str) -> dict[str, Column]:
    """Return the rule of each column, for a server of these insurer numbers."""
    rules: dict[str, Column] = {
        "person_id": Key(50),
        "insurer_number": InsurerNumber(insurers),
        "symbol": Key(20),
        "number": Key(20, required=True),
        "branch": Branch(),
        "name": Text(100, required=True, odd=RARE_NAME),
        "kana": Text(100, kana=True, odd=RARE),
        "sex": Column(choice(SEX, "1（男）、2（女）、3（裏面参照）"), required=True),
        "relation": Column(choice(RELATION, "1（本人）、2（家族）"), required=True),
        "workplace": Text(100, odd=RARE),
        "issue_reason": Reason(),
        "delivery": Column(choice(DELIVERY, "WEB、紙")),
        "copay": Column(choice(COPAY, "1割、2割、3割、または空")),
        "remarks": Text(500, odd=RARE, lines=True),
        "withheld": Column(choice(WITHHELD, "1、0、または空")),
        "address": Text(100, odd=RARE),
    }
    rules |= {name: Day(era_codes, required=TITLES[name].required) for name in DATES}
    return rules | {"lost_on": LossDay(era_codes)}
