"""Send and check one-time codes.

A code is an HOTP (pyotp) whose secret is derived from the server's key and the challenge's random
id, so no code is stored.
"""

from __future__ import annotations

import secrets
from typing import Any

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
    """Create a challenge for this account, void its earlier ones, and queue the mail with the code.

    Pass `decoy` if the address belongs to another account. The mail then tells its owner so, and no
    code will ever be right. Raise TooMany at the sixth challenge within 15 minutes, and Stale if
    the password has changed since `account` was read.
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


def _open_at(challenge: Challenge, moment: int) -> Any:
    """Return the clause that finds the challenge if a code may be entered for it at that moment."""
    return (
        (Challenge.id == challenge.id)
        & Challenge.used_at.is_null()
        & (Challenge.tries < CODE_TRIES)
        & Challenge.created_at.between(moment - CODE_LIFE + 1, moment + AHEAD)
    )


def is_open(challenge: Challenge, now: float) -> bool:
    """Return whether the code can still be entered: it is not used up, tried too often or too old.

    It says nothing of the code itself, and the same of a decoy.
    """
    return bool(Challenge.select().where(_open_at(challenge, int(now))).exists())


def take_code(challenge: Challenge, typed: str, keys: Keys, now: float) -> bool:
    """Return whether `typed` is the right code for an open challenge. A right code is used up, and
    can be used only once.

    Return False alike if the code is wrong, expired or used, or if five tries have been made. Each
    try is counted before the code is compared.
    """
    moment = int(now)
    open_now = _open_at(challenge, moment)
    counted = Challenge.update(tries=Challenge.tries + 1).where(open_now).execute()
    fits = keys.fits_code(typed, challenge)
    if not counted or not fits or challenge.decoy:
        return False
    unused = (Challenge.id == challenge.id) & Challenge.used_at.is_null()
    return Challenge.update(used_at=moment, purpose="").where(unused).execute() == 1
