"""Read a roster file and return checked rows. This package uses neither Flask nor the database.

The file is read in batches, and each batch is checked column by column, so a million rows take
seconds and little memory.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from dates import describe_codes, in_words, parse_date
from roster.cells import BROKEN, Column, Wrong, fold_width
from roster.columns import DATES, FIELDS, TITLES, rules
from roster.files import opened
from roster.findings import Findings, shown
from roster.header import folded_title, name_of, resembled
from roster.layout import Layout, Texts
from roster.mapping import Map
from roster.reading import Unreadable
from roster.rows import FIRST_ISSUED, Rows


class Roster:
    """A roster file whose titles have been read: a text file or a workbook. `sheet` is the sheet to
    read, or the first if it is not given. `columns` is the path of a map of columns. Raise
    Unreadable."""

    def __init__(
        self,
        path: Path,
        insurers: Collection[str],
        today: dt.date,
        era_codes: str = "pension",
        *,
        columns: Path | None = None,
        sheet: str | None = None,
    ) -> None:
        self.path, self._era_codes = path, era_codes
        self._rules: dict[str, Column] = rules(insurers, era_codes)
        mapped = Map(opened(columns), self._rules, columns.name) if columns else None
        self._source = opened(path, sheet)
        line = mapped.header_line if mapped else 1
        known = mapped.titles if mapped else set()
        self._source.choose(
            lambda rows: (
                sum(bool(name_of(t)) or folded_title(t) in known for t in rows[line - 1])
                if 0 < line <= len(rows)
                else 0,
                max(map(len, rows), default=0) if mapped else 0,
            )
        )
        self._layout = Layout(self._source.head(), self._source.ragged, mapped, era_codes)
        self._rows = Rows(today, set(self._layout.sources), self.title)
        self.rows = self.skipped = 0
        self.example: str | None = None

    @property
    def about(self) -> str:
        """What the clerk is told about the reading: the encoding, or the sheet."""
        return self._source.about

    def has(self, name: str) -> bool:
        return name in self._layout.sources

    def title(self, name: str) -> str:
        """Return the title of the column, or of several, as the file has it."""
        return self._layout.title(name)

    @property
    def kept(self) -> set[str]:
        """The fields that are not in the file. They keep their stored values."""
        said = set(self._layout.sources)
        if "issue_reason" in said:
            said |= {"delivery", "withheld"}
        return set(FIELDS) - said - {"household"}

    @property
    def says_delivery(self) -> bool:
        """Return whether any row that was read has a 交付事由 or a 交付方法."""
        return self._rows.certificates.says_delivery

    @property
    def doubts(self) -> list[str]:
        """Sentences about dates of certificates that may have been misread, for example by era
        codes."""
        texts = {
            "expires_on": "有効期限がもう過ぎています。その資格確認書は表示されません",
            "issued_on": f"交付年月日が、資格確認書のはじまった {FIRST_ISSUED} より前です",
        }
        return [
            f"{self.path.name}の{first}行目など{count}人の{texts[name]}。日付の列と元号コードを確かめてください。"
            for name, (count, first) in self._rows.odd_days.items()
        ]

    def _era_example(self) -> str | None:
        """Return how dates with an era's digit were read, with an example from the file: 5550101 →
        昭和55年1月1日. Return None if there are no such dates."""
        read = (pair for name in DATES for pair in self._rules[name].known.items())
        found = next(
            (t for t, day in read if day and len(fold_width(t)) == 7 and fold_width(t).isdigit()),
            None,
        )
        if found is None:
            return None
        day = parse_date(found, self._era_codes)
        return f"{shown(found)} → {in_words(day)}（{day}）。元号コード: {describe_codes(self._era_codes)}"

    def check_header(self, findings: Findings) -> None:
        """Report the columns that are missing, that occur twice, and that are not known."""
        layout, line = self._layout, max(self._layout.line, 1)
        for name, title in TITLES.items():
            if title.required and not self.has(name):
                findings.error(
                    line,
                    title.japanese,
                    "",
                    f"この列がありません。見出しに「{title.japanese}」の列を加えてください。見出しがちがうときは、flask roster columns で対応表を作ると読めます",
                )
        for place in layout.strange:
            text = self._unread(layout.header[place])
            findings.warning(line, layout.column(place), layout.header[place], text)
        self._check_twins(findings)

    def _unread(self, title: str) -> str:
        """Return what the clerk can do if this column, which is not read, should be."""
        meant = resembled(title)
        if "記号" in title and "番号" in title:
            way = "記号と番号が1つの列にあれば、2つの列に分けてください（Excelの「区切り位置」）"
        elif meant and not self.has(meant):
            way = f"「{TITLES[meant].japanese}」の列であれば、見出しをそう直すか、対応表を作ってください"
        else:
            way = "必要な列であれば見出しを直してください"
        return f"知らない列なので読みません。{way}"

    def _check_twins(self, findings: Findings) -> None:
        layout = self._layout
        for first, place in layout.twins:
            title = layout.column(place)
            text = (
                f"同じ列が2つあります（「{layout.column(first)}」と「{title}」）。1つにしてください"
            )
            findings.error(max(layout.line, 1), title, layout.header[place], text)

    def checked(
        self, findings: Findings, progress: Callable[[int], None] = lambda done: None
    ) -> Iterator[list[list[Any]]]:
        """Yield the rows in batches of columns: the line numbers as Excel counts them, then the
        columns of STAGED. A wrong cell is None, and is added to `findings`.

        `progress` is called with the number of bytes read so far. Raise Unreadable if the file
        cannot be read to its end.
        """
        line = self._layout.line
        for done, rows in self._source.batches(line):
            numbers = list(range(line + 1, line + 1 + len(rows)))
            line += len(rows)
            lines, rows = self._even(*self._without_skipped(numbers, rows), findings)
            if rows and (columns := self._batch(lines, rows, findings)):
                progress(done)
                yield columns
        self.example = self._era_example()
        if not self.rows:
            raise Unreadable(
                "見出しだけで、データの行がありません。加入者の行を入れて、もう一度保存してください。"
            )

    def _without_skipped(
        self, lines: list[int], rows: list[list[str]]
    ) -> tuple[list[int], list[list[str]]]:
        """Return the rows, without those that the map says to skip."""
        if not self._layout.skips:
            return lines, rows
        kept = [i for i, row in enumerate(rows) if not self._layout.is_skipped(row)]
        self.skipped += len(rows) - len(kept)
        return [lines[i] for i in kept], [rows[i] for i in kept]

    def _even(
        self, lines: list[int], rows: list[list[str]], findings: Findings
    ) -> tuple[list[int], list[list[str]]]:
        """Return the rows that have as many cells as the header. Skip empty rows, and report the
        others."""
        width = len(self._layout.header)
        if set(map(len, rows)) == {width}:
            return lines, rows
        if self._source.ragged:
            return lines, [row[:width] + [""] * (width - len(row)) for row in rows]
        good: list[tuple[int, list[str]]] = []
        needed = self._layout.needed if self._layout.line else width
        for line, row in zip(lines, rows, strict=True):
            if len(row) > width and not any(map(str.strip, row[width:])):
                row = row[:width]
            if needed <= len(row) < width:
                row = row + [""] * (width - len(row))
            if len(row) == width:
                good.append((line, row))
            elif any(map(str.strip, row)):
                self.rows += 1
                first = next(c for c in row if c.strip())
                findings.error(
                    line,
                    self._layout.column(0),
                    first,
                    f"セルが{len(row)}個あります。{'見出しと同じ' if self._layout.line else 'ほかの行と同じ'}{width}個にしてください。右端の空のセルを省く表計算ソフトでは、Excelブック（.xlsx）のまま読み込めます",
                )
        return [line for line, _ in good], [row for _, row in good]

    def _batch(
        self, lines: list[int], rows: list[list[str]], findings: Findings
    ) -> list[list[Any]]:
        seen, cells = self._layout.texts(list(zip(*rows, strict=True)), len(rows))
        values = {name: self._rules[name].values(texts) for name, texts in cells.items()}
        faulty: dict[int, set[str]] = {}
        if any(found is None for found in values.values()):
            kept = [
                i for i, row in enumerate(rows) if self._says_something(lines[i], row, findings)
            ]
            if len(kept) < len(rows):
                if not kept:
                    return []
                return self._batch([lines[i] for i in kept], [rows[i] for i in kept], findings)
            for name, found in values.items():
                if found is None:
                    values[name] = self._cell_by_cell(
                        name, lines, seen[name], cells[name], faulty, findings
                    )
        self.rows += len(rows)
        for name, texts in cells.items():
            self._tell(name, lines, seen[name], texts, values[name] or [], findings)
        return self._rows.stored(
            lines, seen, {name: found or [] for name, found in values.items()}, faulty, findings
        )

    def _says_something(self, line: int, row: list[str], findings: Findings) -> bool:
        """Return whether the row is not empty and does not repeat the header."""
        if self._layout.line and row == self._layout.header:
            self.rows += 1
            findings.error(
                line,
                self._layout.column(0),
                row[0],
                "見出しの行がもう一度あります。この行を取り除いてください",
            )
            return False
        return any(map(str.strip, row))

    def _cell_by_cell(
        self,
        name: str,
        lines: list[int],
        seen: Texts,
        texts: Texts,
        faulty: dict[int, set[str]],
        findings: Findings,
    ) -> list[Any]:
        """Return the values of one column of a batch, with None for wrong cells, which are reported
        as they are in the file."""
        found: list[Any] = []
        for i, text in enumerate(texts):
            try:
                found.append(self._rules[name].parse(text))
            except Wrong as wrong:
                found.append(None)
                faulty.setdefault(i, set()).add(name)
                findings.error(lines[i], self.title(name), seen[i].replace(BROKEN, ""), str(wrong))
        return found

    def _tell(
        self,
        name: str,
        lines: list[int],
        seen: Texts,
        texts: Texts,
        values: list[Any],
        findings: Findings,
    ) -> None:
        """Warn of unusual values, and count repaired ones."""
        for i, text in self._rules[name].warnings(values):
            findings.warning(lines[i], self.title(name), values[i], text)
        if repaired := self._rules[name].repaired:
            for i, text in enumerate(map(str.strip, texts)):
                if text in repaired:
                    findings.repair(lines[i], self.title(name), seen[i].strip(), values[i] or "空")
