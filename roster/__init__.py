"""A CSV file in, checked rows out. Knows no Flask and no database.

The file is read in batches, a column of a batch at a time, so that a million rows take seconds and
little memory.
"""

from __future__ import annotations

import csv
import datetime as dt
from collections.abc import Callable, Collection, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from dates import birthday, describe_codes, in_words, parse_date
from roster.certificates import Certificates, birthday_before, copay_from
from roster.columns import DATES, FIELDS, STAGED, TITLES, Column, Wrong, fold, rules
from roster.findings import Findings, shown
from roster.header import NAMES, folded_title, places
from roster.reading import Unreadable, look_at

BATCH = 400
"""Rows taken together: few enough to stay in a core's own cache, a sixth faster than 1,000."""
BATCH_CHARACTERS = 1 << 25
MOST_COLUMNS = 500
HEADER_LINES = 100


class Roster:
    """A roster file, opened and its header understood. Raises Unreadable."""

    def __init__(
        self, path: Path, insurers: Collection[str], today: dt.date, era_codes: str = "pension"
    ) -> None:
        self.path, self._today, self._era_codes = path, today, era_codes
        self.encoding, self.lines = look_at(path)
        self.delimiter, self.header = self._header()
        self._rules: dict[str, Column] = rules(insurers, era_codes)
        self.places = places(self.header)
        self._certificates = Certificates("issue_reason" in self.places)
        self.rows = 0
        self.example: str | None = None

    def has(self, name: str) -> bool:
        return name in self.places

    def title(self, name: str) -> str:
        """Return the column's title as the file's header has it."""
        return (
            self.header[self.places[name]].strip() if name in self.places else TITLES[name].japanese
        )

    @property
    def kept(self) -> set[str]:
        """The fields that the file says nothing about. What is stored of them stays."""
        said = set(self.places) | (
            {"delivery", "withheld"} if "issue_reason" in self.places else set()
        )
        return set(FIELDS) - said - {"household"}

    @property
    def says_delivery(self) -> bool:
        """Return whether any row that was read has a 交付事由 or a 交付方法."""
        return self._certificates.says_delivery

    def _era_example(self) -> str | None:
        """Say how dates with an era's digit were read, by one of the file: 5550101 → 昭和55年1月1日.
        None if there is none."""
        texts = (text for name in DATES for text in self._rules[name].known)
        found = next((t for t in texts if len(fold(t)) == 7 and fold(t).isdigit()), None)
        if found is None:
            return None
        day = parse_date(found, self._era_codes)
        return f"{shown(found)} → {in_words(day)}（{day}）。元号コード: {describe_codes(self._era_codes)}"

    def check_header(self, findings: Findings) -> None:
        """Say which columns are missing, which stand twice, and which are not known."""
        for name, title in TITLES.items():
            if title.required and name not in self.places:
                findings.error(
                    1,
                    title.japanese,
                    "",
                    f"この列がありません。見出しに「{title.japanese}」の列を加えてください",
                )
        seen: set[str] = set()
        for text in self.header:
            known = NAMES.get(folded_title(text), "")
            if not known and text.strip():
                findings.warning(
                    1,
                    text.strip(),
                    text,
                    "知らない列なので読みません。必要な列であれば見出しを直してください",
                )
            elif known and known in seen:
                findings.error(1, text.strip(), text, "同じ列が2つあります。1つにしてください")
            seen.add(known)

    def checked(
        self, findings: Findings, progress: Callable[[int], None] = lambda done: None
    ) -> Iterator[list[list[Any]]]:
        """Yield the rows, a batch at a time, as columns: lines as Excel counts them, then STAGED. A
        wrong cell is None, and in `findings`.

        `progress` is told how many bytes have been read. Raises Unreadable where the file cannot be
        read on.
        """
        for done, batch in self._batches(findings):
            progress(done)
            yield batch
        if not self.rows:
            raise Unreadable(
                "見出しだけで、データの行がありません。加入者の行を入れて、もう一度保存してください。"
            )

    def _batches(self, findings: Findings) -> Iterator[tuple[int, list[list[Any]]]]:
        """Yield the bytes read so far, and a batch's columns."""
        line = 1
        with self._open() as file:
            reader = csv.reader(self._bounded(file), delimiter=self.delimiter)
            next(reader)
            while True:
                self._pending = 0
                try:
                    rows = list(islice(reader, BATCH))
                except csv.Error:
                    raise Unreadable(
                        f'{line + 1}行目より後に、閉じていない引用符（"）か、長すぎるセルがあります。引用符を確かめてください。'
                    ) from None
                if not rows:
                    break
                numbers = range(line + 1, line + 1 + len(rows))
                line += len(rows)
                lines, rows = self._even(list(numbers), rows, findings)
                if rows and (columns := self._batch(lines, rows, findings)):
                    yield file.buffer.tell(), columns
        self.example = self._era_example()

    def _open(self) -> Any:
        return open(self.path, encoding=self.encoding, errors="surrogateescape", newline="")

    def _bounded(self, file: Any) -> Iterator[str]:
        for line in file:
            self._pending += len(line)
            if self._pending > BATCH_CHARACTERS:
                raise Unreadable(
                    '1行が長すぎます。閉じていない引用符（"）がないか確かめて、CSV UTF-8で保存し直してください。'
                )
            yield line

    def _header(self) -> tuple[str, list[str]]:
        found = {mark: self._first_row(mark) for mark in ",\t;"}
        known = {
            mark: sum(folded_title(t) in NAMES for t in cells) for mark, cells in found.items()
        }
        mark = max(known, key=lambda m: known[m])
        if not known[mark]:
            raise Unreadable(
                "1行目に知っている見出しが1つもありません。1行目を見出し（保険者番号、記号、番号、氏名 など）にしてください。"
                "ひな形は flask roster template で作れます。"
            )
        if len(found[mark]) > MOST_COLUMNS:
            raise Unreadable(
                f"列が{len(found[mark])}あります。{MOST_COLUMNS}列以内にしてください。"
            )
        return mark, found[mark]

    def _first_row(self, mark: str) -> list[str]:
        self._pending = 0
        with self._open() as file:
            try:
                return next(
                    csv.reader(islice(self._bounded(file), HEADER_LINES), delimiter=mark), []
                )
            except csv.Error:
                return []

    def _even(
        self, lines: list[int], rows: list[list[str]], findings: Findings
    ) -> tuple[list[int], list[list[str]]]:
        """Return the rows that have as many cells as the header. Pass over empty rows, and report
        the others."""
        width = len(self.header)
        if set(map(len, rows)) == {width}:
            return lines, rows
        good: list[tuple[int, list[str]]] = []
        for line, row in zip(lines, rows, strict=True):
            if len(row) > width and not any(map(str.strip, row[width:])):
                row = row[:width]
            if len(row) == width:
                good.append((line, row))
            elif any(map(str.strip, row)):
                self.rows += 1
                first = next(c for c in row if c.strip())
                findings.error(
                    line,
                    self.header[0].strip(),
                    first,
                    f"セルが{len(row)}個あります。見出しと同じ{width}個にしてください",
                )
        return [line for line, _ in good], [row for _, row in good]

    def _batch(
        self, lines: list[int], rows: list[list[str]], findings: Findings
    ) -> list[list[Any]]:
        turned = list(zip(*rows, strict=True))
        cells = {name: turned[i] for name, i in self.places.items()}
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
                    values[name] = self._cell_by_cell(name, lines, cells[name], faulty, findings)
        self.rows += len(rows)
        for name, texts in cells.items():
            self._tell(name, lines, texts, values[name] or [], findings)
        return self._rows(
            lines, cells, {name: found or [] for name, found in values.items()}, faulty, findings
        )

    def _says_something(self, line: int, row: list[str], findings: Findings) -> bool:
        """Return whether the row holds something, and is not the header once more."""
        if row == self.header:
            self.rows += 1
            findings.error(
                line,
                self.header[0].strip(),
                row[0],
                "見出しの行がもう一度あります。この行を取り除いてください",
            )
            return False
        return any(map(str.strip, row))

    def _cell_by_cell(
        self,
        name: str,
        lines: list[int],
        texts: Collection[str],
        faulty: dict[int, set[str]],
        findings: Findings,
    ) -> list[Any]:
        found: list[Any] = []
        for i, text in enumerate(texts):
            try:
                found.append(self._rules[name].parse(text))
            except Wrong as wrong:
                found.append(None)
                faulty.setdefault(i, set()).add(name)
                findings.error(lines[i], self.title(name), text, str(wrong))
        return found

    def _tell(
        self,
        name: str,
        lines: list[int],
        texts: Collection[str],
        values: list[Any],
        findings: Findings,
    ) -> None:
        """Warn of odd values and count the repaired ones."""
        for i, text in self._rules[name].warnings(values):
            findings.warning(lines[i], self.title(name), values[i], text)
        if repaired := self._rules[name].repaired:
            for i, text in enumerate(map(str.strip, texts)):
                if text in repaired:
                    findings.repair(lines[i], self.title(name), text, values[i])

    def _rows(
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
        certificates = list(map(self._certificates.__getitem__, about))
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
        self._warn_of_sex(lines, cells, column("sex"), column("remarks"), findings)
        keys = [column(n) for n in ("insurer_number", "symbol", "number")]
        stored = {
            name: column(name)
            for name in STAGED
            if name not in ("household", "delivery", "withheld")
        }
        stored["household"] = _households(*keys)
        stored["delivery"] = [c.delivery for c in certificates]
        stored["withheld"] = [c.withheld for c in certificates]
        for name in ("person_id", "lost_on", "issued_on", "expires_on", "effective_on"):
            stored[name] = [value or None for value in stored[name]]
        return [lines, *(stored[name] for name in STAGED)]

    def _warn_of_sex(
        self,
        lines: list[int],
        cells: dict[str, Any],
        sexes: list[Any],
        remarks: list[Any],
        findings: Findings,
    ) -> None:
        """Warn of those whose certificate says 裏面参照 and has nothing there. Other systems write 3
        for a sex that is not known."""
        if 3 not in sexes:
            return
        for i, (sex, remark) in enumerate(zip(sexes, remarks, strict=True)):
            if sex == 3 and remark == "":
                text = "裏面参照ですが、備考が空です。備考に戸籍上の性別などを書くか、性別を確かめてください"
                findings.warning(lines[i], self.title("sex"), cells["sex"][i], text)

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
            findings.error(line, self.title(name), texts.get(name, ""), text)

        def odd(name: str, text: str) -> None:
            findings.warning(line, self.title(name), texts.get(name, ""), text)

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
        certificate = self._certificates[
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
            and self.has("copay")
            and row["copay"] is None
            and shows
            and self._today >= copay_from(birth)
            and not faulty
        ):
            odd(
                "copay",
                "70歳以上の人に割合がありません。このまま取り込みます。1割、2割、3割のいずれかを入力してください",
            )


_BLANK = {"issue_reason": None, "delivery": None, "copay": None, "withheld": None}


def _households(insurers: list[Any], symbols: list[Any], numbers: list[Any]) -> list[str | None]:
    """Return insurer number, symbol and number of each row, width-folded and parted by tabs, which
    no cell can hold; None if one is wrong.
    """
    if None in insurers or None in symbols or None in numbers:
        rows = zip(insurers, symbols, numbers, strict=True)
        return [None if None in row else "\t".join(map(fold, row)) for row in rows]
    joined = "\n".join(map("\t".join, zip(insurers, symbols, numbers, strict=True)))
    if not joined.isascii():
        import unicodedata

        joined = unicodedata.normalize("NFKC", joined)
    return list(joined.split("\n"))
