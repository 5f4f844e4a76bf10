"""The list of people who get a certificate (交付対象者): their keys and 交付事由. The 中間サーバー provides it
each month.

It is read like a roster, with the same titles. Only the keys and the columns about certificates
count.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from roster import Roster
from roster.certificates import Certificates
from roster.columns import Day
from roster.findings import Findings
from roster.reading import Unreadable
from roster.rows import Rows

READ = (
    "person_id",
    "insurer_number",
    "symbol",
    "number",
    "branch",
    "birth_date",
    "issue_reason",
    "delivery",
    "issued_on",
    "expires_on",
)


class TargetList(Roster):
    """A list whose titles have been read. Raise Unreadable.

    `issued_on` and `expires_on` apply to rows without these dates. The delivery of rows without
    交付方法 is the web.
    """

    def __init__(
        self,
        path: Path,
        insurers: Collection[str],
        today: dt.date,
        era_codes: str,
        issued_on: dt.date | None,
        expires_on: dt.date | None,
        columns: Path | None = None,
    ) -> None:
        try:
            super().__init__(path, insurers, today, era_codes, columns=columns)
        except Unreadable as sentence:
            raise Unreadable(f"{path.name}: {sentence}") from None
        sources = self._layout.sources
        self._layout.sources = {name: sources[name] for name in READ if name in sources}
        self._rules["birth_date"] = Day(era_codes)
        days = {"issued_on": issued_on, "expires_on": expires_on}
        self._days = {name: day.isoformat() for name, day in days.items() if day}
        self._rows = ListedRows(today, self._layout.sources, self.title, self._days)

    def check_header(self, findings: Findings) -> None:
        """Report missing columns. Columns of a roster that are not needed here are skipped without
        a warning."""
        line = max(self._layout.line, 1)
        keys = ("insurer_number", "number") if not self.has("person_id") else ()
        for name in (*keys, "issue_reason"):
            if not self.has(name):
                text = f"この列がありません。見出しに「{self.title(name)}」の列を加えるか、対応表を --targets-columns で指定してください"
                findings.error(line, self.title(name), "", text)
        for name, option in (("issued_on", "--issued-on"), ("expires_on", "--expires-on")):
            if not self.has(name) and name not in self._days:
                text = f"この列がありません。列を加えるか、{option} 日付 を付けてください"
                findings.error(line, self.title(name), "", text)
        self._check_twins(findings)


class ListedRows(Rows):
    """The rows of a list. Rows without a date get the one of `days`."""

    def __init__(
        self,
        today: dt.date,
        places: Collection[str],
        title: Callable[[str], str],
        days: dict[str, str],
    ) -> None:
        super().__init__(today, places, title)
        self.certificates = Certificates(has_reason=True, delivery="web")
        self._days = days

    def stored(
        self,
        lines: list[int],
        cells: dict[str, Any],
        values: dict[str, list[Any]],
        faulty: dict[int, set[str]],
        findings: Findings,
    ) -> list[list[Any]]:
        for name, day in self._days.items():
            values[name] = [value or day for value in values.get(name) or [""] * len(lines)]
        for i, reason in enumerate(values.get("issue_reason", ())):
            if reason is None and "issue_reason" not in faulty.get(i, ()):
                text = "空です。一覧の人には、交付事由（1〜8）を入力してください"
                findings.error(lines[i], self._title("issue_reason"), "", text)
        return super().stored(lines, cells, values, faulty, findings)
