"""Make the plan of changes from a checked roster and from what is stored.

The rows are staged in tables of a temporary file. The comparison takes place there, before the
transaction begins.
"""

from __future__ import annotations

import datetime as dt
import gc
from collections.abc import Callable, Sequence
from typing import Any

from imports.workspace import Workspace
from roster import Roster
from roster.columns import FIELDS, STAGED
from roster.findings import Findings
from roster.targets import TargetList

SENSITIVE = ("birth_date", "name", "sex")
COMPARED = tuple(name for name in FIELDS if name not in ("household", "withheld"))
ALTERED = f"SELECT line, 0 AS listed, id, {', '.join(FIELDS)} FROM changed JOIN staged USING (line)"
"""The people who change, with their new fields. `listed` is 1 if `line` is one of the list of
targets."""
EMPTY = {None: "NULL", "": "''"}
"""SQL for what empty cells are stored as."""
BARE = "replace(replace({0}.name, ' ', ''), '　', '')"
"""SQL for a name without its spaces."""
TABLES = f"""
CREATE TABLE stage.staged (line INTEGER PRIMARY KEY, {", ".join(STAGED)});
CREATE TABLE stage.hit (line INTEGER PRIMARY KEY, id INTEGER NOT NULL UNIQUE);
CREATE TABLE stage.changed (line INTEGER PRIMARY KEY, id INTEGER NOT NULL);
CREATE VIEW stage.altered AS {ALTERED};
CREATE VIEW stage.changing AS SELECT id, {", ".join(FIELDS)} FROM altered;
CREATE TABLE stage.ending (id INTEGER PRIMARY KEY);
CREATE TABLE stage.turned (id INTEGER PRIMARY KEY, delivery);
CREATE TABLE stage.replaced (line INTEGER PRIMARY KEY, id INTEGER NOT NULL UNIQUE);
CREATE VIEW stage.leaving AS SELECT id FROM changing WHERE withheld UNION SELECT id FROM replaced;
CREATE TABLE stage.keyed (line INTEGER PRIMARY KEY, id, public_id, login_id, password, temporary_hash);
"""


class Plan:
    """The changes that an import would make. imports.make_plan makes it; nothing is stored yet."""

    def __init__(
        self, work: Workspace, roster: Roster, today: dt.date, listed: TargetList | None = None
    ) -> None:
        self.work, self.roster, self.today = work, roster, today
        # fields that keep their stored values
        self.kept = set(roster.kept)
        self.listed = listed
        self.granted = 0  # people who change by that list alone: stored, and not in the roster
        self.stored = self.added = self.changed = self.ended = self.unchanged = 0
        self.missing = 0  # how many of those who end are not in the file
        # how many people end because a new person has their natural key
        self.replaced = 0
        # people whose birth date, name or sex differs from what is stored, including the replaced
        self.altered = 0
        self.fields: dict[str, int] = {}
        self.hidden: list[tuple[int, int]] = []  # (member's id, line) of people who become withheld
        # lines of new people who are stored as withheld under another key
        self.recognized: list[int] = []
        self.lifted: list[tuple[int, int]] = []
        self.letters_needed = 0
        self.left_out = 0
        self.moved: tuple[int, ...] = ()  # the sums of holders.moves
        # by delivery, the people who are covered today or later and not withheld
        self.before: dict[str, int] = {}
        self.after: dict[str, int] = {}
        self.running = 0  # stored people whose cover has not ended
        # how many have a certificate that has not expired, and how many of them lose it
        self.holding = self.withdrawn = 0
        self.mails: dict[str, int] = {}  # by delivery, the registered people who are told of it
        self.tells = True  # whether they are told

    def one(self, sql: str, *values: Any) -> Any:
        return self.work.execute(sql, values).fetchone()[0]

    def rows(self, sql: str, *values: Any) -> list[Any]:
        return self.work.execute(sql, values).fetchall()


