"""A checked roster against what is stored: the plan of changes, and its application, all or nothing.

The rows are staged in tables of a file that vanishes with the process. Everything is compared
there, before the transaction: that holds the changed rows only, so that the write lock is held for seconds.
"""

from __future__ import annotations

import datetime as dt
import gc
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from codes import Keys, login_ids
from imports import keyring, stores
from imports.letters import Letters, write_letters
from roster import FIELDS, Roster
from roster.findings import Findings

SHARE = 0.05  # the share of stored people who may end, or change birth date, name or sex, without being asked for

COMPARED = tuple(name for name in FIELDS if name not in ("household", "withheld"))
SENSITIVE = ("birth_date", "name", "sex")
TABLES = f"""
CREATE TABLE stage.staged (line INTEGER PRIMARY KEY, {", ".join(FIELDS)});
CREATE TABLE stage.hit (line INTEGER PRIMARY KEY, id INTEGER NOT NULL UNIQUE);
CREATE TABLE stage.changed (line INTEGER PRIMARY KEY, id INTEGER NOT NULL);
CREATE VIEW stage.changing AS SELECT id, {", ".join(FIELDS)} FROM changed JOIN staged USING (line);
CREATE TABLE stage.ending (id INTEGER PRIMARY KEY);
CREATE TABLE stage.keyed (line INTEGER PRIMARY KEY, id, public_id, login_id, password, temporary_hash);
"""


class Plan:
    """What an import would do. Made by `plan`; nothing is stored yet."""

    def __init__(self, work: stores.Workspace, roster: Roster, today: dt.date) -> None:
        self.work, self.roster, self.today = work, roster, today
        self.stored = self.added = self.changed = self.ended = self.unchanged = 0
        self.fields: dict[str, int] = {}
        self.hidden: list[tuple[int, int]] = []  # (member's id, line) of those who turn withheld
        self.lifted: list[tuple[int, int]] = []
        self.letters_needed = 0
        self.left_out = 0

    def one(self, sql: str, *values: Any) -> Any:
        return self.work.execute(sql, values).fetchone()[0]

    def rows(self, sql: str, *values: Any) -> list[Any]:
        return self.work.execute(sql, values).fetchall()


