"""People's own passwords: which are taken, how they are kept, and whether one is right."""

from __future__ import annotations

import datetime as dt
import re
import secrets
import threading
import unicodedata
from collections.abc import Iterable

import jaconv
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError
from zxcvbn import zxcvbn

from accounts.keys import Keys
from database import rest
from dates import era_years
from models import Account

# OWASP's first choice for argon2id
HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
_UNKNOWN = HASHER.hash(secrets.token_hex(16))
_hashing = threading.BoundedSemaphore(4)
"""19 MiB and 25 ms each: more at once than there are cores only costs memory."""

_estimating = threading.BoundedSemaphore(1)
"""zxcvbn is pure Python: it holds the interpreter, and with it the clocks, for as long as it runs."""

PASSWORD_MIN, PASSWORD_MAX = 10, 128
ESTIMATED = 32
"""Characters of a password that zxcvbn sees."""
_ONE_OF_EACH = str.maketrans("@{[<!|$+", "4(((1157")
"""zxcvbn tries every way to read look-alike symbols as letters, 576 in all for 20 odd characters,
which took 1.4 s. With one symbol for each letter there are four, and 30 ms at most.
"""
GUESSES_MIN = 10**6
"""A password that zxcvbn guesses sooner is refused: the common ones, and what is made of the ID,
the name, the birth date."""


SERVICE_WORDS = (
    "kakunin",
    "kenpo",
    "kenko",
    "hoken",
    "hokensho",
    "shikaku",
    "mynumber",
    "password",
    "welcome",
    "login",
)
"""What a member types into a password because of where they are."""


def password_fault(password: str, account: Account, context: Iterable[str] = ()) -> str | None:
    """Return why this cannot be the member's own password: `short`, `long` or `weak`; None if it
    can.

    `context` holds words that everybody knows here, such as the insurer's name. Source: ASVS 5.0,
    6.2.
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
    with _estimating:
        return (
            "weak"
            if zxcvbn(password[:ESTIMATED].translate(_ONE_OF_EACH), user_inputs=sorted(known))[
                "guesses"
            ]
            < GUESSES_MIN
            else None
        )


def _known_words(account: Account, context: Iterable[str]) -> set[str]:
    """Return what others know of this person and this service, in the spelling of `_spelling`."""
    member, born = account.member, account.member.birth_date
    words = [
        account.login_id,
        account.login_id[1:],
        member.number,
        (account.email or "").partition("@")[0],
    ]
    words += [
        member.name,
        member.kana,
        *re.split(r"\s+", f"{member.name} {member.kana}"),
        *SERVICE_WORDS,
        *context,
    ]
    words += [
        born.strftime(form) for form in ("%Y%m%d", "%y%m%d", "%m%d%Y", "%d%m%Y", "%Y", "%m%d")
    ]
    words += [f"{born.year}{form}" for form in _month_and_day(born)]
    words += [
        prefix + form
        for prefix, year in era_years(born)
        for form in (year, *map(year.__add__, _month_and_day(born)))
    ]
    return {word for word in map(_spelling, words) if len(word) >= 3}


def _month_and_day(day: dt.date) -> tuple[str, ...]:
    return f"{day.month:02}{day.day:02}", f"{day.month}{day.day}", f"年{day.month}月{day.day}日"


_PAIRS = "SHI SI, CHI TI, TSU TU, JI ZI, SH SY, CH TY, J ZY, FU HU, MB NB, MP NP, OU O, OO O, OH(?![AEIOUY]) O, UU U"
_ALIKE = [pair.split() for pair in _PAIRS.split(", ")]


def _spelling(text: str) -> str:
    """Return letters and digits alone, kana as Latin letters, and what romanisations spell
    differently spelled one way."""
    latin = jaconv.kata2alphabet(jaconv.hira2kata(unicodedata.normalize("NFKC", text)))
    plain = "".join(c for c in unicodedata.normalize("NFKD", latin) if not unicodedata.combining(c))
    plain = re.sub(r"[\W_]", "", plain).upper()
    for one, other in _ALIKE:
        plain = re.sub(one, other, plain)
    return plain


def hash_password(password: str) -> str:
    """Return the argon2id hash of a password. No connection to the database is held meanwhile."""
    rest()
    with _hashing:
        return HASHER.hash(password)


def _verify(stored: str | None, password: str) -> bool:
    """Make one argon2 verification, whatever there is to verify against. No connection to the
    database is held meanwhile."""
    rest()
    with _hashing:
        try:
            return (
                HASHER.verify(stored or _UNKNOWN, password[: PASSWORD_MAX * 4])
                and stored is not None
            )
        except (VerifyMismatchError, InvalidHashError):
            return False


def authenticate(account: Account | None, password: str, keys: Keys) -> bool:
    """Return whether the password is right: the own one, or until the registration is finished the
    one of the letter.

    Make exactly one argon2 verification, whichever kind of password the ID has and whether or not
    the ID exists.
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
