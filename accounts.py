"""Logins: passwords, sessions, trusted phones, registration, and their end. Knows no Flask."""

from __future__ import annotations

import datetime as dt
import hashlib
import re
import secrets
import threading
import unicodedata
from collections.abc import Iterable
from typing import Any

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError
from itsdangerous import BadData
from peewee import IntegrityError, fn
from zxcvbn import zxcvbn

from codes import Keys, fold
from database import rest
from eras import BadDate, parse_date
from models import SESSION_LIFE, Account, Audit, Challenge, Counter, Mail, Member, Session, Trust, transaction

HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)  # OWASP's first choice for argon2id
_UNKNOWN = HASHER.hash(secrets.token_hex(16))
_hashing = threading.BoundedSemaphore(4)
"""19 MiB and 25 ms each: more at once than there are cores only costs memory."""

PASSWORD_MIN, PASSWORD_MAX = 10, 128
GUESSES_MIN = 10**6
"""A password that zxcvbn guesses sooner is refused: the common ones, and what is made of the ID, the name, the birth date."""


def email_key(address: str) -> str:
    """The address as it is compared: it belongs to one person, whatever capitals it is typed with."""
    return address.casefold()


def clean_email(typed: str) -> str | None:
    """The address as it is kept, or None where it cannot be one.

    Width and spaces are folded. Old carriers' addresses with two dots, or one before the @, are real and accepted.
    The letters are ASCII: a look-alike from another script would name a different mailbox.
    """
    text = re.sub(r"\s", "", unicodedata.normalize("NFKC", typed))
    fits = re.fullmatch(
        r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@((?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z]{2,63})", text
    )
    return text if fits and len(text) <= 254 and not text.startswith("-") and "=?" not in text else None


def mask(address: str) -> str:
    """The address as a page shows it: h***@docomo.ne.jp."""
    return f"{address[:1]}***@{address.rpartition('@')[2]}"


def password_fault(password: str, account: Account) -> str | None:
    """Why this cannot be the member's own password: `short`, `long`, `weak`; None where it can."""
    if len(password) < PASSWORD_MIN:
        return "short"
    if len(password) > PASSWORD_MAX:
        return "long"
    if any(unicodedata.category(c) in ("Cc", "Cs") for c in password):
        return "long"
    own = _own_words(account)
    rest = fold(password)
    for word in sorted(own, key=len, reverse=True):
        rest = rest.replace(word, "")
    if len(rest) < 4:
        return "weak"
    return "weak" if zxcvbn(password[:72], user_inputs=sorted(own))["guesses"] < GUESSES_MIN else None


def _own_words(account: Account) -> set[str]:
    """What others know of this person, as it could stand in a password: ID, names in every writing, days, address."""
    member, born = account.member, account.member.birth_date
    names = [part for text in (member.name, member.kana) for part in re.split(r"\s+", text)]
    words = [account.login_id, account.login_id[1:], member.number, (account.email or "").partition("@")[0], *names]
    words += [born.strftime(form) for form in ("%Y%m%d", "%y%m%d", "%m%d%Y", "%d%m%Y", "%Y", "%m%d")]
    words += [writing for name in names for writing in _romaji(name)]
    return {fold(word) for word in words if len(word) >= 3}


_HEPBURN = [pair.split() for pair in ("HU FU", "SY SH", "TY CH", "ZY J", "SI SHI", "TI CHI", "TU TSU", "ZI JI")]


def _romaji(kana: str) -> list[str]:
    """A katakana name in Latin letters, by Kunrei, which is how Unicode names the letters, and by Hepburn."""
    letters = [unicodedata.name(letter, "").rpartition(" ")[::2] for letter in unicodedata.normalize("NFKC", kana)]
    text = ""
    for kind, sound in letters:
        if not kind.startswith("KATAKANA LETTER"):
            continue
        small_y = kind.endswith("SMALL") and sound.startswith("Y")
        text = text[:-1] + sound if small_y else text + ("" if kind.endswith("SMALL") else sound)
    hepburn = text
    for kunrei, other in _HEPBURN:
        hepburn = hepburn.replace(kunrei, other)
    return [text, hepburn] if text else []


def hash_password(password: str) -> str:
    """Return the argon2id hash of a password. No connection to the database is held meanwhile."""
    rest()
    with _hashing:
        return HASHER.hash(password)


