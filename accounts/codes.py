"""One-time codes: sent, and taken.

Codes are HOTP (pyotp) under a secret derived from the server's key and the challenge's random id,
so nothing of them is stored.
"""

from __future__ import annotations

import secrets

from accounts.keys import Keys
from accounts.limits import TooMany
from database import transaction
from models import AHEAD, Account, Challenge, Mail

CODE_LIFE = 10 * 60
CODE_TRIES = 5
RESEND_AFTER = 60
CODES_AT_MOST, CODES_WITHIN = 5, 15 * 60


def send_code(
    account: Account,
    purpose: str,
    now: float,
    *,
    email: str | None = None,
    password_hash: str | None = None,
    decoy: bool = False,
) -> Challenge:
    """Make a new challenge for this member, void the ones before it, and queue its mail.

    With `decoy` the address belongs to somebody else: its owner is told instead, and no code will
    ever fit. Raise TooMany at the sixth within 15 minutes, and Stale if the password has changed
    since `account` was read.
    """
    moment = int(now)
    with transaction():
        account.hold()  # of many at once on PostgreSQL each sees the ones before it
        recent = list(
            Challenge.select(Challenge.created_at)
            .where(Challenge.account == account, Challenge.created_at > moment - CODES_WITHIN)
            .order_by(Challenge.created_at)
        )
        if len(recent) >= CODES_AT_MOST:
            raise TooMany(recent[-CODES_AT_MOST].created_at + CODES_WITHIN)
        unused = Challenge.account == account, Challenge.used_at.is_null()
        Challenge.update(used_at=moment).where(*unused).execute()
        challenge = Challenge.create(
            id=secrets.token_urlsafe(16),
            account=account,
            purpose=purpose,
            email=email,
            password_hash=password_hash,
            decoy=decoy,
            created_at=moment,
        )
        Mail.create(
            kind="taken" if decoy else "code",
            account=account,
            challenge=challenge,
            address=email or account.email,
            created_at=moment,
            due_at=moment,
        )
    return challenge


def take_code(challenge: Challenge, typed: str, keys: Keys, now: float) -> bool:
    """Return whether `typed` proves the challenge now. If so, the code is used up: of many who
    enter it at once, one gets in.

    The answer is the same False for a wrong, an expired, a used and a locked code. Each try counts
    before the code is looked at.
    """
    moment = int(now)
    open_now = (
        (Challenge.id == challenge.id)
        & Challenge.used_at.is_null()
        & (Challenge.tries < CODE_TRIES)
        & Challenge.created_at.between(moment - CODE_LIFE + 1, moment + AHEAD)
    )
    counted = Challenge.update(tries=Challenge.tries + 1).where(open_now).execute()
    fits = keys.fits_code(typed, challenge)
    if not counted or not fits or challenge.decoy:
        return False
    unused = (Challenge.id == challenge.id) & Challenge.used_at.is_null()
    return Challenge.update(used_at=moment, purpose="").where(unused).execute() == 1
