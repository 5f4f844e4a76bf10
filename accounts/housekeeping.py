"""What is over is deleted."""

from __future__ import annotations

from models import SESSION_LIFE, Audit, Challenge, Counter, Mail, Session, Trust


def sweep(now: float, audit_days: int) -> None:
    """Delete what is over: codes and counters after a day, mails after a week, expired trusts; the audit trail, and past
    sessions with their displays, after `audit_days` days."""
    moment, day = int(now), 86400
    Challenge.delete().where(Challenge.created_at < moment - day).execute()
    Counter.delete().where(Counter.since < moment - day, Counter.until < moment).execute()
    Mail.delete().where(Mail.created_at < moment - 7 * day).execute()
    Trust.delete().where(Trust.expires_at < moment).execute()
    Session.delete().where(Session.seen_at < moment - max(audit_days * day, SESSION_LIFE)).execute()
    Audit.delete().where(Audit.at < moment - audit_days * day).execute()
