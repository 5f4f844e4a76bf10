"""Ids, login IDs and temporary passwords for many people at once."""

from __future__ import annotations

import random
import secrets
from collections.abc import Iterator
from itertools import islice

from codes import LETTERS, Keys, temporary_passwords
from roster.parallel import Send

BATCH = 1000
_DIGITS = str.maketrans("01234567", "23456789")  # without 0 and 1, as codes.login_ids
_LOGINS = len(LETTERS) * 8**9

Row = tuple[int, str, str, str, str]
"""Number from 1, public id, login ID, temporary password, and its keyed hash."""


def batches(count: int, keys: Keys) -> Iterator[list[Row]]:
    """So many different ids and logins, both in ascending order, so that a unique index grows at its end.

    Each is drawn without bias from its own part of all there are: as hard to guess as if drawn from the whole, since
    who draws blindly hits as many.
    """
    chance = random.Random(secrets.token_bytes(32))  # noqa: S311 - it only mixes what is drawn by `secrets`
    publics, logins = _ascending(count, 2**96), _ascending(count, _LOGINS)
    for start in range(0, count, BATCH):
        size = min(BATCH, count - start)
        passwords = list(temporary_passwords(size))
        mixed = list(map(_login, islice(logins, size)))
        chance.shuffle(mixed)  # so that one's own login ID does not tell those of one's neighbours on the roster
        ids = map("{:024x}".format, islice(publics, size))
        numbers = range(start + 1, start + 1 + size)
        yield list(zip(numbers, ids, mixed, passwords, keys.hash_temporary(passwords), strict=True))


def send(count: int, keys: Keys, to: Send) -> None:
    """The batches, sent to another process."""
    for batch in batches(count, keys):
        to(batch)


def _login(number: int) -> str:
    letter, digits = divmod(number, 8**9)
    return LETTERS[letter] + f"{digits:09o}".translate(_DIGITS)


def _ascending(count: int, space: int) -> Iterator[int]:
    """`count` numbers below `space`, one from each of as many equal parts of it."""
    part = space // max(count, 1)
    for start in range(0, count, BATCH):
        size = min(BATCH, count - start)
        drawn = secrets.token_bytes(24 * size)
        for i in range(size):
            yield (start + i) * part + int.from_bytes(drawn[24 * i : 24 * i + 24], "big") % part
