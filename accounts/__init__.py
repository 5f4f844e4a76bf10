"""Accounts: look-up, e-mail addresses, registration, new passwords, and withdrawal. Nothing here
imports Flask."""

from __future__ import annotations

import contextlib
import re
import secrets
import unicodedata
from collections.abc import Iterable
from typing import Any

from itsdangerous import BadData
from peewee import IntegrityError, fn

from accounts import passwords, sessions
from accounts.keys import Keys, fold_typed
from database import transaction
from models import Account, Audit, Challenge, Mail, Member


def email_key(address: str) -> str:
    """Return the address folded for comparison. Addresses that differ only in case belong to one
    person."""
    return address.casefold()


def clean_email(typed: str) -> str | None:
    """Return the address as it is stored, or None if the text is not an address.

    Full-width characters are folded and spaces are dropped. Two dots in a row and a dot before the
    @ are accepted, because addresses of Japanese mobile carriers from earlier years have them. All
    letters must be ASCII, since a look-alike from another script would name a different mailbox.
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
    """Return the address as a page shows it, e.g. h***@docomo.ne.jp."""
    return f"{address[:1]}***@{address.rpartition('@')[2]}"


def find(login_id: str) -> Account | None:
    """Return the account with this login ID, as a person typed it, or None."""
    return (
        Account.select(Account, Member)
        .join(Member)
        .where(Account.login_id == fold_typed(login_id)[:64])
        .first()
    )


def finish_registration(challenge: Challenge, now: float) -> bool:
    """Give the account the address and password that were entered on first use, void its other
    codes, and queue a mail that keeps the login ID for its owner. If a reissue has kept an address,
    and this is another, tell the owner there, too.

    Call it when the code was right. Return False if another account has taken the address in the
    meantime. Raise Stale if the temporary password is no longer in force.
    """
    return _settle(
        challenge,
        "account.registered",
        now,
        tell={"registered": challenge.email, "email_changed": _former(challenge)},
        temporary_hash=None,
        password_hash=challenge.password_hash,
        registered_at=int(now),
    )


def finish_email(challenge: Challenge, now: float) -> bool:
    """Give the account its new address, and queue a notice to the old one.

    Call it when the code was right. Return False if another account has taken the address in the
    meantime. Raise Stale if the password has changed.
    """
    tell = {"email_changed": challenge.account.email}
    return _settle(challenge, "account.email_changed", now, tell=tell)


def _former(challenge: Challenge) -> str | None:
    """Return the account's present address if the challenge's is another, or None."""
    same = challenge.account.email_key == email_key(challenge.email or "")
    return None if same else challenge.account.email


def _settle(
    challenge: Challenge, action: str, now: float, *, tell: dict[str, str | None], **changes: object
) -> bool:
    """Store what the challenge has proven, and queue the mails that say so: by their kind, the
    address that each goes to, if there is one. Return whether the address was still free."""
    email, account = challenge.email or "", challenge.account
    try:
        with transaction():
            account.hold()
            Account.update(email=email, email_key=email_key(email), **changes).where(
                Account.member == account.member_id
            ).execute()
            sessions.void_codes(account, now)
            Audit.note(now, action, account.member_id)
            for kind, address in tell.items():
                if address:
                    Mail.queue(kind, account, address, now)
    except IntegrityError:
        return False
    return True


def email_owner(address: str, besides: Account) -> Account | None:
    """Return the other account that uses this address, or None."""
    taken = Account.email_key == email_key(address), Account.member != besides.member_id
    return Account.select().where(*taken).first()


def set_password(account: Account, password: str, now: float, action: str) -> None:
    """Set a new password, end every session, trust and code, and queue a notice to the owner.

    Raise Stale if the password has changed since `account` was read, so of two changes at once only
    one succeeds.
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
    """Delete the accounts of members who are now withheld, with their sessions, trusts and codes.

    Other accounts may use their addresses from then on. Mails to them that still wait are deleted.
    """
    theirs = Account.member.in_(list(member_ids))
    drop_mails(theirs)
    Account.delete().where(theirs).execute()


def drop_mails(whose: Any, *, address_too: bool = True) -> None:
    """Delete the waiting mails of the accounts that `whose`, a clause on Account, selects.

    With `address_too`, also delete other accounts' mails to their addresses, e.g. the notice that
    an address is taken.
    """
    drop = Mail.account.in_(Account.select(Account.member).where(whose))
    if address_too:
        drop |= fn.lower(Mail.address).in_(Account.select(Account.email_key).where(whose))
    Mail.delete().where(Mail.state == "waiting", drop).execute()


RESET_LIFE = 30 * 60


def ask_reset(login_id: str, address: str, now: float) -> None:
    """Queue a reset mail if the account with this ID has this address.

    If it does not, the mail is queued and deleted within one transaction, so that both cases do the
    same work. Do nothing if the account is deleted meanwhile.
    """
    account = find(login_id)
    fits = account is not None and account.password_hash and account.email_key == email_key(address)
    with contextlib.suppress(IntegrityError), transaction():
        mail = Mail.queue("reset", account, address, now)
        if not fits:
            mail.delete_instance()
        Audit.note(now, "reset.asked", None, account.member_id if account else None)


def reset_token(account: Account, keys: Keys) -> str:
    """Return the token for the link in a reset mail. It is bound to the account's present password
    and address."""
    return keys.links("reset").dumps([account.member.public_id, account.mark])


def read_reset_token(token: str, keys: Keys) -> Account | None:
    """Return the account that this token resets, or None if the token is not valid.

    A token is valid for 30 minutes, and only until the password or the address changes.
    """
    try:
        public_id, mark = keys.links("reset").loads(token, max_age=RESET_LIFE)
    except (BadData, ValueError, TypeError):
        return None
    return proven(public_id, mark)


def proven(public_id: str, mark: str) -> Account | None:
    """Return the member's account if `mark` is still its Account.mark, i.e. its password and
    address are unchanged; else None."""
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
