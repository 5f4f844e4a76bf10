"""Accounts: who has which, addresses, registration, new passwords, and their end. Knows no Flask."""

from __future__ import annotations

import re
import secrets
import unicodedata
from collections.abc import Iterable
from typing import Any

from itsdangerous import BadData
from peewee import IntegrityError, fn

from accounts import passwords, sessions
from accounts.keys import Keys, fold
from database import transaction
from models import Account, Audit, Challenge, Mail, Member


def email_key(address: str) -> str:
    """Return the address as it is compared. It belongs to one person, whatever capitals it is typed
    with."""
    return address.casefold()


def clean_email(typed: str) -> str | None:
    """Return the address as it is kept, or None if it cannot be one.

    Width and spaces are folded. Old carriers' addresses with two dots, or one before the @, are
    real and accepted. The letters are ASCII: a look-alike from another script would name a
    different mailbox.
    """
    text = re.sub(r"\s", "", unicodedata.normalize("NFKC", typed))
    fits = re.fullmatch(
        r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@((?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z]{2,63})",
        text,
    )
    return (
        text
        if fits and len(text) <= 254 and not text.startswith("-") and "=?" not in text
        else None
    )


def mask(address: str) -> str:
    """Return the address as a page shows it: h***@docomo.ne.jp."""
    return f"{address[:1]}***@{address.rpartition('@')[2]}"


def find(login_id: str) -> Account | None:
    """Return the account whose login ID this is, however people type it; None if there is none."""
    return (
        Account.select(Account, Member)
        .join(Member)
        .where(Account.login_id == fold(login_id)[:64])
        .first()
    )


def finish_registration(challenge: Challenge, now: float) -> bool:
    """Make the address and password of first use the account's, since its code came, and end every
    other pending step.

    Return False if the address has become somebody else's meanwhile. Raise Stale if the letter's
    password is over.
    """
    return _settle(
        challenge,
        "account.registered",
        now,
        temporary_hash=None,
        password_hash=challenge.password_hash,
        registered_at=int(now),
    )


def finish_email(challenge: Challenge, now: float) -> bool:
    """Make the new address the account's, since its code came, and tell the old one.

    Return False if the address has become somebody else's meanwhile. Raise Stale if the password
    has changed.
    """
    old = challenge.account.email
    done = _settle(challenge, "account.email_changed", now)
    if done and old:
        Mail.queue("email_changed", challenge.account, old, now)
    return done


def _settle(challenge: Challenge, action: str, now: float, **changes: object) -> bool:
    email, account = challenge.email or "", challenge.account
    try:
        with transaction():
            account.hold()
            Account.update(email=email, email_key=email_key(email), **changes).where(
                Account.member == account.member_id
            ).execute()
            sessions.void_codes(account, now)
            Audit.note(now, action, account.member_id)
    except IntegrityError:
        return False
    return True


def email_owner(address: str, besides: Account) -> Account | None:
    """Return another account that uses this address, or None."""
    taken = Account.email_key == email_key(address), Account.member != besides.member_id
    return Account.select().where(*taken).first()


def set_password(account: Account, password: str, now: float, action: str) -> None:
    """Set a new password, end every session, trust and code, and tell the owner by mail.

    Raise Stale if the password is no longer the one that `account` was read with: of two at once,
    one counts.
    """
    hashed = passwords.hash_password(password)
    with transaction():
        account.hold()
        Account.update(password_hash=hashed, temporary_hash=None).where(
            Account.member == account.member_id
        ).execute()
        sessions.end_everything(account, now)
        Audit.note(now, action, account.member_id)
        if account.email:
            Mail.queue("password_changed", account, account.email, now)


def withhold(member_ids: Iterable[int]) -> None:
    """Delete the web accounts of people who turned withheld, with their sessions, trusts and codes.
    Their addresses are free, and no mail goes there.
    """
    theirs = Account.member.in_(list(member_ids))
    drop_mails(theirs)
    Account.delete().where(theirs).execute()


def drop_mails(whose: Any, *, address_too: bool = True) -> None:
    """Delete the waiting mails of these accounts; with `address_too` also those of others to their
    addresses, e.g. the one that says that an address is taken. `whose` is a clause on Account.
    """
    drop = Mail.account.in_(Account.select(Account.member).where(whose))
    if address_too:
        drop |= fn.lower(Mail.address).in_(Account.select(Account.email_key).where(whose))
    Mail.delete().where(Mail.state == "waiting", drop).execute()


RESET_LIFE = 30 * 60


def ask_reset(login_id: str, address: str, now: float) -> None:
    """Queue a reset mail if the address is that of the account with this ID.

    The work is the same if it is not: a mail is queued, and deleted before anybody else can see it.
    """
    account = find(login_id)
    fits = account is not None and account.password_hash and account.email_key == email_key(address)
    with transaction():
        mail = Mail.queue("reset", account, address, now)
        if not fits:
            mail.delete_instance()
        Audit.note(now, "reset.asked", None, account.member_id if account else None)


def reset_token(account: Account, keys: Keys) -> str:
    """Return what a reset mail's link holds. It is bound to the password and address that it was
    made for."""
    return keys.links("reset").dumps([account.member.public_id, account.mark])


def read_reset_token(token: str, keys: Keys) -> Account | None:
    """Return the account that a reset link is for while it is good: 30 minutes, and no longer than
    the password it replaces."""
    try:
        public_id, mark = keys.links("reset").loads(token, max_age=RESET_LIFE)
    except (BadData, ValueError, TypeError):
        return None
    return proven(public_id, mark)


def proven(public_id: str, mark: str) -> Account | None:
    """Return the member's account if it still has the password and the address that this mark was
    made of."""
    if not (isinstance(public_id, str) and isinstance(mark, str)):
        return None
    account = (
        Account.select(Account, Member).join(Member).where(Member.public_id == public_id).first()
    )
    return (
        account
        if account is not None and secrets.compare_digest(mark.encode(), account.mark.encode())
        else None
    )
