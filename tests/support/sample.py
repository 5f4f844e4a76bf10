"""Import the sample roster in tests/rosters, either at the fixed moment NOW, or with its dates
moved to today for real servers."""

from __future__ import annotations

import csv
import datetime as dt
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

import dates
from database import database
from tests.support.clerk import make_app

ROOT = Path(__file__).resolve().parent.parent.parent
ROSTERS = ROOT / "tests" / "rosters"
FLASK = [str(Path(sys.executable).parent / "flask"), "--app", "app"]
NOW = dt.datetime(2026, 11, 23, 14, 5, 33, tzinfo=dates.JST).timestamp()
"""The moment that tests without a server stand in: a Monday, in seconds since 1970. The sample
roster is of that day."""


def import_at_now(folder: Path) -> dict[str, tuple[str, str]]:
    """Import the sample roster in this process at the moment NOW. Write its letters into the folder
    and return its logins."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("commands.rosters.moment", lambda: NOW)
        run = make_app().test_cli_runner().invoke
        for arguments in _commands(ROSTERS / "roster-utf8.csv", folder):
            done = run(args=arguments)
            assert done.exit_code == 0, done.output
        database.close_all()
    return logins_in(folder)


def import_sample(folder: Path) -> dict[str, tuple[str, str]]:
    """Import the sample roster with its dates moved to today, by the real commands. Write its
    letters into the folder and return its logins.
    """
    for arguments in _commands(_moved_to(dates.today(time.time()), folder), folder):
        subprocess.run([*FLASK, *arguments], cwd=ROOT, check=True, capture_output=True)
    return logins_in(folder)


def logins_in(folder: Path, name: str = "letters.csv") -> dict[str, tuple[str, str]]:
    """Return the login ID and the temporary password of each name in the letters in the folder."""
    with (folder / name).open(encoding="utf-8-sig", newline="") as file:
        return {
            row["氏名"]: (row["ログインID"], row["仮パスワード"]) for row in csv.DictReader(file)
        }


def _commands(roster: Path, folder: Path) -> list[list[str]]:
    letters = str(folder / "letters.csv")
    return [["db", "upgrade"], ["roster", "import", str(roster), "--credentials", letters]]


def _moved_to(day: dt.date, folder: Path) -> Path:
    """Write the sample roster into the folder with its dates moved from the day of NOW to `day`,
    and return its path.

    So a server that runs by the real clock shows the same states on every day. Dates before 2000
    are not moved, since they are birth dates of adults, which tests type.
    """
    passed = day - dates.today(NOW)

    def moved(found: re.Match[str]) -> str:
        date = dt.date.fromisoformat(found[0])
        return (date + passed if date.year >= 2000 else date).isoformat()

    path = folder / "roster.csv"
    path.write_text(
        re.sub(r"\d{4}-\d\d-\d\d", moved, (ROSTERS / "roster-utf8.csv").read_text("utf-8")), "utf-8"
    )
    return path
