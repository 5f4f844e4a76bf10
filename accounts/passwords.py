"""Members' own passwords: which ones are accepted, how they are stored, and how one is checked."""

from __future__ import annotations

import datetime as dt
import re
import secrets
import threading
import unicodedata
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import jaconv
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError

from accounts.keys import Keys
from database import rest
from dates import era_years
from models import Account

# OWASP's first choice for argon2id
HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
_UNKNOWN = HASHER.hash(secrets.token_hex(16))
_hashing = ThreadPoolExecutor(1, "argon2")
"""Each hash takes 19 MiB and 25 ms of a core, and there is a process for each core.

It has a thread of its own, because glibc keeps freed memory for the thread that used it: a worker
grew to 660 MB when many of its threads had hashed once.
"""

_estimating = threading.BoundedSemaphore(1)
"""zxcvbn is pure Python, so two at once would hold the clocks twice; and it keeps `user_inputs` in
a table of the process."""

PASSWORD_MIN, PASSWORD_MAX = 10, 128
ESTIMATED = 32
"""Characters of a password that zxcvbn sees."""
READINGS = 16
"""In how many ways, at most, zxcvbn reads a password's symbols as letters: 4 and @ as a; 1, ! and |
as i.

32 characters may have over 700 readings, which took 0.7 s. With 16 of them the worst password found
took 35 ms. Passwords that people type have fewer (P4$$w0rd1 has two), and symbols stay symbols, so
that !@#$%^&*() is still a row of keys.
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
"""Words that members put into passwords because of the site that they are on."""


@cache
def _zxcvbn() -> Callable[..., dict[str, Any]]:
    """Return the estimator. Its word lists are loaded with the first password that is chosen, since
    most workers see none for hours, and they take 13 MB."""
    from zxcvbn import matching, zxcvbn

    every_reading = matching.enumerate_l33t_subs
    matching.enumerate_l33t_subs = lambda table: every_reading(table)[:READINGS]
    return zxcvbn


def password_fault(password: str, account: Account, context: Iterable[str] = ()) -> str | None:
    """Return why this password is refused: `short`, `long` or `weak`. Return None if it is
    accepted.

    `context` holds words that all members know, such as the insurer's name. A password with control
    characters counts as `long`, whose message covers both. Source: ASVS 5.0, 6.2.
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
        guesses = _zxcvbn()(password[:ESTIMATED], user_inputs=sorted(known))["guesses"]
    return "weak" if guesses < GUESSES_MIN else None


def _known_words(account: Account, context: Iterable[str]) -> set[str]:
    """Return the words that others know about this person and this service, each folded by
    `_spelling`."""
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
    """Return the text's letters and digits alone, with kana in Latin letters, and with one spelling
    for all romanisations."""
    latin = jaconv.kata2alphabet(jaconv.hira2kata(unicodedata.normalize("NFKC", text)))
    plain = "".join(c for c in unicodedata.normalize("NFKD", latin) if not unicodedata.combining(c))
    plain = re.sub(r"[\W_]", "", plain).upper()
    for one, other in _ALIKE:
        plain = re.sub(one, other, plain)
    return plain


def hash_password(password: str) -> str:
    """Return the argon2id hash of a password. Give the database connection back first."""
    rest()
    return _hashing.submit(HASHER.hash, password).result()


def _verify(stored: str | None, password: str) -> bool:
    """Return whether the password has this hash. Run one argon2 verification even if there is no
    hash, so that both cases take the same time. Give the database connection back first.
    """
    rest()
    check = _hashing.submit(HASHER.verify, stored or _UNKNOWN, password[: PASSWORD_MAX * 4])
    try:
        return check.result() and stored is not None
    except (VerifyMismatchError, InvalidHashError):
        return False


def authenticate(account: Account | None, password: str, keys: Keys) -> bool:
    """Return whether the password is right. Until the registration is finished, that is the
    temporary one from the letter.

    This takes exactly one argon2 verification, whichever kind of password the account has, and also
    if there is no account. A right password whose hash has old parameters is hashed anew.
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
