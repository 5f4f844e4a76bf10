"""A phone's lock made by hand: it keeps one key and answers as WebAuthn says, or wrongly."""

from __future__ import annotations

import base64
import hashlib
import json

import cbor2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from models import Passkey
from tests.support.phone import Page, Phone

OPTIONS, LOGIN = "/login/passkey/options", "/login/passkey"
ADD_OPTIONS, KEEP = "/account/passkey/options", "/account/passkey/keep"
PRESENT, VERIFIED, WITH_KEY = 1, 4, 64
"""Flags of what a phone signs: its owner was there, was verified; a key follows."""


def encoded(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")


class Lock:
    """What a phone keeps behind its lock, one key, and how it answers. Each attribute may be made wrong."""

    def __init__(self, credential: bytes = b"\x07" * 20) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.credential, self.owner, self.uses = credential, "", 0
        self.host, self.origin, self.flags = "localhost", "http://localhost", PRESENT | VERIFIED

    def _data(self, flags: int, more: bytes = b"") -> bytes:
        return (
            hashlib.sha256(self.host.encode()).digest()
            + bytes([flags])
            + self.uses.to_bytes(4, "big")
            + more
        )

    def _client(self, kind: str, challenge: str) -> bytes:
        return json.dumps(
            {"type": kind, "challenge": challenge, "origin": self.origin, "crossOrigin": False}
        ).encode()

    def _answer(self, **response: bytes) -> str:
        name = encoded(self.credential)
        parts = {part: encoded(value) for part, value in response.items()}
        return json.dumps({"id": name, "rawId": name, "type": "public-key", "response": parts})

    def create(self, options: dict) -> str:
        self.owner = base64.urlsafe_b64decode(options["user"]["id"] + "==").decode()
        numbers = self.key.public_key().public_numbers()
        point = {-2: numbers.x.to_bytes(32, "big"), -3: numbers.y.to_bytes(32, "big")}
        key = cbor2.dumps({1: 2, 3: -7, -1: 1} | point)
        attested = bytes(16) + len(self.credential).to_bytes(2, "big") + self.credential + key
        made = {
            "fmt": "none",
            "attStmt": {},
            "authData": self._data(self.flags | WITH_KEY, attested),
        }
        client = self._client("webauthn.create", options["challenge"])
        return self._answer(clientDataJSON=client, attestationObject=cbor2.dumps(made))

    def get(self, options: dict, kind: str = "webauthn.get") -> str:
        client, data = self._client(kind, options["challenge"]), self._data(self.flags)
        signature = self.key.sign(data + hashlib.sha256(client).digest(), ec.ECDSA(hashes.SHA256()))
        return self._answer(
            clientDataJSON=client,
            authenticatorData=data,
            signature=signature,
            userHandle=self.owner.encode(),
        )


def asked(phone: Phone, path: str) -> dict:
    """Return what the browser gives its phone."""
    page = phone.post(path)
    assert page.status == 200, page.text
    return page.response.json


def add(phone: Phone, lock: Lock) -> Phone:
    """Add a passkey to the account that is logged in on this phone."""
    count = Passkey.select().count()
    page = phone.post(KEEP, {"answer": lock.create(asked(phone, ADD_OPTIONS))})
    assert (page.url, Passkey.select().count()) == ("/", count + 1), page.text
    return phone


def unlock(phone: Phone, lock: Lock) -> Page:
    """Return the page after a login by this passkey."""
    return phone.post(LOGIN, {"answer": lock.get(asked(phone, OPTIONS))})