def _verify(stored: str | None, password: str) -> bool:
    """One argon2 verification, whatever there is to verify against. No connection to the database is held meanwhile."""
    rest()
    with _hashing:
        try:
            return HASHER.verify(stored or _UNKNOWN, password[: PASSWORD_MAX * 4]) and stored is not None
        except (VerifyMismatchError, InvalidHashError):
            return False


def find(login_id: str) -> Account | None:
    """The account of an ID as people type it."""
    return Account.select(Account, Member).join(Member).where(Account.login_id == fold(login_id)[:64]).first()


def authenticate(account: Account | None, password: str, keys: Keys) -> bool:
    """Whether the password is right: the own one, or the letter's until the registration is finished.

    Exactly one argon2 verification, whichever kind the ID has and whether it exists or not.
    """
    own = _verify(account.password_hash if account else None, password)
    temporary = keys.fits_temporary(password[:64], account.temporary_hash if account else None)
    if account is None:
        return False
    if own and account.password_hash and HASHER.check_needs_rehash(account.password_hash):
        Account.update(password_hash=hash_password(password)).where(
            Account.member == account.member_id, Account.password_hash == account.password_hash
        ).execute()
    return own if account.password_hash else temporary


def parse_birth(typed: str) -> dt.date | None:
    """A day as people type it, in every form of the roster."""
    try:
        return parse_date(typed)
    except BadDate:
        return None


def finish_registration(challenge: Challenge, now: float) -> bool:
    """The code of first use came: address and password become the account's. False where the address went to another."""
    return _settle(
        challenge,
        "account.registered",
        now,
        temporary_hash=None,
        password_hash=challenge.password_hash,
        registered_at=int(now),
    )


def finish_email(challenge: Challenge, now: float) -> bool:
    """The code of a new address came: it counts from now on, and the old one is told."""
    old = challenge.account.email
    done = _settle(challenge, "account.email_changed", now)
    if done and old:
        queue("email_changed", challenge.account, old, now)
    return done


def _settle(challenge: Challenge, action: str, now: float, **changes: object) -> bool:
    email = challenge.email or ""
    try:
        with transaction():
            Account.update(email=email, email_key=email_key(email), **changes).where(
                Account.member == challenge.account_id
            ).execute()
            note(now, action, challenge.account_id)
    except IntegrityError:
        return False
    return True


def email_owner(address: str, besides: Account) -> Account | None:
    """Whose the address is already, other than this account's."""
    taken = Account.email_key == email_key(address), Account.member != besides.member_id
    return Account.select().where(*taken).first()


def set_password(account: Account, password: str, now: float, action: str) -> None:
    """A new password. It ends every session and every trust, and the owner is told by mail."""
    hashed = hash_password(password)
    with transaction():
        Account.update(password_hash=hashed, temporary_hash=None).where(Account.member == account.member_id).execute()
        end_everything(account, now)
        note(now, action, account.member_id)
        if account.email:
            queue("password_changed", account, account.email, now)


def end_everything(account: Account, now: float) -> None:
    """End every session and trust of the account, and void its codes."""
    moment = int(now)
    Session.update(ended_at=moment).where(Session.account == account.member_id, Session.ended_at.is_null()).execute()
    Trust.delete().where(Trust.account == account.member_id).execute()
    Challenge.update(used_at=moment).where(Challenge.account == account.member_id, Challenge.used_at.is_null()).execute()


def start_session(account: Account, device: str, now: float, trust: Trust | None = None) -> Session:
    """A new login. Its id is what the browser's signed cookie names."""
    moment = int(now)
    note(now, "login", account.member_id)
    return Session.create(
        id=secrets.token_urlsafe(16),
        account=account,
        trust=trust,
        trusted=trust is not None,
        created_at=moment,
        seen_at=moment,
        device=device[:60],
    )


def trust_phone(session: Session, days: int, now: float) -> str:
    """Trust the phone of this session for so many days. Returns what its cookie holds; only the hash is kept."""
    secret, moment = secrets.token_urlsafe(32), int(now)
    with transaction():
        trust = Trust.create(
            id=_trust_id(secret),
            account=session.account_id,
            created_at=moment,
            expires_at=moment + days * 86400,
            device=session.device,
        )
        Session.update(trust=trust, trusted=True).where(Session.id == session.id).execute()
        note(now, "trust.given", session.account_id)
    return secret


