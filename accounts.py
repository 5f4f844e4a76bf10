"""Logins: passwords, sessions, trusted phones, registration, and their end. Knows no Flask."""

from __future__ import annotations

import datetime as dt
import hashlib
import re
import secrets
import threading
import unicodedata
from collections.abc import Iterable

import jaconv
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError
from itsdangerous import BadData
from peewee import IntegrityError
from zxcvbn import zxcvbn

from codes import Keys, fold
from eras import BadDate, era_years, parse_date
from models import SESSION_LIFE, Account, Audit, Challenge, Counter, Mail, Member, Session, Stale, Trust, transaction

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
    return text if fits and len(text) <= 254 and not text.startswith("-") else None


def mask(address: str) -> str:
    """The address as a page shows it: h***@docomo.ne.jp."""
    return f"{address[:1]}***@{address.rpartition('@')[2]}"


SERVICE_WORDS = ("kakunin", "kenpo", "kenko", "hoken", "hokensho", "shikaku", "mynumber", "password", "welcome", "login")
"""What a member types into a password because of where they are."""


def password_fault(password: str, account: Account, context: Iterable[str] = ()) -> str | None:
    """Return why this cannot be the member's own password: `short`, `long` or `weak`; None if it can.

    `context` holds words that everybody knows here, such as the insurer's name. Source: ASVS 5.0, 6.2.
    """
    if len(password) < PASSWORD_MIN:
        return "short"
    if len(password) > PASSWORD_MAX:
        return "long"
    if any(unicodedata.category(c) in ("Cc", "Cs") for c in password):
        return "long"
    known = _known_words(account, context)
    rest = _spelling(password)
    for word in sorted(known, key=len, reverse=True):
        rest = rest.replace(word, "").replace(word[::-1], "")
    if rest != _spelling(password):  # beside a known word, a year or 12345 adds nothing
        rest = re.sub(r"(?<!\d)\d{1,5}(?!\d)", "", rest)
    if len(rest) < 4:
        return "weak"
    return "weak" if zxcvbn(password[:72], user_inputs=sorted(known))["guesses"] < GUESSES_MIN else None


def _known_words(account: Account, context: Iterable[str]) -> set[str]:
    """Return what others know of this person and this service, in the spelling of `_spelling`."""
    member, born = account.member, account.member.birth_date
    words = [account.login_id, account.login_id[1:], member.number, (account.email or "").partition("@")[0]]
    words += [member.name, member.kana, *re.split(r"\s+", f"{member.name} {member.kana}"), *SERVICE_WORDS, *context]
    words += [born.strftime(form) for form in ("%Y%m%d", "%y%m%d", "%m%d%Y", "%d%m%Y", "%Y", "%m%d")]
    words += [f"{born.year}{form}" for form in _month_and_day(born)]
    words += [prefix + form for prefix, year in era_years(born) for form in (year, *map(year.__add__, _month_and_day(born)))]
    return {word for word in map(_spelling, words) if len(word) >= 3}


def _month_and_day(day: dt.date) -> tuple[str, ...]:
    return f"{day.month:02}{day.day:02}", f"{day.month}{day.day}", f"年{day.month}月{day.day}日"


_PAIRS = "SHI SI, CHI TI, TSU TU, JI ZI, SH SY, CH TY, J ZY, FU HU, MB NB, MP NP, OU O, OO O, OH(?![AEIOUY]) O, UU U"
_ALIKE = [pair.split() for pair in _PAIRS.split(", ")]


def _spelling(text: str) -> str:
    """Return letters and digits alone, kana as Latin letters, and what romanisations spell differently spelled one way."""
    latin = jaconv.kata2alphabet(jaconv.hira2kata(unicodedata.normalize("NFKC", text)))
    plain = "".join(c for c in unicodedata.normalize("NFKD", latin) if not unicodedata.combining(c))
    plain = re.sub(r"[\W_]", "", plain).upper()
    for one, other in _ALIKE:
        plain = re.sub(one, other, plain)
    return plain


def hash_password(password: str) -> str:
    with _hashing:
        return HASHER.hash(password)


def _verify(stored: str | None, password: str) -> bool:
    """One argon2 verification, whatever there is to verify against."""
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
        renewed = hash_password(password)
        same = Account.member == account.member_id, Account.password_hash == account.password_hash
        if Account.update(password_hash=renewed).where(*same).execute():
            account.password_hash = renewed
    return own if account.password_hash else temporary


def parse_birth(typed: str) -> dt.date | None:
    """A day as people type it, in every form of the roster."""
    try:
        return parse_date(typed)
    except BadDate:
        return None


def finish_registration(challenge: Challenge, now: float) -> bool:
    """Make the address and password of first use the account's, since its code came, and end every other pending step.

    Return False if the address has become somebody else's meanwhile. Raise Stale if the letter's password is over.
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

    Return False if the address has become somebody else's meanwhile. Raise Stale if the password has changed.
    """
    old = challenge.account.email
    done = _settle(challenge, "account.email_changed", now)
    if done and old:
        queue("email_changed", challenge.account, old, now)
    return done


def _settle(challenge: Challenge, action: str, now: float, **changes: object) -> bool:
    email, account = challenge.email or "", challenge.account
    try:
        with transaction():
            account.hold()
            Account.update(email=email, email_key=email_key(email), **changes).where(
                Account.member == account.member_id
            ).execute()
            void_codes(account, now)
            note(now, action, account.member_id)
    except IntegrityError:
        return False
    return True


def email_owner(address: str, besides: Account) -> Account | None:
    """Whose the address is already, other than this account's."""
    taken = Account.email_key == email_key(address), Account.member != besides.member_id
    return Account.select().where(*taken).first()


