"""Passkeys: keys that a phone keeps behind its own lock, good for a login without ID, password and
code. Knows no Flask.

The rules are those of WebAuthn, https://www.w3.org/TR/webauthn-3/ sections 7.1 and 7.2. The
`webauthn` package checks answers. It is imported where an answer is checked: a worker that has
checked none is 14 MB smaller, and starts 0.4 s sooner.
"""

from __future__ import annotations

import base64
import json
import secrets
from typing import Any, NamedTuple

from itsdangerous import BadData
from peewee import IntegrityError

from accounts import limits
from accounts.keys import Keys
from database import transaction
from models import AHEAD, Account, Audit, Mail, Member, Passkey, Stale

LIFE = 5 * limits.MINUTE
"""Seconds that a challenge is good."""
AT_MOST = 10
"""Passkeys that a member may have."""
ALGORITHMS = -7, -8, -257
"""ES256, EdDSA and RS256 by their COSE numbers: what phones and Windows make keys for."""


class Site(NamedTuple):
    """The host that passkeys are bound to (WebAuthn's RP ID), and the origin of the pages that ask
    for them."""

    host: str
    origin: str


class Unproven(Exception):
    """The answer does not prove what was asked. `known` is False if it came from a passkey that is
    not kept here."""

    def __init__(self, *, known: bool = True) -> None:
        self.known = known


class TooMany(Exception):
    """The member has ten passkeys already."""


class Proof(NamedTuple):
    """A passkey whose key has signed the challenge, and the count of uses that the phone stated, 0
    if it counts none."""

    passkey: Passkey
    uses: int


def ask(keys: Keys, purpose: str, now: float) -> tuple[str, str]:
    """Return a new challenge, and what the browser's cookie holds, to which the challenge is bound."""
    challenge = secrets.token_urlsafe(32)
    return challenge, str(keys.links("passkey").dumps([purpose, challenge, int(now)]))


def asked(keys: Keys, purpose: str, cookie: str, now: float) -> bytes:
    """Return the challenge that this cookie holds, and use it up.

    Raise Unproven if it is another purpose's, older than five minutes, or was used before: `limits`
    counts one use by one statement in the database.
    """
    try:
        own, challenge, at = keys.links("passkey").loads(cookie)
        limits.take(keys, now, limits.Try(limits.CHALLENGE, challenge))
    except (BadData, limits.TooMany) as error:
        raise Unproven from error
    if own != purpose or not -AHEAD <= now - at < LIFE:
        raise Unproven
    return _decoded(challenge)


def to_create(account: Account, site: Site, insurer: str, challenge: str) -> dict[str, Any]:
    """Return what navigator.credentials.create() is given, as JSON has it.

    The phone keeps the key itself, so that nobody is asked for a USB key, and leaves out a key of
    this account that it has.
    """
    member, mine = account.member, Passkey.select().where(Passkey.account == account.member_id)
    return {
        "challenge": challenge,
        "rp": {"id": site.host, "name": insurer},
        "user": {
            "id": _encoded(member.public_id.encode()),
            "name": member.name,
            "displayName": member.name,
        },
        "pubKeyCredParams": [{"type": "public-key", "alg": number} for number in ALGORITHMS],
        "excludeCredentials": [{"type": "public-key", "id": kept.credential} for kept in mine],
        "authenticatorSelection": {
            "authenticatorAttachment": "platform",
            "residentKey": "required",
            "requireResidentKey": True,  # what older browsers read
            "userVerification": "required",
        },
        "attestation": "none",
        "timeout": LIFE * 1000,
    }


def to_get(site: Site, challenge: str) -> dict[str, Any]:
    """Return what navigator.credentials.get() is given, as JSON has it. It names nobody: the phone
    offers the keys it has."""
    return {
        "challenge": challenge,
        "rpId": site.host,
        "userVerification": "required",
        "timeout": LIFE * 1000,
    }


def add(
    account: Account, answer: str, challenge: bytes, site: Site, device: str, now: float
) -> None:
    """Keep the new passkey that the answer of navigator.credentials.create() holds, and tell its
    owner by mail.

    Raise Unproven if the answer proves nothing or the passkey is kept already, TooMany if the
    member has ten, and Stale if the password has changed since `account` was read.
    """
    import webauthn
    from webauthn.helpers.cose import COSEAlgorithmIdentifier

    try:
        made = webauthn.verify_registration_response(
            credential=answer,
            expected_challenge=challenge,
            expected_rp_id=site.host,
            expected_origin=site.origin,
            require_user_verification=True,
            supported_pub_key_algs=[COSEAlgorithmIdentifier(number) for number in ALGORITHMS],
        )
    # several parsers read it, and a forged answer may break each in a way of its own
    except Exception as error:
        raise Unproven from error
    try:
        with transaction():
            account.hold()
            if Passkey.select().where(Passkey.account == account.member_id).count() >= AT_MOST:
                raise TooMany
            Passkey.create(
                id=secrets.token_urlsafe(16),
                account=account,
                credential=_encoded(made.credential_id),
                public_key=_encoded(made.credential_public_key),
                uses=made.sign_count,
                device=device[:60],
                created_at=int(now),
            )
            Audit.note(now, "passkey.added", account.member_id)
            if account.email:
                Mail.queue("passkey_added", account, account.email, now)
    except IntegrityError as error:
        raise Unproven from error


def prove(answer: str, challenge: bytes, site: Site) -> Proof:
    """Return which passkey the answer of navigator.credentials.get() proves. Raise Unproven if it
    proves none.

    A count of uses that does not grow is refused, since a copy of the key may be about; phones that
    sync keys count none.
    """
    kept, owner = _named(answer)
    import webauthn

    try:
        checked = webauthn.verify_authentication_response(
            credential=answer,
            expected_challenge=challenge,
            expected_rp_id=site.host,
            expected_origin=site.origin,
            credential_public_key=_decoded(kept.public_key),
            credential_current_sign_count=kept.uses,
            require_user_verification=True,
        )
    except Exception as error:  # as in add()
        raise Unproven from error
    if owner != kept.account.member.public_id:
        raise Unproven
    return Proof(kept, checked.new_sign_count)


def _named(answer: str) -> tuple[Passkey, str]:
    """Return the passkey that an answer names, and the public id of whoever the phone says that it
    is for."""
    try:
        given = json.loads(answer)
        # base64url: no database takes a NUL or half a surrogate pair, which JSON may hold
        credential = str(given["id"]).encode("ascii").decode().replace("\0", "")
        owner = _decoded(given["response"]["userHandle"]).decode()
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise Unproven from error
    own = Passkey.credential == credential
    kept = Passkey.select(Passkey, Account, Member).join(Account).join(Member).where(own).first()
    if kept is None:
        raise Unproven(known=False)
    return kept, owner


def use(proof: Proof, now: float) -> None:
    """Note a login by this passkey. Raise Stale if it was removed, or used by another login, since
    it was proven."""
    same = Passkey.id == proof.passkey.id, Passkey.uses == proof.passkey.uses
    if not Passkey.update(uses=proof.uses, used_at=int(now)).where(*same).execute():
        raise Stale


def _encoded(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(f"{text}===")
