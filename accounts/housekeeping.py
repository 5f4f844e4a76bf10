"""What is over is deleted, how many threads send mail, and how old the roster is."""

from __future__ import annotations

from peewee import fn

from models import SESSION_LIFE, Audit, Challenge, Counter, Mail, RosterImport, Session, Trust

NAMELESS = ("login.failed", "reset.asked")
"""What the trail notes without a member, where the ID typed is nobody's."""


def sweep(now: float, audit_days: int) -> None:
    """Delete what is over: codes and counters after a day, mails after a week, expired trusts; the
    audit trail, and past sessions with their displays, after `audit_days` days.

    Lines of the trail that name no member, as guesses at IDs that nobody has, go after a week:
    anybody can have as many of them written as they like. Only a month is searched for them, since
    the trail may hold millions.
    """
    moment, day = int(now), 86400
    Challenge.delete().where(Challenge.created_at < moment - day).execute()
    Counter.delete().where(Counter.since < moment - day, Counter.until < moment).execute()
    Mail.delete().where(Mail.created_at < moment - 7 * day).execute()
    Trust.delete().where(Trust.expires_at < moment).execute()
    Session.delete().where(Session.seen_at < moment - max(audit_days * day, SESSION_LIFE)).execute()
    Audit.delete().where(Audit.at < moment - audit_days * day).execute()
    nobody = Audit.member.is_null(), Audit.action.in_(NAMELESS)
    Audit.delete().where(
        Audit.at.between(moment - 37 * day, moment - 7 * day - 1), *nobody
    ).execute()


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


def roster_age(now: float) -> float | None:
    """Return the seconds since the last import; None before the first."""
    last = RosterImport.select(RosterImport.at).order_by(RosterImport.id.desc()).first()
    return None if last is None else now - last.at


def roster_is_old(now: float, days: int) -> bool:
    """Return whether the last import is more than `days` days ago, or none exists. Always False if
    `days` is 0."""
    age = roster_age(now)
    return days > 0 and (age is None or age > days * 86400)
