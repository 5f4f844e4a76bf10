"""Certificate ids, login IDs and temporary passwords for many people at once."""

from __future__ import annotations

import random
import secrets
from array import array
from collections.abc import Iterator

from accounts.keys import LETTERS, Keys, temporary_passwords

_DIGITS = str.maketrans("01234567", "23456789")  # without 0 and 1, as in accounts.keys.login_ids
_LOGINS = len(LETTERS) * 8**9
BATCH = 400

Drawn = tuple[list[str], list[str], list[str], list[str]]
"""Certificate ids, login IDs, temporary passwords, and their keyed hashes."""


def logins(count: int, keys: Keys) -> Iterator[Drawn]:
    """Yield `count` logins in batches. No login ID occurs twice.

    The certificate ids are 96 random bits. The range of all login IDs is divided into `count` equal
    parts, and one ID is drawn from each part. A guess is no likelier to hit an ID than if all were
    drawn from the whole range, and no ID has to be compared with the others. The parts are shuffled
    over the whole import, so an ID does not tell who is next to its owner in the roster.
    """
    part = _LOGINS // max(count, 1)
    parts = array("L", range(count))
    random.Random(secrets.token_bytes(32)).shuffle(parts)  # noqa: S311 - it only mixes what `secrets` draws
    for start in range(0, count, BATCH):
        turns = parts[start : start + BATCH]
        drawn = array("Q", secrets.token_bytes(8 * len(turns)))
        names = _in_letters(
            [turn * part + number % part for turn, number in zip(turns, drawn, strict=True)]
        )
        passwords = list(temporary_passwords(len(turns)))
        yield public_ids(len(turns)), names, passwords, keys.hash_temporary(passwords)


def public_ids(count: int) -> list[str]:
    """Return `count` random certificate ids of 96 bits, written in 24 hexadecimal digits."""
    digits = secrets.token_hex(12 * count)
    return [digits[i : i + 24] for i in range(0, 24 * count, 24)]


def _in_letters(numbers: list[int]) -> list[str]:
    """Return the login IDs that these numbers stand for, counted through all possible IDs."""
    digits = ("%09o" * len(numbers) % tuple(number % 8**9 for number in numbers)).translate(_DIGITS)
    return [LETTERS[number // 8**9] + digits[i * 9 : i * 9 + 9] for i, number in enumerate(numbers)]
