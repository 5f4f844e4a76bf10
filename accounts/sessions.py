"""Sessions, trusted phones, and the cookie by which a browser is known after a finished login."""

from __future__ import annotations

import hashlib
import re
import secrets
from typing import Any

from accounts import passkeys
from accounts.keys import Keys
from database import transaction
from models import Account, Audit, Challenge, Passkey, Session, Stale, Trust


def end_everything(account: Account, now: float) -> None:
    """End every session of the account, delete its trusts and passkeys, and void its codes. Wait
    for what others are doing to the account, so that a login which has begun is ended, too."""
    account.lock()
    end(now, Session.account == account.member_id)
    Trust.delete().where(Trust.account == account.member_id).execute()
    Passkey.delete().where(Passkey.account == account.member_id).execute()
    void_codes(account, now)


def end(now: float, *which: Any) -> None:
    """End those of the sessions that have not ended yet."""
    Session.update(ended_at=int(now)).where(Session.ended_at.is_null(), *which).execute()


def running(account: Account, now: float) -> list[Session]:
    """Return the sessions of this account that still run, the one that was last used first."""
    mine = Session.account == account.member_id, Session.ended_at.is_null()
    found = Session.select().where(*mine).order_by(Session.seen_at.desc())
    return [session for session in found if session.runs_at(now)]


def trusted_phones(account: Account, now: float) -> list[Trust]:
    """Return the trusts of this account that have not expired, the newest first."""
    mine = Trust.account == account.member_id, Trust.expires_at > int(now)
    return list(Trust.select().where(*mine).order_by(Trust.created_at.desc()))


def void_codes(account: Account, now: float) -> None:
    """Void every code of the account that is still open."""
    unused = Challenge.account == account.member_id, Challenge.used_at.is_null()
    Challenge.update(used_at=int(now)).where(*unused).execute()


def start_session(
    account: Account,
    device: str,
    now: float,
    trust: Trust | None = None,
    trust_until: float = 0,
    proof: passkeys.Proof | None = None,
) -> Session:
    """Start a session and return it. Its id goes into the browser's signed cookie. If there is a
    `trust`, set its end to `trust_until`, in seconds since 1970.

    Raise Stale if the password has changed since `account` was read, or if the trust or the proven
    passkey has been removed.
    """
    moment = int(now)
    with transaction():
        account.hold()
        if (
            trust
            and not Trust.update(expires_at=int(trust_until)).where(Trust.id == trust.id).execute()
        ):
            raise Stale
        if proof:
            passkeys.use(proof, now)
        Audit.note(now, "login", account.member_id)
        return Session.create(
            id=secrets.token_urlsafe(16),
            account=account,
            trust=trust,
            passkey=proof.passkey.id if proof else None,
            trusted=trust is not None or proof is not None,
            created_at=moment,
            seen_at=moment,
            device=device[:60],
        )


def trust_phone(account: Account, device: str, now: float) -> tuple[Trust, str]:
    """Trust this phone. Return the trust and the secret for the phone's cookie, of which only a
    hash is stored.

    The trust has no lifetime yet: start_session sets its end.
    """
    secret, moment = secrets.token_urlsafe(32), int(now)
    with transaction():
        account.hold()
        trust = Trust.create(
            id=trust_id(secret),
            account=account,
            created_at=moment,
            expires_at=moment,
            device=device[:60],
        )
        Audit.note(now, "trust.given", account.member_id)
    return trust, secret


def trusted(secret: str, now: float) -> Trust | None:
    """Return the trust that the secret from this cookie proves, or None if it has expired or does
    not exist."""
    if not secret:
        return None
    fits = Trust.id == trust_id(secret), Trust.expires_at > int(now)
    return Trust.select(Trust, Account).join(Account).where(*fits).first()


def remove_trust(account: Account, trust_id: str, now: float) -> None:
    """Stop trusting a phone of this account, and end the phone's sessions."""
    with transaction():
        account.lock()  # a login which has begun is waited for, and ended
        end(now, Session.trust == trust_id, Session.account == account.member_id)
        Trust.delete().where(Trust.id == trust_id, Trust.account == account.member_id).execute()
        Audit.note(now, "trust.removed", account.member_id)


def remove_passkey(account: Account, passkey_id: str, now: float) -> None:
    """Delete a passkey of this account, and end the sessions that began with it."""
    with transaction():
        mine = Passkey.id == passkey_id, Passkey.account == account.member_id
        if Passkey.delete().where(*mine).execute():
            end(now, Session.passkey == passkey_id, Session.account == account.member_id)
            Audit.note(now, "passkey.removed", account.member_id)


def trust_id(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


BROWSER_MARKS = 5
"""Different people's logins that one browser remembers."""


def browser(cookie: str, login_id: str, keys: Keys) -> str | None:
    """Return the value under which this browser's tries at an ID are counted, or None if no login
    with this ID finished here."""
    own, *marks = cookie.split(".")
    text = f"{own}\n{login_id}"
    known = any(
        [
            keys.signer("browser").verify_signature(text, mark.encode())
            for mark in marks[:BROWSER_MARKS]
        ]
    )
    return text if known else None


def remember_browser(cookie: str, login_id: str, keys: Keys) -> str:
    """Return the cookie's new value after a finished login with this ID. It grants no access, and
    names nobody, since it consists of a random id and signatures.
    """
    own, *marks = (
        cookie.split(".")
        if re.fullmatch(r"[\w.-]{22,400}", cookie, re.ASCII)
        else [secrets.token_urlsafe(16)]
    )
    mark = keys.signer("browser").get_signature(f"{own}\n{login_id}").decode()
    return ".".join([own, *[mark, *(other for other in marks if other != mark)][:BROWSER_MARKS]])