def stage(plan: Plan, findings: Findings, progress: Callable[[int], None]) -> None:
    plan.work.executescript(TABLES)
    plan.work.execute("BEGIN")
    gc.disable()  # a million rows are read, and they make no reference cycles
    try:
        for columns in plan.roster.checked(findings, progress):
            # columns that are empty in a whole batch are not bound, which saves a tenth of the time
            values = [EMPTY.get(c[0], "?") if c.count(c[0]) == len(c) else "?" for c in columns]
            bound = [column for column, value in zip(columns, values, strict=True) if value == "?"]
            plan.work.executemany(
                f"INSERT INTO staged VALUES ({', '.join(values)})", zip(*bound, strict=True)
            )
    finally:
        gc.enable()
    plan.work.execute("COMMIT")


def match_persons(plan: Plan) -> None:
    """Find the stored people by 加入者ID. Keep the stored 記号 and 枝番 if the file has no such column."""
    if not (plan.stored and plan.roster.has("person_id")):
        return
    plan.work.execute(
        "INSERT OR IGNORE INTO hit SELECT s.line, m.id FROM staged s JOIN member m ON m.person_id = s.person_id ORDER BY s.line"
    )
    for name in ("symbol", "branch"):
        if not plan.roster.has(name):
            plan.work.execute(
                f"UPDATE staged SET {name} = m.{name}, household = CASE WHEN '{name}' = 'symbol'"
                " AND substr(m.household, -length(substr(staged.household, 9))) = substr(staged.household, 9)"
                " AND substr(m.household, 1, 9) = substr(staged.household, 1, 9)"
                " THEN m.household ELSE staged.household END"
                " FROM hit h JOIN member m ON m.id = h.id WHERE h.line = staged.line"
            )


def match_keys(plan: Plan) -> None:
    """Find the other people by their natural key: insurer number, 記号, 番号 and 枝番. If several stored
    people have that key, take the newest.

    Do not match two people whose 加入者ID differ. If two rows match one stored person, take the row
    with the same birth date.
    """
    if not plan.stored:
        return
    own = (
        " AND (s.person_id IS NULL OR m.person_id IS NULL)" if plan.roster.has("person_id") else ""
    )
    known = plan.one("SELECT count(*) FROM hit")
    for sure in ("m.birth_date = s.birth_date", "(s.branch <> '' OR s.person_id IS NULL)"):
        plan.work.execute(
            "INSERT OR IGNORE INTO hit SELECT s.line, m.id FROM staged s JOIN member m ON m.id ="
            " (SELECT max(id) FROM member WHERE household = s.household AND branch = s.branch)"
            f" WHERE s.line NOT IN (SELECT line FROM hit){own} AND {sure} ORDER BY s.line"
        )
    if plan.one("SELECT count(*) FROM hit") > known:
        _find_replaced(plan)
    if plan.roster.rows > plan.one("SELECT count(*) FROM hit"):
        _keep_hidden(plan)
    if "lost_on" in plan.kept:
        loss = "UPDATE staged SET lost_on = m.lost_on FROM hit h JOIN member m ON m.id = h.id WHERE h.line = staged.line"
        plan.work.execute(loss)


def _find_replaced(plan: Plan) -> None:
    """Find the rows whose natural key belonged to another person: the birth date differs, and also
    the name or the sex.

    The stored person ends, and the row is a new person, who inherits nothing but 不開示, which only an
    explicit 0 ends.
    """
    plan.work.execute(
        "INSERT INTO replaced SELECT h.line, h.id FROM hit h JOIN staged s ON s.line = h.line JOIN member m ON m.id = h.id"
        " WHERE (s.person_id IS NULL OR s.person_id IS NOT m.person_id) AND s.birth_date <> m.birth_date"
        " AND (s.name <> m.name OR s.sex <> m.sex)"
    )
    plan.replaced = plan.one("SELECT count(*) FROM replaced")
    if plan.replaced:
        plan.work.execute("DELETE FROM hit WHERE line IN (SELECT line FROM replaced)")
        hidden = "SELECT r.line FROM replaced r JOIN member m ON m.id = r.id WHERE m.withheld"
        plan.work.execute(
            f"UPDATE staged SET withheld = 1 WHERE withheld IS NULL AND line IN ({hidden})"
        )


