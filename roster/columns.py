"""What each column of the roster may hold: one cell's text in, the value as it is stored out.

A rule raises Wrong with what is wrong and what is expected, for the clerk, in Japanese. Sources:
the roster's table in the insurer's agreement, the notice on WEB交付, and for the check digit the
claims' rules (記載要領) on 保険者番号.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Callable, Collection
from itertools import accumulate
from typing import Any, NamedTuple

from dates import BadDate, parse_date

CACHED = 100_000
"""Different texts of one column that are remembered: at most 20 MB; the days of a century in two
forms."""


class Wrong(ValueError):
    """A cell or a row that cannot be taken; the message says what is wrong and what is expected."""


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
"""What a checked row holds after its line number, by the names of the table. withheld is 1, 0 or
None: leave what is stored."""
STAGED = (*FIELDS, "address")
"""FIELDS, and what goes into the letters alone and is never stored."""
DATES = ("birth_date", "qualified_on", "lost_on", "issued_on", "expires_on", "effective_on")

SEX = {"1": 1, "男": 1, "2": 2, "女": 2, "3": 3, "裏面参照": 3}
RELATION = {"1": 1, "本人": 1, "2": 2, "家族": 2}
REASON = {"": None} | {str(n): n for n in range(1, 9)}
DELIVERY = {"": None, "WEB": "web", "紙": "paper"}
COPAY = (
    {"": None}
    | {f"{n}{form}": n * 10 for n in (1, 2, 3) for form in ("割", "0")}
    | {f"0{n}0": n * 10 for n in (1, 2, 3)}
)
WITHHELD = {"": None, "0": 0, "1": 1}

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
# Unicode's Bidi_Control: they reorder what is read
_TURNING = re.compile(r"[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
# the last are what CP932 makes of A0 and FD to FF
_UNREADABLE = re.compile(r"[\ud800-\udfff\uf8f0-\uf8f3]")
_PRIVATE = re.compile(r"[\ue000-\uf8ff\U000f0000-\U0010ffff]")
_RARE = re.compile(r"[\ue000-\uf8ff\ufe00-\ufe0f\U00010000-\U0010ffff]")
_RARE_NAME = re.compile(_RARE.pattern[:-1] + "●]")
_HALF_KANA = re.compile(r"[｡-ﾟ]+")
_EXPONENT = re.compile(r"\d(\.\d+)?E\+?\d+", re.IGNORECASE)


def fold(text: str) -> str:
    """Return the text as it is compared: full and half width are the same."""
    return unicodedata.normalize("NFKC", text).strip()


def full_kana(text: str) -> str:
    """Return the text with half-width kana made full width, and everything else as it is."""
    return _HALF_KANA.sub(lambda found: unicodedata.normalize("NFKC", found[0]), text)


def check_digit_fits(number: str) -> bool:
    """Return whether the last of the eight digits of a 保険者番号 is its check digit.

    Weights 2, 1 from the right over the first seven, the digits of each product summed, ten less
    the sum's last digit.
    """
    products = (
        int(digit) * weight
        for digit, weight in zip(number[6::-1], (2, 1, 2, 1, 2, 1, 2), strict=True)
    )
    return (10 - sum(p // 10 + p % 10 for p in products)) % 10 == int(number[7])


class Column:
    """One column's rule, remembered text by text. `parse` is the rule for one cell.

    Texts that are wrong are not remembered, so that each is met. `repaired` are the texts met so
    far that were put right.
    """

    def __init__(
        self, parse: Callable[[str], Any], empty: Any = None, required: bool = False
    ) -> None:
        self._rule, self._empty, self._required = parse, empty, required
        self.known: dict[str, Any] = _Remembering(self.parse)
        self.repaired: set[str] = set()

    def parse(self, text: str) -> Any:
        """Return the value of one cell. Raise Wrong."""
        stripped = text.strip()
        if not stripped and self._required:
            raise Wrong("空です。必ず入力してください")
        if not stripped:
            return self._empty
        if _UNREADABLE.search(stripped):
            raise Wrong(
                "文字として読めないバイトがあります。ファイルを「CSV UTF-8」で保存し直してください"
            )
        return self._rule(stripped)

    def values(self, cells: Collection[str]) -> list[Any] | None:
        """Return the values of a batch, or None if `parse` must say of some cell what is wrong."""
        try:
            return (
                list(map(self.known.__getitem__, cells))
                if any(cells) or self._required
                else [self._empty] * len(cells)
            )
        except Wrong:
            return None

    def warnings(self, values: list[Any]) -> list[tuple[int, str]]:
        """Return which values of a batch are taken but worth a warning, and why."""
        return []


class _Remembering(dict[str, Any]):
    def __init__(self, parse: Callable[[str], Any]) -> None:
        self._parse = parse

    def __missing__(self, text: str) -> Any:
        value = self._parse(text)
        if len(self) >= CACHED:
            self.clear()
        self[text] = value
        return value


class Text(Column):
    """Free text that differs from row to row: looked at a batch at a time, not cell by cell."""

    strange = (
        r"\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\uf8ff\U000f0000-\U0010ffff"
        + _TURNING.pattern[1:-1]
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
        """Whether the present batch was looked at, and holds nothing worth a closer look."""

    def _text(self, text: str) -> str:
        if self._lines:
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        if found := _CONTROL.search(text.replace("\n", "") if self._lines else text):
            what = "改行" if found[0] in "\r\n" else "制御文字"
            raise Wrong(f"{what}が入っています。取り除いてください")
        if _TURNING.search(text):
            raise Wrong("文字の並ぶ向きを変える、見えない文字が入っています。入力し直してください")
        if self._odd is None and _PRIVATE.search(text):
            raise Wrong("外字（私用領域の文字）が入っています。一般の文字に置き換えてください")
        if self._kana:
            text = full_kana(text)
        if len(text) > self._limit:
            raise Wrong(f"{len(text)}文字あります。{self._limit}文字以内にしてください")
        return text

    def values(self, cells: Collection[str]) -> list[Any] | None:
        """Return the values as Column.values does, by one search over the whole batch, unless that
        finds something to look at closely."""
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
    """A part of the natural key, or the insurer's own id: short text that Excel must not have
    changed."""

    strange = Text.strange + "+＋eEｅＥ"  # an E may be an exponent

    def _text(self, text: str) -> str:
        if _EXPONENT.fullmatch(fold(text)):
            raise Wrong(
                "Excelが数値の指数表示に変えています。列の表示形式を「文字列」にして、元の値を入力し直してください"
            )
        return super()._text(text)


def choice(table: dict[str, Any], expected: str) -> Callable[[str], Any]:
    """Return a rule that takes one of the table's keys, in any width and capitals."""

    def parse(text: str) -> Any:
        try:
            return table[fold(text).upper()]
        except KeyError:
            raise Wrong(f"使えない値です。{expected} のいずれかにしてください") from None

    return parse