def plan(
    work: stores.Workspace,
    roster: Roster,
    findings: Findings,
    today: dt.date,
    *,
    full: bool = False,
    allow_ending: int | None = None,
    allow_changes: int | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> Plan:
    """Read and check the whole roster, and compare it with what is stored. Raises roster.Unreadable.

    Everything that is wrong goes into `findings`; the counts are those of a roster without errors.
    """
    made = Plan(work, roster, today)
    roster.check_header(findings)
    made.stored = made.one("SELECT count(*) FROM member")
    _stage(made, findings, progress)
    _match_persons(made)
    work.execute("CREATE INDEX stage.staged_household ON staged (household, branch, relation)")
    _check_twice(made, findings)
    _match_keys(made)
    _compare(made)
    _check_households(made, findings)
    if full:
        _end_missing(made)
    _check_incomplete(made, findings)
    if findings.errors:
        made.added = made.changed = made.ended = made.unchanged = 0
        return made
    _guard(made, findings, allow_ending, allow_changes)
    return made


def _stage(made: Plan, findings: Findings, progress: Callable[[int], None]) -> None:
    made.work.executescript(TABLES)
    made.work.execute("BEGIN")
    gc.disable()  # a million rows pass, and none goes in circles
    try:
        for columns in made.roster.checked(findings, progress):
            made.work.executemany(f"INSERT INTO staged VALUES (?{', ?' * len(FIELDS)})", zip(*columns, strict=True))
    finally:
        gc.enable()
    made.work.execute("COMMIT")


def _match_persons(made: Plan) -> None:
    """Find the stored people by 加入者ID. What the file lacks of their key stays."""
    if not (made.stored and made.roster.has("person_id")):
        return
    made.work.execute(
        "INSERT OR IGNORE INTO hit SELECT s.line, m.id FROM staged s JOIN member m ON m.person_id = s.person_id ORDER BY s.line"
    )
    for name in ("symbol", "branch"):
        if not made.roster.has(name):
            made.work.execute(
                f"UPDATE staged SET {name} = m.{name}, household = CASE WHEN '{name}' = 'symbol'"
                " AND substr(m.household, -length(substr(staged.household, 9))) = substr(staged.household, 9)"
                " AND substr(m.household, 1, 9) = substr(staged.household, 1, 9)"
                " THEN m.household ELSE staged.household END"
                " FROM hit h JOIN member m ON m.id = h.id WHERE h.line = staged.line"
            )


def _check_twice(made: Plan, findings: Findings) -> None:
    """Two rows of one person: by 加入者ID, or by the natural key."""
    title = made.roster.title
    if made.roster.has("person_id"):
        made.work.execute("CREATE INDEX stage.staged_person ON staged (person_id) WHERE person_id IS NOT NULL")
        twice = made.rows(
            "SELECT s.line, s.person_id, d.first, s.delivery, f.delivery FROM"
            " (SELECT person_id, min(line) AS first FROM staged WHERE person_id IS NOT NULL GROUP BY 1 HAVING count(*) > 1) d"
            " JOIN staged s ON s.person_id = d.person_id JOIN staged f ON f.line = d.first WHERE s.line > d.first ORDER BY 1"
        )
        for line, value, first, delivery, before in twice:
            findings.error(line, title("person_id"), value, _twice(first, delivery, before))
    twice = made.rows(
        "SELECT s.line, s.branch, d.first, s.delivery, f.delivery FROM"
        " (SELECT household, branch, min(line) AS first FROM staged WHERE household IS NOT NULL AND branch <> ''"
        " GROUP BY 1, 2 HAVING count(*) > 1) d"
        " JOIN staged s ON s.household = d.household AND s.branch = d.branch JOIN staged f ON f.line = d.first"
        " WHERE s.line > d.first AND (s.person_id IS NULL OR f.person_id IS NULL OR s.person_id <> f.person_id) ORDER BY 1"
    )
    for line, value, first, delivery, before in twice:
        findings.error(line, title("branch"), value, _twice(first, delivery, before))


def _twice(first: int, delivery: str, before: str) -> str:
    if {delivery, before} == {"web", "paper"}:
        return f"{first}行目と同じ人に、紙とWEBの両方があります。どちらか1行だけにしてください"
    return f"{first}行目と同じ人です。1人1行にしてください"


def _match_keys(made: Plan) -> None:
    """Find the others by insurer number, symbol, number and branch; of two, whoever came last.

    A stored person with a 加入者ID of their own is not the one whom the file gives another.
    """
    if not made.stored:
        return
    own = " AND (s.person_id IS NULL OR m.person_id IS NULL)" if made.roster.has("person_id") else ""
    made.work.execute(
        "INSERT OR IGNORE INTO hit SELECT s.line, m.id FROM staged s JOIN member m ON m.id ="
        " (SELECT max(id) FROM member WHERE household = s.household AND branch = s.branch)"
        f" WHERE s.line NOT IN (SELECT line FROM hit){own} AND (s.branch <> '' OR s.person_id IS NULL OR m.birth_date = s.birth_date)"
        " ORDER BY s.line"
    )


def _compare(made: Plan) -> None:
    compared = [name for name in COMPARED if name not in made.roster.kept]
    differs = {name: f"s.{name} IS NOT m.{name}" for name in compared} | {"withheld": "s.withheld <> m.withheld"}
    joined = "JOIN staged s ON s.line = {0}.line JOIN member m ON m.id = {0}.id"
    if made.stored:
        made.work.execute(
            f"INSERT INTO changed SELECT h.line, h.id FROM hit h {joined.format('h')} WHERE {' OR '.join(differs.values())}"
        )
    hits, made.changed = made.one("SELECT count(*) FROM hit"), made.one("SELECT count(*) FROM changed")
    made.added, made.unchanged = made.roster.rows - hits, hits - made.changed
    if made.changed:
        sums = ", ".join(f"sum({test})" for test in differs.values())
        counts = made.work.execute(f"SELECT {sums} FROM changed c {joined.format('c')}").fetchone()
        made.fields = {name: count for name, count in zip(differs, counts, strict=True) if count}
        turned = (
            f"SELECT c.id, c.line FROM changed c {joined.format('c')} WHERE s.withheld = ? AND m.withheld = ? ORDER BY 2"
        )
        made.hidden, made.lifted = made.rows(turned, 1, 0), made.rows(turned, 0, 1)
    new = "SELECT count(*) FROM staged WHERE line NOT IN (SELECT line FROM hit) AND withheld IS NOT 1"
    made.letters_needed = made.one(new) + len(made.lifted) if made.added else len(made.lifted)


def _check_households(made: Plan, findings: Findings) -> None:
    """Each dependent has a subscriber, no household has two, and nobody without a branch and an id has company."""
    title = made.roster.title
    moved = "(s.line NOT IN (SELECT line FROM hit) OR s.line IN (SELECT line FROM changed))"
    others = "SELECT 1 FROM member m WHERE m.household = s.household AND m.id NOT IN (SELECT id FROM hit)"
    active = f"(m.lost_on IS NULL OR m.lost_on > '{made.today}')"
    for line, number in made.rows(
        "SELECT s.line, s.number FROM staged s WHERE s.relation = 2 AND s.household IN (SELECT household FROM staged"
        " GROUP BY household HAVING NOT max(relation = 1))"
        f" AND NOT EXISTS ({others} AND m.relation = 1) ORDER BY 1"
    ):
        text = "この家族の本人（被保険者）の行がありません。保険者番号・記号・番号が同じ本人の行を加えるか、記号・番号を直してください"
        findings.error(line, title("number"), number, text)
    for line, first in made.rows(
        "SELECT s.line, d.first FROM (SELECT household, min(line) AS first FROM staged WHERE relation = 1 AND household IN"
        " (SELECT household FROM staged WHERE household IS NOT NULL GROUP BY household HAVING sum(relation = 1) > 1)"
        " GROUP BY household) d JOIN staged s ON s.household = d.household WHERE s.relation = 1 AND s.line > d.first ORDER BY 1"
    ):
        text = f"同じ記号・番号の本人が{first}行目にもいます。本人は1人だけにしてください"
        findings.error(line, title("relation"), "本人", text)
    for (line,) in made.rows(
        "SELECT s.line FROM staged s WHERE s.branch = '' AND s.person_id IS NULL AND s.household IS NOT NULL AND"
        " ((SELECT count(*) FROM (SELECT 1 FROM staged o WHERE o.household = s.household LIMIT 2)) > 1"
        f" OR ({moved} AND EXISTS ({others} AND {active}))) ORDER BY 1"
    ):
        text = "空です。2人以上いる世帯では、枝番か加入者IDを入力してください"
        findings.error(line, title("branch"), "", text)
    if not made.stored:
        return
    for line, number in made.rows(
        f"SELECT s.line, s.number FROM staged s WHERE s.relation = 1 AND {moved}"
        f" AND (s.lost_on IS NULL OR s.lost_on > '{made.today}') AND EXISTS ({others} AND m.relation = 1 AND {active}) ORDER BY 1"
    ):
        text = "同じ記号・番号の別の本人がすでに登録されています。記号・番号を確かめるか、前の人の資格喪失も同じファイルに入れてください"
        findings.error(line, title("number"), number, text)
    for line, number, left in made.rows(
        "SELECT s.line, s.number, (SELECT count(*) FROM member d WHERE d.household = m.household AND d.relation = 2"
        f" AND d.id NOT IN (SELECT id FROM hit) AND (d.lost_on IS NULL OR d.lost_on > '{made.today}')) AS left"
        " FROM changed c JOIN staged s ON s.line = c.line JOIN member m ON m.id = c.id"
        " WHERE m.relation = 1 AND s.household <> m.household AND left > 0 ORDER BY 1"
    ):
        text = f"記号・番号が変わりましたが、前の記号・番号に家族が{left}人残ります。家族の行も同じファイルに入れてください"
        findings.warning(line, title("number"), number, text)


def _check_incomplete(made: Plan, findings: Findings) -> None:
    """Where the file lacks a date of the certificate, it must be stored already."""
    for name in {"issued_on", "expires_on"} & made.roster.kept:
        for (line,) in made.rows(
            "SELECT s.line FROM staged s LEFT JOIN hit h ON h.line = s.line LEFT JOIN member m ON m.id = h.id"
            f" WHERE s.delivery <> 'none' AND m.{name} IS NULL ORDER BY 1"
        ):
            text = "この列がなく、登録もありません。資格確認書を交付する人には日付が必要です"
            findings.error(line, made.roster.title(name), "", text)


def _end_missing(made: Plan) -> None:
    made.work.execute(
        "INSERT INTO ending SELECT id FROM member WHERE (lost_on IS NULL OR lost_on > ?) AND id NOT IN (SELECT id FROM hit)",
        (made.today.isoformat(),),
    )
    made.ended = made.one("SELECT count(*) FROM ending")


def _guard(made: Plan, findings: Findings, allow_ending: int | None, allow_changes: int | None) -> None:
    """Refuse what a damaged file does to many people at once, unless the clerk names the number."""
    running = made.one("SELECT count(*) FROM member WHERE lost_on IS NULL OR lost_on > ?", made.today.isoformat())
    if made.ended > SHARE * running and made.ended != allow_ending:
        findings.refuse(
            f"ファイルにいない{made.ended}人の資格が今日で終わります（{running}人の5%を超えます）。"
            f"正しければ --allow-ending {made.ended} を付けてもう一度実行してください。"
        )
    if not set(made.fields) & set(SENSITIVE):
        return
    tests = " OR ".join(f"s.{name} IS NOT m.{name}" for name in SENSITIVE)
    altered = made.one(
        f"SELECT count(*) FROM changed c JOIN staged s ON s.line = c.line JOIN member m ON m.id = c.id WHERE {tests}"
    )
    if altered > SHARE * made.stored and altered != allow_changes:
        findings.refuse(
            f"{altered}人の生年月日・氏名・性別が変わります（{made.stored}人の5%を超えます）。列だけを並べ替えていないか確かめ、"
            f"正しければ --allow-changes {altered} を付けてもう一度実行してください。"
        )


def prepare(made: Plan, keys: Keys) -> None:
    """Give the new people their ids, after all that were ever used, and those who need one a login. Nothing is stored yet."""
    work = made.work
    top = made.one("SELECT max(coalesce((SELECT max(id) FROM member), 0), coalesce((SELECT max(member) FROM audit), 0))")
    people = work.execute(
        "SELECT line, ? + line, TRUE, withheld IS NOT 1 FROM staged WHERE line NOT IN (SELECT line FROM hit)"
        " UNION ALL SELECT value ->> 0, value ->> 1, FALSE, TRUE FROM json_each(?)",
        (top, json.dumps([[line, member] for member, line in made.lifted])),
    )
    keyed = "INSERT INTO keyed VALUES (?1, ?2, CASE WHEN ?3 THEN ?5 END, CASE WHEN ?4 THEN ?6 END, ?7, ?8)"
    work.execute("BEGIN")
    for drawn in keyring.logins(made.added + len(made.lifted), keys):
        work.executemany(
            keyed,
            (who + login for who, login in zip(people.fetchmany(len(drawn[0])), zip(*drawn, strict=True), strict=True)),
        )
    while again := made.rows("SELECT line FROM keyed WHERE login_id IN (SELECT login_id FROM account)"):
        fresh = zip(login_ids(len(again)), (line for (line,) in again), strict=True)
        work.executemany("UPDATE keyed SET login_id = ? WHERE line = ?", fresh)
    work.execute("COMMIT")


def added(made: Plan) -> stores.Added:
    """The rows of new people and of new logins."""
    names = [n for n in FIELDS if n != "withheld"]
    return [
        (
            "member",
            f"id, public_id, {', '.join(names)}, withheld, shows_children",
            f"SELECT k.id, k.public_id, {', '.join(f's.{n}' for n in names)}, coalesce(s.withheld, 0), 0"
            " FROM keyed k JOIN staged s ON s.line = k.line WHERE k.public_id IS NOT NULL ORDER BY k.line",
        ),
        (
            "account",
            "member_id, login_id, temporary_hash",
            "SELECT id, login_id, temporary_hash FROM keyed WHERE login_id IS NOT NULL ORDER BY line",
        ),
    ]


def statements(made: Plan, now: float) -> stores.Statements:
    """What applies the rest of the plan, in the order of execution. Both databases understand it."""
    done: stores.Statements = []
    if made.changed:
        fields = [n for n in made.fields if n != "withheld"]
        if {"insurer_number", "symbol", "number"} & set(fields):
            fields.append("household")
        sets = [f"{name} = c.{name}" for name in fields]
        if "withheld" in made.fields:
            sets.append("withheld = coalesce(c.withheld, member.withheld)")
        if "household" in fields:  # what the subscriber of one household allowed does not hold in another
            sets.append("shows_children = (c.household = member.household AND member.shows_children)")
        done.append((f"UPDATE member SET {', '.join(sets)} FROM changing c WHERE member.id = c.id", ()))
    if made.ended:
        done.append(("UPDATE member SET lost_on = {} WHERE id IN (SELECT id FROM ending)", (made.today.isoformat(),)))
    if made.hidden:
        done.append(("DELETE FROM account WHERE member_id IN (SELECT id FROM changing WHERE withheld)", ()))
    counts = made.added, made.changed, made.ended, made.unchanged
    note = "INSERT INTO audit (at, action, member, detail) VALUES ({}, {}, {}, {})"
    done.append((note, (int(now), "roster.imported", None, "added={} changed={} ended={} unchanged={}".format(*counts))))
    for action, people in (("member.withheld", made.hidden), ("member.lifted", made.lifted)):
        done += [(note, (int(now), action, member, "roster")) for member, _ in people]
    done.append(
        ("INSERT INTO roster_import (at, added, changed, ended, unchanged) VALUES ({}, {}, {}, {}, {})", (int(now), *counts))
    )
    return done


def apply(made: Plan, keys: Keys, letters: Letters | None, now: float) -> None:
    """Store the plan in one transaction, the letters on the disk before its commit and named after.

    They are written by another thread meanwhile: nearly all the time of both is spent in SQLite, where they run at once.
    """
    try:
        prepare(made, keys)
        with ThreadPoolExecutor(1) as other:
            written = other.submit(write_letters, made, letters) if letters else None
            last = written.result if written else lambda: None
            stores.execute(made.work, added(made), statements(made, now), last)
    except BaseException:
        if letters:
            letters.discard()
        raise
    if letters:
        letters.publish()
