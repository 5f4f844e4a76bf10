"""Ids, login IDs and temporary passwords for many people at once."""

from __future__ import annotations

import random
import secrets
import struct
from collections.abc import Iterator, Sequence

from accounts.keys import LETTERS, Keys, temporary_passwords

_DIGITS = str.maketrans("01234567", "23456789")  # without 0 and 1, as codes.login_ids
_LOGINS = len(LETTERS) * 8**9
BATCH = 400

Drawn = tuple[list[str], list[str], list[str], list[str]]
"""Public ids, login IDs, temporary passwords, and their keyed hashes."""


def logins(count: int, keys: Keys) -> Iterator[Drawn]:
    """So many different logins, batch by batch. Public ids and login IDs ascend, so that unique indexes grow at their end.

    Each login ID is drawn without bias from its own part of all there are: as hard to guess as if drawn from the whole, since
    who draws blindly hits as many.
    """
    chance = random.Random(secrets.token_bytes(32))  # noqa: S311 - it only mixes what is drawn by `secrets`
    part = _LOGINS // max(count, 1)
    for start in range(0, count, BATCH):
        turns = range(start, min(start + BATCH, count))
        drawn = struct.unpack(f"{len(turns)}Q", secrets.token_bytes(8 * len(turns)))
        names = _in_letters([i * part + number % part for i, number in zip(turns, drawn, strict=True)])
        names.sort(key=lambda _: chance.random())  # so that one's own login ID does not tell those of one's neighbours
        passwords = list(temporary_passwords(len(turns)))
        yield _public_ids(turns, count), names, passwords, keys.hash_temporary(passwords)


def _public_ids(numbers: Sequence[int], most: int) -> list[str]:
    digits, tails = len(f"{most:x}"), secrets.token_hex(12 * len(numbers))
    heads = f"%0{digits}x" * len(numbers) % tuple(numbers)
    return [heads[i * digits : (i + 1) * digits] + tails[i * 24 + digits : (i + 1) * 24] for i in range(len(numbers))]


def _in_letters(numbers: Sequence[int]) -> list[str]:
    """Login IDs by their place among all there are."""
    digits = ("%09o" * len(numbers) % tuple(number % 8**9 for number in numbers)).translate(_DIGITS)
    return [LETTERS[number // 8**9] + digits[i * 9 : i * 9 + 9] for i, number in enumerate(numbers)]
