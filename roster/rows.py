"""Turn checked cells into rows for storage, by the rules that concern several columns of a row."""

from __future__ import annotations

import datetime as dt
import unicodedata
from collections.abc import Callable, Collection
from typing import Any

from dates import birthday
from roster.cells import fold_width
from roster.certificates import Certificates, birthday_before, copay_from
from roster.columns import STAGED, TITLES
from roster.findings import Findings


class Rows:
    """Rows of a file that has the columns `places`, checked as of the day `today`."""

    def __init__(
        self, today: dt.date, places: Collection[str], title: Callable[[str], str]
    ) -> None:
        self._today, self._places, self._title = today, places, title
        self.certificates = Certificates("issue_reason" in places)
        self.odd_days: dict[str, tuple[int, int]] = {}
        """The number of certificates that have expired, and of those issued before 資格確認書 existed,
        by column, each with its first line."""

    def stored(
        self,
        lines: list[int],
        cells: dict[str, Any],
        values: dict[str, list[Any]],
        faulty: dict[int, set[str]],
        findings: Findings,
    ) -> list[list[Any]]:
        count = len(lines)

        def column(name: str) -> list[Any]:
            if name in values:
                return values[name]
            return [None if TITLES[name].required else _BLANK.get(name, "")] * count

        born, qualified, lost, expires, copay = map(
            column, ("birth_date", "qualified_on", "lost_on", "expires_on", "copay")
        )
        about = zip(*map(column, Certificates.columns), strict=True)
        certificates = list(map(self.certificates.__getitem__, about))
        today = self._today.isoformat()
        seventy = birthday_before(self._today, 70)
        suspects = [
            i
            for i, (b, q, x, e, c, p) in enumerate(zip(born, qualified, lost, expires, copay, certificates, strict=True))
            if b is None or q is None or x is None or e is None or b > today or q < b or (x and x < q)
            or p.complaints or (e and e[:4] >= f"{int(b[:4]) + 75}") or (b <= seventy or c is not None)
        ]  # fmt: skip
        for i in suspects:
            row = {name: found[i] for name, found in values.items()}
            self._judge(
                lines[i],
                {name: texts[i] for name, texts in cells.items()},
                row,
                faulty.get(i, set()),
                findings,
            )
        kinds = [c.delivery for c in certificates]
        self._count_days(lines, "expires_on", expires, today, kinds)
        self._count_days(lines, "issued_on", column("issued_on"), FIRST_ISSUED, kinds)
        self._warn_of_sex(lines, cells, column("sex"), column("remarks"), findings)
        keys = [column(n) for n in ("insurer_number", "symbol", "number")]
        stored = {
            name: column(name)
            for name in STAGED
            if name not in ("household", "delivery", "withheld")
        }
        stored["household"] = _households(*keys)
        stored["delivery"] = kinds
        stored["withheld"] = [c.withheld for c in certificates]
        for name in ("person_id", "lost_on", "issued_on", "expires_on", "effective_on"):
            stored[name] = [value or None for value in stored[name]]
        return [lines, *(stored[name] for name in STAGED)]

    def _count_days(
        self, lines: list[int], name: str, days: list[Any], before: str, kinds: list[str | None]
    ) -> None:
        early = {day for day in set(days) if day and day < before}
        if not early:
            return
        found = [
            line
            for line, day, kind in zip(lines, days, kinds, strict=True)
            if day in early and kind != "none"
        ]
        if found:
            count, first = self.odd_days.get(name, (0, found[0]))
            self.odd_days[name] = count + len(found), first

    def _warn_of_sex(
        self,
        lines: list[int],
        cells: dict[str, Any],
        sexes: list[Any],
        remarks: list[Any],
        findings: Findings,
    ) -> None:
        """Warn of people whose certificate says 裏面参照 but has no text there. Other systems write 3
        for an unknown sex."""
        if 3 not in sexes:
            return
        for i, (sex, remark) in enumerate(zip(sexes, remarks, strict=True)):
            if sex == 3 and remark == "":
                text = "裏面参照ですが、備考が空です。備考に戸籍上の性別などを書くか、性別を確かめてください"
                findings.warning(lines[i], self._title("sex"), cells["sex"][i], text)

    def _judge(
        self,
        line: int,
        texts: dict[str, str],
        row: dict[str, Any],
        faulty: set[str],
        findings: Findings,
    ) -> None:
        """Check rules that span several columns of a row, skipping faulty cells."""

        def wrong(name: str, text: str) -> None:
            findings.error(line, self._title(name), texts.get(name, ""), text)

        def odd(name: str, text: str) -> None:
            findings.warning(line, self._title(name), texts.get(name, ""), text)

        born, qualified, lost, expires = map(
            row.get, ("birth_date", "qualified_on", "lost_on", "expires_on")
        )
        today = self._today.isoformat()
        if born and born > today:
            wrong("birth_date", f"今日（{today}）より後です。正しい日付を入力してください")
        elif born and qualified and qualified < born:
            wrong("qualified_on", f"生年月日（{born}）より前です。どちらかを直してください")
        if lost and qualified and lost < qualified:
            wrong("lost_on", f"資格取得年月日（{qualified}）より前です。どちらかを直してください")
        certificate = self.certificates[
            tuple(row.get(n, _BLANK.get(n, "")) for n in Certificates.columns)
        ]
        if not faulty.intersection(Certificates.columns):
            for name, is_wrong, text in certificate.complaints:
                (wrong if is_wrong else odd)(name, text)
        if not born:
            return
        birth = dt.date.fromisoformat(born)
        last = birthday(birth, 75) - dt.timedelta(days=1)
        if expires and expires > last.isoformat():
            odd(
                "expires_on", f"75歳の誕生日の前日（{last}）より後です。{last} までとして表示します"
            )
        over = birthday(birth, 70) <= self._today
        if row.get("copay") is not None and not over:
            odd(
                "copay",
                "70歳になっていない人に割合があります。このまま取り込みます。違うときは空にしてください",
            )
        shows = certificate.delivery in ("web", "paper") and (not lost or lost > today)
        if (
            over
            and "copay" in self._places
            and row["copay"] is None
            and shows
            and self._today >= copay_from(birth)
            and not faulty
        ):
            odd(
                "copay",
                "70歳以上の人に割合がありません。このまま取り込みます。1割、2割、3割のいずれかを入力してください",
            )


FIRST_ISSUED = "2024-12-02"
"""The first day of 資格確認書."""
_BLANK = {"issue_reason": None, "delivery": None, "copay": None, "withheld": None}


def _households(insurers: list[Any], symbols: list[Any], numbers: list[Any]) -> list[str | None]:
    """Return the insurer number, 記号 and 番号 of each row, width-folded and separated by tabs, which
    cells do not contain. Return None for a row in which one of them is wrong."""
    if None in insurers or None in symbols or None in numbers:
        rows = zip(insurers, symbols, numbers, strict=True)
        return [None if None in row else "\t".join(map(fold_width, row)) for row in rows]
    joined = "\n".join(map("\t".join, zip(insurers, symbols, numbers, strict=True)))
    if not joined.isascii():
        joined = unicodedata.normalize("NFKC", joined)
    return list(joined.split("\n"))