def set_password(account: Account, password: str, now: float, action: str) -> None:
    """Set a new password, end every session, trust and code, and tell the owner by mail.

    Raise Stale if the password is no longer the one that `account` was read with: of two at once, one counts.
    """
    hashed = hash_password(password)
    with transaction():
        account.hold()
        Account.update(password_hash=hashed, temporary_hash=None).where(Account.member == account.member_id).execute()
        end_everything(account, now)
        note(now, action, account.member_id)
        if account.email:
            queue("password_changed", account, account.email, now)


def end_everything(account: Account, now: float) -> None:
    """End every session and trust of the account, and void its codes."""
    Session.update(ended_at=int(now)).where(Session.account == account.member_id, Session.ended_at.is_null()).execute()
    Trust.delete().where(Trust.account == account.member_id).execute()
    void_codes(account, now)


def void_codes(account: Account, now: float) -> None:
    """Void every code of the account that is still open."""
    unused = Challenge.account == account.member_id, Challenge.used_at.is_null()
    Challenge.update(used_at=int(now)).where(*unused).execute()


def start_session(account: Account, device: str, now: float, trust: Trust | None = None, trust_until: float = 0) -> Session:
    """Start a session, whose id is what the browser's signed cookie names. A trust of this phone then ends at `trust_until`.

    Raise Stale if the password has changed since `account` was read, or if the trust is over.
    """
    moment = int(now)
    with transaction():
        account.hold()
        if trust and not Trust.update(expires_at=int(trust_until)).where(Trust.id == trust.id).execute():
            raise Stale
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


def trust_phone(account: Account, device: str, now: float) -> tuple[Trust, str]:
    """Trust this phone, and return the trust and what its cookie holds. Only a hash of the latter is kept.

    Its end is set by the session that starts with it.
    """
    secret, moment = secrets.token_urlsafe(32), int(now)
    with transaction():
        account.hold()
        trust = Trust.create(id=_trust_id(secret), account=account, created_at=moment, expires_at=moment, device=device[:60])
        note(now, "trust.given", account.member_id)
    return trust, secret


def trusted(secret: str, now: float, account: Account | None = None) -> Trust | None:
    """Return the trust that this cookie proves, if it still counts; with `account`, only if it is that one's."""
    if not secret:
        return None
    fits = [Trust.id == _trust_id(secret), Trust.expires_at > int(now)]
    fits += [Trust.account == account.member_id] if account else []
    return Trust.select(Trust, Account).join(Account).where(*fits).first()


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
    """Delete the web accounts of people who turned withheld: with them go sessions, trusts, codes, and the address."""
    Account.delete().where(Account.member.in_(list(member_ids))).execute()


def queue(kind: str, account: Account | None, address: str, now: float) -> Mail:
    """Have a mail sent, off the request's path."""
    return Mail.create(kind=kind, account=account, address=address, created_at=int(now), due_at=int(now))


def note(now: float, action: str, actor: int | None, member: int | None = None, detail: str = "") -> None:
    """Write one line of the audit trail."""
    Audit.create(at=int(now), action=action, actor=actor, member=member or actor, detail=detail)


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


RESET_LIFE = 30 * 60


def ask_reset(login_id: str, address: str, now: float) -> None:
    """Queue a reset mail if the address is that of the account with this ID.

    The work is the same if it is not: a mail is queued, and deleted before anybody else can see it.
    """
    account = find(login_id)
    fits = account is not None and account.password_hash and account.email_key == email_key(address)
    with transaction():
        mail = queue("reset", account, address, now)
        if not fits:
            mail.delete_instance()
        note(now, "reset.asked", None, account.member_id if account else None)


def reset_token(account: Account, keys: Keys) -> str:
    """Return what a reset mail's link holds. It is bound to the password and address that it was made for."""
    return keys.links("reset").dumps([account.member.public_id, account.mark])


def read_reset_token(token: str, keys: Keys) -> Account | None:
    """Return the account that a reset link is for while it is good: 30 minutes, and no longer than the password it replaces."""
    try:
        public_id, mark = keys.links("reset").loads(token, max_age=RESET_LIFE)
    except (BadData, ValueError, TypeError):
        return None
    return proven(public_id, mark)


def proven(public_id: str, mark: str) -> Account | None:
    """Return the member's account if it still has the password and the address that this mark was made of."""
    if not (isinstance(public_id, str) and isinstance(mark, str)):
        return None
    account = Account.select(Account, Member).join(Member).where(Member.public_id == public_id).first()
    return account if account is not None and secrets.compare_digest(mark.encode(), account.mark.encode()) else None


BROWSER_MARKS = 5
"""Different people's logins that one browser remembers."""


def browser(cookie: str, login_id: str, keys: Keys) -> str | None:
    """Return the name under which this browser's tries at an ID are counted; None if no login with it ever finished here."""
    own, *marks = cookie.split(".")
    text = f"{own}\n{login_id}"
    known = any([keys.signer("browser").verify_signature(text, mark.encode()) for mark in marks[:BROWSER_MARKS]])
    return text if known else None


def remember_browser(cookie: str, login_id: str, keys: Keys) -> str:
    """Return what the browser keeps from a login that finished. It grants nothing, and names nobody: it holds signatures."""
    own, *marks = cookie.split(".") if re.fullmatch(r"[\w.-]{22,400}", cookie, re.ASCII) else [secrets.token_urlsafe(16)]
    mark = keys.signer("browser").get_signature(f"{own}\n{login_id}").decode()
    return ".".join([own, *[mark, *(other for other in marks if other != mark)][:BROWSER_MARKS]])
