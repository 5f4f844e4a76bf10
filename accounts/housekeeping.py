"""Deletes what is over, paces the notices of imports, and tells how many threads send mail and how
old the roster is."""

from __future__ import annotations

from typing import Any

from peewee import fn

from models import SESSION_LIFE, Audit, Challenge, Counter, Mail, RosterImport, Session, Trust

NAMELESS = ("login.failed", "passkey.failed", "reset.asked")
"""Actions that the audit trail records without a member if the ID or the passkey that was used
belongs to nobody."""


PORTION = 5000
"""Rows that one statement deletes: it takes far less than database.SERVED_FOR, and whoever writes
waits for one portion."""


def _delete(table: Any, *which: Any) -> None:
    """Delete these rows of a table, portion by portion."""
    some = table.select(table._meta.primary_key).where(*which).limit(PORTION)
    while table.delete().where(table._meta.primary_key.in_(some)).execute() >= PORTION:
        pass


def sweep(now: float, audit_days: int) -> None:
    """Delete codes and counters after a day, mails after a week, notices of an import that wait for
    their turn after a month, and trusts when they expire.
    Delete the audit trail, and past sessions with their displays, after `audit_days` days.

    Entries in the trail that name no member, such as guesses at IDs that nobody has, are deleted
    after a week, because anybody can cause any number of them. Only the month before that week is
    searched for them, since the trail may hold millions of rows.
    """
    moment, day = int(now), 86400
    _delete(Challenge, Challenge.created_at < moment - day)
    _delete(Counter, Counter.since < moment - day, Counter.until < moment)
    old, too_old = Mail.created_at < moment - 7 * day, Mail.created_at < moment - 30 * day
    _delete(Mail, old, (Mail.state != "paced") | too_old)
    _delete(Trust, Trust.expires_at < moment)
    _delete(Session, Session.seen_at < moment - max(audit_days * day, SESSION_LIFE))
    _delete(Audit, Audit.at < moment - audit_days * day)
    nobody = Audit.member.is_null(), Audit.action.in_(NAMELESS)
    _delete(Audit, Audit.at.between(moment - 37 * day, moment - 7 * day - 1), *nobody)


BEAT = 60
"""Seconds between two notes of how many mail threads a process has."""


def beat(process: str, threads: int, now: float) -> None:
    """Note how many mail threads this process has, for `flask stats`, which runs in another."""
    row = {"id": f"mail.{process}", "count": threads, "since": int(now)}
    Counter.insert(row).on_conflict(
        conflict_target=[Counter.id], update={Counter.count: threads, Counter.since: int(now)}
    ).execute()


def mail_threads(now: float) -> int:
    """Return how many mail threads all processes had that noted theirs in the last three beats."""
    named = Counter.id.between("mail.", "mail.g")  # by the index of ids, which end in hex
    lately = Counter.since > int(now) - 3 * BEAT
    return Counter.select(fn.coalesce(fn.sum(Counter.count), 0)).where(named, lately).scalar()


def may_send(now: float, per_minute: int) -> bool:
    """Return whether one more notice may be sent now, and count it. Always True if `per_minute` is 0.

    All processes share one row, and spread a minute's notices over it: `count` of them since the
    moment `since`, which moves on after a minute.
    """
    if not per_minute:
        return True
    moment, row = int(now), Counter.id == "mail.pace"
    running = (Counter.since > moment - 60) & (Counter.since <= moment)
    spent = Counter.count * 60 >= (moment - Counter.since + 1) * per_minute
    if Counter.select().where(row, running, spent).exists():  # most ask in vain: they write nothing
        return False
    first = Counter.insert(id="mail.pace", count=0, since=moment)
    first.on_conflict_ignore().execute()
    if Counter.update(count=Counter.count + 1).where(row, running, ~spent).execute():
        return True
    return Counter.update(count=1, since=moment).where(row, ~running).execute() > 0


def roster_age(now: float) -> float | None:
    """Return the seconds since the last import; None before the first."""
    last = RosterImport.select(RosterImport.at).order_by(RosterImport.id.desc()).first()
    return None if last is None else now - last.at


def roster_is_old(now: float, days: int) -> bool:
    """Return whether the last import is more than `days` days ago, or none exists. Always False if
    `days` is 0."""
    age = roster_age(now)
    return days > 0 and (age is None or age > days * 86400)
