"""The clerk's office: a roster as text, and the commands as a clerk types them."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from roster import Roster
from roster.columns import STAGED
from roster.findings import Findings
from tests.support.clerk import make_app


def text_of(rows, header=None, **dialect):
    out = io.StringIO()
    header = header or list(rows[0])
    writer = csv.writer(out, **dialect)
    writer.writerow(header)
    writer.writerows([row.get(name, "") for name in header] for row in rows)
    return out.getvalue()


def checked(path, insurers, today, report=None, **options):
    """Return the checked rows of a file as dicts, and the findings."""
    with Findings(report) as found:
        roster = Roster(path, insurers, today, **options)
        roster.check_header(found)
        rows = [
            dict(zip(("line", *STAGED), row, strict=True))
            for batch in roster.checked(found)
            for row in zip(*batch, strict=True)
        ]
    return rows, found


class Clerk:
    """The clerk's desk: a database, a folder of files, and the commands."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.runner, self.files = folder, make_app().test_cli_runner(), 0

    def run(self, *args):
        return self.runner.invoke(args=[str(arg) for arg in args])

    def file(self, rows) -> Path:
        path = self.folder / f"roster{self.files}.csv"
        path.write_text(text_of(rows), encoding="utf-8")
        return path

    def roster(self, rows, *args, command="import", letters=True):
        """Import or check the rows; gives the counts of the last line, with `exit` and `out`."""
        self.files += 1
        path = self.file(rows) if isinstance(rows, list) else rows
        out = (
            ["--credentials", self.folder / f"letters{self.files}.csv"]
            if letters and command == "import"
            else []
        )
        done = self.run("roster", command, path, *out, *args)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        counts = dict(part.split("=") for part in done.stdout.splitlines()[-1].split())
        return {name: int(count) for name, count in counts.items()} | {
            "exit": done.exit_code,
            "out": done.stdout,
        }

    @property
    def letters(self):
        with (self.folder / f"letters{self.files}.csv").open(
            encoding="utf-8-sig", newline=""
        ) as file:
            return list(csv.DictReader(file))
