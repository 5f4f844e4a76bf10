"""Apply a plan: all of it or nothing, in one transaction that writes only the rows that change."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from itertools import starmap

from accounts.keys import Keys, login_ids
from imports import credentials, workspace
from imports.letters import Letters, write_letters
from imports.plan import Plan
from roster.columns import FIELDS


def prepare(plan: Plan, keys: Keys) -> None:
    """Give the new people ids above all that were ever used, and a login to those who need one.
    Nothing is stored yet."""
    work = plan.work
    top = plan.one(
        "SELECT max(coalesce((SELECT max(id) FROM member), 0), coalesce((SELECT max(member) FROM audit), 0))"
    )
    people = work.execute(
        "SELECT line, ? + line, TRUE, withheld IS NOT 1 FROM staged WHERE line NOT IN (SELECT line FROM hit)"
        " UNION ALL SELECT value ->> 0, value ->> 1, FALSE, TRUE FROM json_each(?)",
        (top, json.dumps([[line, member] for member, line in plan.lifted])),
    )
    keyed = "INSERT INTO keyed VALUES (?1, ?2, CASE WHEN ?3 THEN ?5 END, CASE WHEN ?4 THEN ?6 END, ?7, ?8)"
    work.execute("BEGIN")
    for drawn in credentials.logins(plan.added + len(plan.lifted), keys):
        who = people.fetchmany(len(drawn[0]))
        both = zip(who, zip(*drawn, strict=True), strict=True)
        work.executemany(keyed, starmap(tuple.__add__, both))
    while again := plan.rows(
        "SELECT line FROM keyed WHERE login_id IN (SELECT login_id FROM account)"
    ):
        fresh = zip(login_ids(len(again)), (line for (line,) in again), strict=True)
        work.executemany("UPDATE keyed SET login_id = ? WHERE line = ?", fresh)
    work.execute("COMMIT")


def added(plan: Plan) -> workspace.Added:
    """Return the rows of new people and of new logins."""
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


def statements(plan: Plan, now: float) -> workspace.Statements:
    """Return the statements that apply the rest of the plan, in their order. Both databases
    understand them."""
    done: workspace.Statements = []
    if plan.changed:
        done.append((_change(plan), ()))
    if plan.ended:
        ending = "UPDATE member SET lost_on = {} WHERE id IN (SELECT id FROM ending)"
        done.append((ending, (plan.today.isoformat(),)))
    if plan.hidden or plan.replaced:
        done += [(sql, ()) for sql in LEAVE]
    if plan.mails:
        # notices that still wait are no longer true
        stale = "DELETE FROM mail WHERE state = 'paced' AND account_id IN (SELECT id FROM turned)"
        done.append((stale, ()))
    if plan.mails and plan.tells:
        done.append((TELL, (int(now), int(now))))
    return done + _notes(plan, int(now))


def _change(plan: Plan) -> str:
    fields = [name for name in plan.fields if name != "withheld"]
    if {"insurer_number", "symbol", "number"} & set(fields):
        fields.append("household")
    sets = [f"{name} = c.{name}" for name in fields]
    if "withheld" in plan.fields:
        sets.append("withheld = coalesce(c.withheld, member.withheld)")
    # a permission given by the subscriber of one household does not count in another
    if "household" in fields:
        sets.append("shows_children = (c.household = member.household AND member.shows_children)")
    return f"UPDATE member SET {', '.join(sets)} FROM changing c WHERE member.id = c.id"


LEAVE = (
    "UPDATE member SET shows_children = FALSE, allowed_by = NULL WHERE allowed_by IN (SELECT id FROM leaving)",
    # mails to others, which say that the address is taken
    "DELETE FROM mail WHERE lower(address) IN"
    " (SELECT email_key FROM account WHERE member_id IN (SELECT id FROM leaving))",
    "DELETE FROM account WHERE member_id IN (SELECT id FROM leaving)",
)
"""Statements that delete the logins of people who become withheld or are replaced, and all that
depends on these logins."""
TELL = (
    "INSERT INTO mail (kind, account_id, address, state, attempts, created_at, due_at)"
    " SELECT 'turned_' || t.delivery, a.member_id, a.email, 'paced', 0, {}, {} FROM turned t"
    " JOIN account a ON a.member_id = t.id WHERE a.email IS NOT NULL AND a.password_hash IS NOT NULL"
)


def _notes(plan: Plan, moment: int) -> workspace.Statements:
    """Return the statements that record the import in the audit trail and in the table of
    imports."""
    counts = plan.added, plan.changed, plan.ended, plan.unchanged
    note = "INSERT INTO audit (at, action, member, detail) VALUES ({}, {}, {}, {})"
    told = "added={} changed={} ended={} unchanged={}".format(*counts)
    done: workspace.Statements = [(note, (moment, "roster.imported", None, told))]
    for action, people in (
        ("member.withheld", plan.hidden),
        ("member.lifted", plan.lifted),
        ("member.replaced", plan.rows("SELECT id, line FROM replaced")),
    ):
        done += [(note, (moment, action, member, "roster")) for member, _ in people]
    row = "INSERT INTO roster_import (at, added, changed, ended, unchanged) VALUES ({}, {}, {}, {}, {})"
    return [*done, (row, (moment, *counts))]


def apply(plan: Plan, keys: Keys, letters: Letters | None, now: float) -> None:
    """Store the plan in one transaction. The letters are on the disk before it commits, and get
    their name afterwards.

    Another thread writes the letters at the same time. Both threads spend nearly all of their time
    in SQLite, which runs them in parallel.
    """
    try:
        prepare(plan, keys)
        with ThreadPoolExecutor(1) as other:
            written = other.submit(write_letters, plan, letters) if letters else None
            last = written.result if written else lambda: None
            workspace.execute(plan.work, added(plan), statements(plan, now), last)
    except BaseException:
        if letters:
            letters.discard()
        raise
    if letters:
        letters.publish()
