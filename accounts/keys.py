"""The server's keys, and the login IDs and temporary passwords that people type: how they are
drawn, folded and hashed.

Each signature, hash or code that a person or browser sends is checked under the present key and
under each fallback.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Any

import pyotp
from itsdangerous import SignatureExpired, Signer, TimestampSigner, URLSafeTimedSerializer

from models import AHEAD, Challenge

LETTERS = "ACDEFGHJKMNPQRTUVWXY"  # without B I L O S Z, which are taken for 8 1 0 5 2
SYMBOLS = LETTERS + "34679"


def fold_typed(text: str) -> str:
    """Return a typed ID, code or temporary password with width and case folded, and without spaces
    and hyphens."""
    return re.sub(r"[\s\-‐-―−ーｰ_]", "", unicodedata.normalize("NFKC", text)).upper()


def grouped(text: str) -> str:
    """Return an ID or a temporary password with hyphens, as it is printed. Excel does not convert
    it to a number or a date, since it begins with a letter and contains hyphens.
    """
    cut = {10: (1, 4, 7), 14: (5, 9)}.get(len(text), ())
    return "-".join(text[a:b] for a, b in zip((0, *cut), (*cut, len(text)), strict=True))


def _random_text(first: str, rest: str, length: int, count: int) -> Iterator[str]:
    """Return `count` random strings of `length` symbols, each drawn without bias. A million take
    about a second."""

    def stream(alphabet: str, wanted: int) -> str:
        top = 256 - 256 % len(alphabet)
        table = bytes(ord(alphabet[i % len(alphabet)]) for i in range(256))
        drop = bytes(range(top, 256))
        out = b""
        while len(out) < wanted:
            out += secrets.token_bytes(wanted - len(out) + 64).translate(table, drop)
        return out[:wanted].decode("ascii")

    heads, tails, width = stream(first, count), stream(rest, count * (length - 1)), length - 1
    return map(str.__add__, heads, (tails[i : i + width] for i in range(0, count * width, width)))


def login_ids(count: int) -> Iterator[str]:
    """Return random login IDs of a letter and nine digits. With a million members, one blind guess
    in 2,600 is somebody's ID.

    They do not contain 0 and 1, which people take for letters. The caller must check that no ID is
    given twice.
    """
    return _random_text(LETTERS, "23456789", 10, count)


def temporary_passwords(count: int) -> Iterator[str]:
    """Return random temporary passwords of 64 bits: 14 symbols without look-alikes, of which the
    first is a letter."""
    return _random_text(LETTERS, SYMBOLS, 14, count)


class Stamps(TimestampSigner):
    """A signer that accepts times up to AHEAD seconds in the future, since another machine's clock
    may be ahead.

    itsdangerous itself refuses them.
    """

    def unsign(self, signed_value: str | bytes, *options: Any, **named: Any) -> Any:
        try:
            return super().unsign(signed_value, *options, **named)
        except SignatureExpired as expired:
            if not (
                expired.date_signed
                and 0 < expired.date_signed.timestamp() - self.get_timestamp() <= AHEAD
            ):
                raise
        return super().unsign(signed_value, **named | {"max_age": None})


class Keys:
    """The server's secret key and those before it (`fallbacks`, newest first)."""

    def __init__(self, secret: str, fallbacks: Iterable[str] = ()) -> None:
        # itsdangerous signs with the last, checks with each
        self.all = [*reversed(list(fallbacks)), secret]

    def signer(self, salt: str) -> Signer:
        return Signer(
            self.all, salt=f"kakunin.{salt}", key_derivation="hmac", digest_method=hashlib.sha256
        )

    def links(self, salt: str) -> URLSafeTimedSerializer:
        options = {"key_derivation": "hmac", "digest_method": hashlib.sha256}
        return URLSafeTimedSerializer(
            self.all, salt=f"kakunin.{salt}", signer=Stamps, signer_kwargs=options
        )

    def hash_temporary(self, passwords: Iterable[str]) -> list[str]:
        """Return the keyed hash of each temporary password, as it is stored. With 64 random bits
        they need no slow hash."""
        keyed = hmac.new(self.signer("temporary").derive_key(), digestmod="sha256")

        def hashed(text: bytes) -> str:
            copy = keyed.copy()  # half the cost of beginning with the key each time
            copy.update(text)
            return copy.hexdigest()

        # folded together, which costs a tenth
        return list(map(hashed, fold_typed("/".join(passwords)).encode().split(b"/")))

    def fits_temporary(self, typed: str, stored: str | None) -> bool:
        signer, text = self.signer("temporary"), fold_typed(typed).encode()
        hashes = (
            hmac.digest(signer.derive_key(key), text, "sha256").hex() for key in signer.secret_keys
        )
        return any([hmac.compare_digest(h, stored or "") for h in hashes])

    def name(self, kind: str, value: str) -> str:
        """Return a keyed hash as the name of a counter, so that the table of counters contains no
        addresses and no IDs."""
        return hmac.digest(
            self.signer(f"counter.{kind}").derive_key(), value.encode(), "sha256"
        ).hex()[:48]

    def _codes(self, challenge_id: str) -> Iterator[str]:
        signer = self.signer("code")
        for key in reversed(signer.secret_keys):
            digest = hmac.digest(signer.derive_key(key), challenge_id.encode(), "sha1")
            yield pyotp.HOTP(base64.b32encode(digest).decode()).at(0)

    def code(self, challenge: Challenge) -> str:
        """Return the six-digit code of this challenge."""
        return next(self._codes(challenge.id))

    def fits_code(self, typed: str, challenge: Challenge) -> bool:
        text = fold_typed(typed).encode()
        return any([hmac.compare_digest(c.encode(), text) for c in self._codes(challenge.id)])