def _keep_hidden(plan: Plan) -> None:
    """Find the new people who are stored as withheld under another 記号, 番号, 枝番 or 加入者ID, by birth
    date and name. They stay withheld until the file says 0.

    Spaces in names do not count. If 氏名カナ and sex are the same, the names count as the same, even if
    they are written differently.
    """
    same = f"({BARE.format('s')} = {BARE.format('m')} OR (s.kana = m.kana AND s.kana <> '' AND s.sex = m.sex))"
    plan.recognized = [
        line
        for (line,) in plan.rows(
            "WITH m AS MATERIALIZED (SELECT DISTINCT birth_date, sex, name, kana FROM member WHERE withheld)"
            " SELECT DISTINCT s.line FROM staged s CROSS JOIN m WHERE s.withheld IS NULL AND s.line NOT IN (SELECT line FROM hit)"
            f" AND m.birth_date = s.birth_date AND {same} ORDER BY 1"
        )
    ]
    plan.work.executemany(
        "UPDATE staged SET withheld = 1 WHERE line = ?", [(line,) for line in plan.recognized]
    )


def compare(plan: Plan, also: Sequence[str] = ()) -> None:
    """Note the people whose stored fields the file changes, and count them by field. `also` are
    further sums, which the same query computes for `plan.moved`."""
    compared = [name for name in COMPARED if name not in plan.kept]
    differs = {name: f"s.{name} IS NOT m.{name}" for name in compared} | {
        "withheld": "s.withheld <> m.withheld"
    }
    if plan.stored:
        plan.work.execute(
            "INSERT INTO changed SELECT h.line, h.id FROM hit h JOIN staged s ON s.line = h.line"
            f" JOIN member m ON m.id = h.id WHERE {' OR '.join(differs.values())}"
        )
    hits, changed = plan.one("SELECT count(*) FROM hit"), plan.one("SELECT count(*) FROM changed")
    plan.added, plan.unchanged = plan.roster.rows - hits, hits - changed
    plan.changed, both = changed + plan.granted, "FROM altered s JOIN member m ON m.id = s.id"
    if plan.changed:
        sums = ", ".join([*(f"sum({test})" for test in differs.values()), *also])
        (counts,) = plan.rows(f"SELECT {sums} {both}")
        plan.moved = counts[len(differs) :]
        plan.fields = {name: n for name, n in zip(differs, counts, strict=False) if n}
    if "withheld" in plan.fields:
        turned = f"SELECT s.id, s.line {both} WHERE s.withheld = ? AND m.withheld = ? ORDER BY s.listed, 2"
        plan.hidden, plan.lifted = plan.rows(turned, 1, 0), plan.rows(turned, 0, 1)
    plan.altered = plan.replaced
    if set(plan.fields) & set(SENSITIVE):
        tests = " OR ".join(differs[name] for name in SENSITIVE)
        plan.altered += plan.one(f"SELECT count(*) {both} WHERE {tests}")
    if plan.added:
        plan.letters_needed = plan.one(
            "SELECT count(*) FROM staged WHERE line NOT IN (SELECT line FROM hit) AND withheld IS NOT 1"
        )
    plan.letters_needed += len(plan.lifted)


def end_missing(plan: Plan, full: bool) -> None:
    """Note the people whose cover ends today: those who are replaced, and with `full` also those
    who are not in the file."""
    running = "(lost_on IS NULL OR lost_on > ?)"
    chosen = "" if full else " AND id IN (SELECT id FROM replaced)"
    plan.work.execute(
        f"INSERT INTO ending SELECT id FROM member WHERE {running} AND id NOT IN (SELECT id FROM hit){chosen}",
        (plan.today.isoformat(),),
    )
    plan.ended = plan.one("SELECT count(*) FROM ending")
    plan.missing = plan.one("SELECT count(*) FROM ending WHERE id NOT IN (SELECT id FROM replaced)")
