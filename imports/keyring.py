"""Ids, login IDs and temporary passwords for many people at once."""

from __future__ import annotations

import random
import secrets
import struct
from collections.abc import Iterator, Sequence

from accounts.keys import LETTERS, Keys, temporary_passwords
from roster import BATCH
from roster.parallel import Send

_DIGITS = str.maketrans("01234567", "23456789")  # without 0 and 1, as codes.login_ids
_LOGINS = len(LETTERS) * 8**9

Logins = tuple[Sequence[int], list[str], list[str], list[str]]
"""Numbers from 1, login IDs, temporary passwords, and their keyed hashes."""
Drawn = tuple[list[int], list[str], list[str], list[str], list[str]]
"""The same, with public ids after the numbers."""


def logins(count: int, keys: Keys) -> Iterator[Logins]:
    """So many different logins, their IDs in ascending order batch by batch, so that a unique index grows at its end.

    Each ID is drawn without bias from its own part of all there are: as hard to guess as if drawn from the whole, since
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
        yield range(start + 1, turns.stop + 1), names, passwords, keys.hash_temporary(passwords)


def batches(count: int, keys: Keys) -> Iterator[Drawn]:
    """So many logins, and as many different public ids in ascending order."""
    for numbers, names, passwords, hashes in logins(count, keys):
        yield list(numbers), public_ids(numbers, count), names, passwords, hashes


def public_ids(numbers: Sequence[int], most: int) -> list[str]:
    """An id for each of the numbers, which ascend to `most` and one more at the most: in ascending order, too."""
    digits, tails = len(f"{most + 1:x}"), secrets.token_hex(12 * len(numbers))
    heads = f"%0{digits}x" * len(numbers) % tuple(numbers)
    return [heads[i * digits : (i + 1) * digits] + tails[i * 24 + digits : (i + 1) * 24] for i in range(len(numbers))]


def send(count: int, keys: Keys, to: Send) -> None:
    """The batches, sent to another process."""
    for batch in batches(count, keys):
        to(batch)


def _in_letters(numbers: Sequence[int]) -> list[str]:
    """Login IDs by their place among all there are."""
    digits = ("%09o" * len(numbers) % tuple(number % 8**9 for number in numbers)).translate(_DIGITS)
    return [LETTERS[number // 8**9] + digits[i * 9 : i * 9 + 9] for i, number in enumerate(numbers)]
