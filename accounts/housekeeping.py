"""What is over is deleted."""

from __future__ import annotations

from models import SESSION_LIFE, Audit, Challenge, Counter, Mail, Session, Trust

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