def date(era_codes: str) -> Callable[[str], str]:
    """Return a rule that takes a day in any form and stores it as 1980-01-01."""

    def parse(text: str) -> str:
        try:
            return parse_date(text, era_codes).isoformat()
        except BadDate as wrong:
            raise Wrong(str(wrong)) from None

    return parse


class InsurerNumber(Column):
    """Eight digits with a check digit, one of the deployment's; zeros that Excel dropped are put
    back."""

    def __init__(self, insurers: Collection[str]) -> None:
        super().__init__(self._number, required=True)
        self._insurers = insurers

    def _number(self, text: str) -> str:
        digits = fold(text)
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
    """Two digits, or nothing; a zero that Excel dropped is put back."""

    def __init__(self) -> None:
        super().__init__(self._branch, empty="")

    def _branch(self, text: str) -> str:
        digits = fold(text)
        if not (digits.isascii() and digits.isdigit() and len(digits) <= 2):
            raise Wrong("枝番ではありません。2桁の数字にするか、枝番がなければ空にしてください")
        if len(digits) == 1:
            self.repaired.add(text)
        return digits.zfill(2)


def rules(insurers: Collection[str], era_codes: str) -> dict[str, Column]:
    """Return the rule of each column, for a deployment that serves these insurer numbers."""
    rules: dict[str, Column] = {
        "person_id": Key(50),
        "insurer_number": InsurerNumber(insurers),
        "symbol": Key(20),
        "number": Key(20, required=True),
        "branch": Branch(),
        "name": Text(100, required=True, odd=_RARE_NAME),
        "kana": Text(100, kana=True, odd=_RARE),
        "sex": Column(choice(SEX, "1（男）、2（女）、3（裏面参照）"), required=True),
        "relation": Column(choice(RELATION, "1（本人）、2（家族）"), required=True),
        "workplace": Text(100, odd=_RARE),
        "issue_reason": Column(choice(REASON, "1〜8、または空")),
        "delivery": Column(choice(DELIVERY, "WEB、紙")),
        "copay": Column(choice(COPAY, "1割、2割、3割、または空")),
        "remarks": Text(500, odd=_RARE, lines=True),
        "withheld": Column(choice(WITHHELD, "1、0、または空")),
        "address": Text(100, odd=_RARE),
    }
    rules |= {
        name: Column(date(era_codes), empty="", required=TITLES[name].required) for name in DATES
    }
    return rules