def trusted(account: Account | None, secret: str, now: float) -> Trust | None:
    """The trust that this cookie proves for this account, where it still counts."""
    if account is None or not secret:
        return None
    fits = Trust.id == _trust_id(secret), Trust.account == account.member_id, Trust.expires_at > int(now)
    return Trust.select().where(*fits).first()


def remove_trust(account: Account, trust_id: str, now: float) -> None:
    """Trust a phone no longer: its sessions end too."""
    with transaction():
        here = Session.trust == trust_id, Session.account == account.member_id, Session.ended_at.is_null()
        Session.update(ended_at=int(now)).where(*here).execute()
        Trust.delete().where(Trust.id == trust_id, Trust.account == account.member_id).execute()
        note(now, "trust.removed", account.member_id)


def _trust_id(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def withhold(member_ids: Iterable[int]) -> None:
    """Delete the web accounts of people who turned withheld, with their sessions, trusts and codes. Their addresses are free,
    and no mail goes there."""
    theirs = Account.member.in_(list(member_ids))
    drop_mails(theirs)
    Account.delete().where(theirs).execute()


def drop_mails(whose: Any, *, address_too: bool = True) -> None:
    """Delete the waiting mails of these accounts; with `address_too` also those of others to their addresses, e.g. the one that
    says that an address is taken. `whose` is a clause on Account."""
    drop = Mail.account.in_(Account.select(Account.member).where(whose))
    if address_too:
        drop |= fn.lower(Mail.address).in_(Account.select(Account.email_key).where(whose))
    Mail.delete().where(Mail.state == "waiting", drop).execute()


def queue(kind: str, account: Account | None, address: str, now: float) -> None:
    """Have a mail sent, off the request's path."""
    Mail.create(kind=kind, account=account, address=address, created_at=int(now), due_at=int(now))


def note(now: float, action: str, actor: int | None, member: int | None = None, detail: str = "") -> None:
    """Write one line of the audit trail."""
    Audit.create(at=int(now), action=action, actor=actor, member=member or actor, detail=detail)


NAMELESS = ("login.failed", "reset.asked")
"""What the trail notes without a member, where the ID typed is nobody's."""


def sweep(now: float, audit_days: int) -> None:
    """Delete what is over: codes and counters after a day, mails after a week, expired trusts; the audit trail, and past
    sessions with their displays, after `audit_days` days.

    Lines of the trail that name no member, as guesses at IDs that nobody has, go after a week: anybody can have as many of
    them written as they like. Only a month is searched for them, since the trail may hold millions.
    """
    moment, day = int(now), 86400
    Challenge.delete().where(Challenge.created_at < moment - day).execute()
    Counter.delete().where(Counter.since < moment - day, Counter.until < moment).execute()
    Mail.delete().where(Mail.created_at < moment - 7 * day).execute()
    Trust.delete().where(Trust.expires_at < moment).execute()
    Session.delete().where(Session.seen_at < moment - max(audit_days * day, SESSION_LIFE)).execute()
    Audit.delete().where(Audit.at < moment - audit_days * day).execute()
    nobody = Audit.member.is_null(), Audit.action.in_(NAMELESS)
    Audit.delete().where(Audit.at.between(moment - 37 * day, moment - 7 * day - 1), *nobody).execute()


RESET_LIFE = 30 * 60


def reset_token(account: Account, keys: Keys) -> str:
    """What a reset mail's link holds: good once, since it is bound to the password and address that it was made for."""
    return keys.links("reset").dumps([account.member_id, _reset_mark(account)])


def read_reset_token(token: str, keys: Keys) -> Account | None:
    """The account that a reset link is for, while it is good: 30 minutes, and no longer than the password it replaces."""
    try:
        member, mark = keys.links("reset").loads(token, max_age=RESET_LIFE)
    except (BadData, ValueError, TypeError):
        return None
    account = Account.select(Account, Member).join(Member).where(Account.member == member).first()
    return account if account is not None and secrets.compare_digest(mark, _reset_mark(account)) else None


def _reset_mark(account: Account) -> str:
    return hashlib.sha256(f"{account.password_hash}\n{account.email_key}".encode()).hexdigest()[:24]
