"""Ids, login IDs and temporary passwords for many people at once."""

from __future__ import annotations

import random
import secrets
import struct
from collections.abc import Iterator, Sequence

from codes import LETTERS, Keys, temporary_passwords
from roster.parallel import Send

BATCH = 1000
_DIGITS = str.maketrans("01234567", "23456789")  # without 0 and 1, as codes.login_ids
_LOGINS = len(LETTERS) * 8**9

Drawn = tuple[list[int], list[str], list[str], list[str], list[str]]
"""Numbers from 1, public ids, login IDs, temporary passwords, and their keyed hashes."""


def batches(count: int, keys: Keys) -> Iterator[Drawn]:
    """So many different ids and logins, both in ascending order, so that a unique index grows at its end.

    Each is drawn without bias from its own part of all there are: as hard to guess as if drawn from the whole, since
    who draws blindly hits as many.
    """
    chance = random.Random(secrets.token_bytes(32))  # noqa: S311 - it only mixes what is drawn by `secrets`
    part = _LOGINS // max(count, 1)
    for start in range(0, count, BATCH):
        turns = range(start, min(start + BATCH, count))
        drawn = struct.unpack(f"{len(turns)}Q", secrets.token_bytes(8 * len(turns)))
        logins = [_login(i * part + number % part) for i, number in zip(turns, drawn, strict=True)]
        logins.sort(key=lambda _: chance.random())  # so that one's own login ID does not tell those of one's neighbours
        passwords = list(temporary_passwords(len(turns)))
        yield (
            list(range(start + 1, turns.stop + 1)),
            public_ids(turns, count),
            logins,
            passwords,
            keys.hash_temporary(passwords),
        )


def public_ids(numbers: Sequence[int], most: int) -> list[str]:
    """An id for each of the numbers, which ascend to `most` and one more at the most: in ascending order, too."""
    digits, tails = len(f"{most + 1:x}"), secrets.token_hex(12 * len(numbers))
    starts = range(0, 24 * len(numbers), 24)
    return [f"{i:0{digits}x}{tails[at + digits : at + 24]}" for at, i in zip(starts, numbers, strict=True)]


def send(count: int, keys: Keys, to: Send) -> None:
    """The batches, sent to another process."""
    for batch in batches(count, keys):
        to(batch)


def _login(number: int) -> str:
    letter, digits = divmod(number, 8**9)
    return LETTERS[letter] + f"{digits:09o}".translate(_DIGITS)
