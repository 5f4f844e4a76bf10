"""Find out from the row of titles which column contains what."""

from __future__ import annotations

import re
from collections.abc import Iterable

from roster.cells import fold_width, mended, mended_value
from roster.columns import TITLES

ALIASES = {
    "insurer_number": "InsurerNumber",
    "symbol": "被保険者証記号 被保険者証等記号 被保険者等記号 被保険者(証)等記号 被保険者記号 保険証記号 健保記号 証記号 InsuredCardSymbol",
    "number": "被保険者証番号 被保険者証等番号 被保険者等番号 被保険者(証)等番号 被保険者番号 保険証番号 健保番号 証番号"
    " InsuredIdentificationNumber",
    "branch": "枝番号 被保険者枝番 個人枝番 InsuredBranchNumber",
    "name": "漢字氏名 氏名漢字 加入者氏名",
    "kana": "カナ氏名 フリガナ NameKana",
    "birth_date": "Birthdate",
    "sex": "性別1 性別コード 性別区分",
    "relation": "本人・家族の別 本人家族",
    "qualified_on": "資格取得日 取得年月日 取得日 認定年月日",
    "lost_on": "資格喪失日 喪失年月日 喪失日",
    "workplace": "事業所名",
    "issued_on": "交付日 提供年月日",
    "expires_on": "有効終了年月日 有効期限年月日",
    "copay": "一部負担金割合 負担割合",
    "effective_on": "発効年月日 発効日",
    "withheld": "不開示フラグ 不開示該当フラグ 不開示(該当)フラグ 自己情報不開示 isNotDisclosed",
}
"""Other titles for the same columns, which eligibility systems, the online check, claims and
health-check records use. 続柄 is not among them, since its codes differ between systems. 有効開始年月日 is
not the 発効期日 of a 負担割合."""


_MARKS = "*※★☆◎○●■□◆◇▼▽・.:\ufeff"
_AROUND = re.compile(rf"^[{_MARKS}]+|[{_MARKS}]+$")
_IDLE = re.compile(
    r"[(\[【<](必須|任意|西暦|和暦|半角.{0,5}|全角.{0,5}|文字列|数字|\d+(桁|文字)(以内)?|y{2,4}[-/.]?m{1,2}[-/.]?d{1,2}|漢字)[)\]】>]"
)
"""Words in brackets that do not change which column a title means."""
_BRACKETS = (("(カナ)", "カナ"), ("(フリガナ)", "カナ"))


def folded_title(text: str) -> str:
    return "".join(fold_width(text).lower().split())


def name_of(text: str) -> str | None:
    """Return the column of the roster that a title means, as it is written or without decorations,
    as in ※氏名（漢字） or 生年月日（西暦）. Return None if the title is not known."""
    folded = folded_title(text)
    if folded in NAMES:
        return NAMES[folded]
    plain = _IDLE.sub("", folded_title(mended(text.strip())))
    for brackets, after in _BRACKETS:
        plain = plain.replace(brackets, after)
    plain = _AROUND.sub("", plain)
    if plain[:1] == "【" and plain[-1:] == "】":
        plain = plain[1:-1]
    return NAMES.get(plain)


NAMES = {
    folded_title(text): name
    for name, title in TITLES.items()
    for text in (name, title.japanese, *ALIASES.get(name, "").split())
}


def resembled(text: str) -> str | None:
    """Return the column with the longest title that is contained in this one, or None."""
    folded = folded_title(text)
    found = max((title for title in NAMES if title in folded), key=len, default="")
    return NAMES.get(found)


_MY_NUMBER = re.compile(
    r"(個人番号|マイナンバー|マイナ番号|mynumber|individualnumber)(番号|値|コード)?(\d*桁?)$"
)


def is_my_number(text: str) -> bool:
    """Return whether a column with this title contains マイナンバー, which may not be stored here.

    Such a title ends with one of the names of マイナンバー, apart from brackets: 被保険者個人番号, マイナンバー（個人番号）.
    A title such as マイナンバーカードの有無 does not.
    """
    title = re.sub(r"[^\w()]|_", "", folded_title(text))
    return any(
        _MY_NUMBER.search(found)
        for found in (re.sub(r"[()]", "", title), re.sub(r"\(.*?\)", "", title))
    )


def are_my_numbers(texts: Iterable[str]) -> bool:
    """Return whether nearly all cells of a column, at least two of them different, are twelve
    digits with the check digit of マイナンバー (番号法施行令8条の総務省令5条)."""
    cells = [re.sub(r"[\s-]", "", fold_width(mended_value(t.strip()))) for t in texts if t.strip()]
    found = [cell for cell in cells if re.fullmatch(r"[0-9]{12}", cell) and _check_digit_fits(cell)]
    return len(set(found)) >= 2 and len(found) * 10 >= len(cells) * 9


def _check_digit_fits(number: str) -> bool:
    weights = (*range(2, 8), *range(2, 7))  # from the right, without the check digit
    rest = sum(int(d) * w for d, w in zip(number[10::-1], weights, strict=True)) % 11
    return int(number[11]) == (11 - rest if rest > 1 else 0)


def letter(place: int) -> str:
    """Return Excel's name of the column at `place`, counted from 0: A to Z, AA and so on."""
    rest, last = divmod(place, 26)
    return (letter(rest - 1) if rest else "") + chr(ord("A") + last)
