"""Read the settings from the environment. A `KAKUNIN_` variable that is unknown or cannot be read
stops the program."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import click
from flask import Flask
from peewee import OperationalError
from playhouse.migrations import Runner

from database import database, database_exists, database_place
from models import Member

ROOT = Path(__file__).resolve().parent
INSTANCE = ROOT / "instance"
MIGRATIONS = ROOT / "migrations"


class Setting(NamedTuple):
    kind: type  # str, int, or dict and list for JSON
    default: Any


SETTINGS = {
    "SECRET_KEY": Setting(str, ""),
    "SECRET_KEY_FALLBACKS": Setting(list, []),
    "DATABASE_URL": Setting(str, f"sqlite:///{INSTANCE}/kakunin.db"),
    "MAIL_URL": Setting(str, ""),
    "MAIL_FROM": Setting(str, ""),
    "BASE_URL": Setting(str, ""),
    "INSURERS": Setting(dict, {}),
    "NOTICE": Setting(str, ""),
    "GUARDIAN_AGE": Setting(int, 18),
    "TRUST_DAYS": Setting(int, 90),
    "PASSKEYS": Setting(str, "1"),
    "AUDIT_DAYS": Setting(int, 1095),
    "ROSTER_DAYS": Setting(int, 35),
    "MAILS_PER_MINUTE": Setting(int, 60),
    "INSECURE_COOKIES": Setting(int, 0),
    "PROXIES": Setting(int, 0),
    "LOG_REQUESTS": Setting(int, 0),
}
"""README.md and deploy/kakunin.env say what each setting is for."""
SCHEMES = {
    "DATABASE_URL": ("sqlite:///", "postgresql://"),
    "MAIL_URL": ("smtp://", "smtps://", "outbox:"),
}
INSURER_TEXTS = ("name", "address", "phone", "hours", "staff_note")
INSURER_URLS = ("paper_url", "privacy_url", "site_url")
LINKS_AT_MOST = 5
ESCAPES = "Write each of the characters : / ? # @ % [ ] in a user or password as its percent code: %3A %2F %3F %23 %40 %25 %5B %5D."
KINDS = 6
"""Different characters that a key has at least. Of keys of 32 random hexadecimal digits, one in
three million million has fewer."""
WEAK_KEY = (
    f"KAKUNIN_SECRET_KEY, and each of its fallbacks, must have 32 characters or more, of at least {KINDS} kinds, and no part that "
    "repeats: openssl rand -hex 32 makes one."
)


class BadSetting(click.ClickException):
    """Settings cannot be used. The text is a sentence for the operator about each."""


def load(app: Flask) -> None:
    """Fill `app.config` from the environment. Raise BadSetting if a setting cannot be used."""
    raw = Flask(__name__).config
    raw.clear()
    raw.from_prefixed_env("KAKUNIN", loads=str)
    faults = [
        f"KAKUNIN_{name} is not a setting. Known are: {', '.join('KAKUNIN_' + s for s in SETTINGS)}."
        for name in sorted(set(raw) - set(SETTINGS))
    ]
    for name, setting in SETTINGS.items():
        try:
            app.config[name] = _read(name, setting, raw.get(name))
        except BadSetting as fault:
            faults.append(str(fault))
    if faults:
        raise BadSetting("\n".join(faults))
    if not app.config["BASE_URL"] and app.config["INSECURE_COOKIES"]:
        host = os.environ.get("HOST", "127.0.0.1").replace("0.0.0.0", "127.0.0.1")  # noqa: S104 - where it listens
        app.config["BASE_URL"] = f"http://{host}:{os.environ.get('PORT', '8000')}"
    if not app.config["MAIL_FROM"]:
        app.config["MAIL_FROM"] = (
            f"noreply@{urlsplit(app.config['BASE_URL']).hostname or 'localhost'}"
        )
    if not re.fullmatch(r"[01]|localhost|([a-z0-9-]+\.)+[a-z][a-z0-9-]*", app.config["PASSKEYS"]):
        raise BadSetting(
            "KAKUNIN_PASSKEYS must be 1, 0, or a host in small letters, such as kakunin.example.jp."
        )


def _read(name: str, setting: Setting, text: str | None) -> Any:
    """Return the value of a setting. Raise BadSetting if its text cannot be read."""
    if text is None:
        return setting.default
    if setting.kind is str:
        if name in SCHEMES:
            _check_address(name, text)
        return text
    try:
        value: Any = json.loads(text)
    except ValueError:
        value = None
    if type(value) is not setting.kind or (isinstance(value, int) and value < 0):
        what = {int: "a whole number of 0 or more", list: "a JSON list", dict: "a JSON object"}[
            setting.kind
        ]
        raise BadSetting(f"KAKUNIN_{name} must be {what}.")
    if isinstance(value, list) and not all(
        isinstance(item, str) and len(item) >= 32 for item in value
    ):
        raise BadSetting(f"KAKUNIN_{name} must be a list of texts of 32 characters or more.")
    if isinstance(value, dict):
        return {number: _insurer(number, given) for number, given in value.items()}
    return value


def _check_address(name: str, text: str) -> None:
    """Raise BadSetting if this text is not the address of a database or a mail server."""
    if name == "MAIL_URL" and not text:
        return
    if not text.startswith(SCHEMES[name]):
        raise BadSetting(f"KAKUNIN_{name} must begin with {' or '.join(SCHEMES[name])}.")
    if text.startswith(("sqlite:", "outbox:")):
        return
    try:
        found = urlsplit(text)
        whole = found.port != 0 and not found.fragment and "@" not in found.path + found.query
    except ValueError:  # a port that is no number
        whole = False
    if not whole:
        raise BadSetting(f"KAKUNIN_{name} does not name one host and port. {ESCAPES}")


def _insurer(number: str, given: Any) -> dict[str, Any]:
    """Return an insurer's data, with empty defaults for all optional texts.

    Raise BadSetting if the name is missing, or if a text, link or URL is malformed.
    """
    blank = dict.fromkeys((*INSURER_TEXTS, *INSURER_URLS), "")
    if not isinstance(given, dict) or not given.get("name"):
        raise BadSetting(f"KAKUNIN_INSURERS: {number} needs a name, and texts only.")
    links = given.get("links", [])
    texts = {name: value for name, value in given.items() if name != "links"}
    if not all(isinstance(value, str) for value in texts.values()):
        raise BadSetting(f"KAKUNIN_INSURERS: {number} needs a name, and texts only.")
    if not isinstance(links, list) or len(links) > LINKS_AT_MOST or not all(map(_is_link, links)):
        raise BadSetting(
            f"KAKUNIN_INSURERS: the links of {number} must be up to five of text, url and, if wanted, text_en."
        )
    for url in [texts.get(name, "") for name in INSURER_URLS] + [link["url"] for link in links]:
        if url and not (urlsplit(url).scheme in ("https", "http") and urlsplit(url).hostname):
            raise BadSetting(
                f"KAKUNIN_INSURERS: {number} has an address that does not begin with https://: {url}"
            )
    return (
        blank
        | texts
        | {"number": number, "links": [{"text_en": link["text"]} | link for link in links]}
    )


def _is_link(link: Any) -> bool:
    named = isinstance(link, dict) and {"text", "url"} <= link.keys() <= {"text", "text_en", "url"}
    return named and all(isinstance(value, str) and value for value in link.values())


def check_keys(config: dict[str, Any]) -> None:
    """Raise BadSetting if the secret key or one of its fallbacks can be guessed."""
    for key in (config["SECRET_KEY"], *config["SECRET_KEY_FALLBACKS"]):
        repeats = any(key[size:] == key[:-size] for size in range(1, len(key) // 2 + 1))
        if len(key) < 32 or len(set(key)) < KINDS or repeats:
            raise BadSetting(WEAK_KEY)


def check_serving(config: dict[str, Any]) -> None:
    """Raise BadSetting if a setting that the server needs is missing or unsafe."""
    faults = []
    try:
        check_keys(config)
    except BadSetting as weak:
        faults.append(str(weak))
    base, insecure = urlsplit(config["BASE_URL"]), bool(config["INSECURE_COOKIES"])
    needs = [
        (
            bool(config["INSURERS"]),
            "KAKUNIN_INSURERS must name at least one insurer, or no certificate can be shown.",
        ),
        (bool(config["MAIL_URL"]), "KAKUNIN_MAIL_URL is missing: without mail nobody can log in."),
        (
            insecure or not config["MAIL_URL"].startswith("outbox:"),
            "KAKUNIN_MAIL_URL: outbox: writes each code onto the disk and the terminal. It is for demos and tests, "
            "with KAKUNIN_INSECURE_COOKIES=1.",
        ),
        (
            bool(base.hostname),
            "KAKUNIN_BASE_URL is missing: the address that members type, https://…",
        ),
        (
            base.scheme == "https" or insecure,
            "KAKUNIN_BASE_URL must begin with https://. Only for demos and tests KAKUNIN_INSECURE_COOKIES=1 allows http.",
        ),
    ]
    if faults := faults + [sentence for fine, sentence in needs if not fine]:
        raise BadSetting("\n".join(faults))


def check_schema() -> None:
    """Raise BadSetting if the database's schema is older than the program.

    A newer schema is accepted. Since migrations only add (docs/upgrades.md), machines can be
    upgraded or put back one by one. If the database does not answer, the server starts all the
    same, and pages say so until it does.
    """
    if not database_exists():
        raise BadSetting(
            f"There is no database at {database_place()}, where KAKUNIN_DATABASE_URL points or is not set: "
            "correct it, or run .venv/bin/flask db upgrade, then serve again."
        )
    with contextlib.suppress(OperationalError), database.connection_context():
        if not schema_up_to_date():
            raise BadSetting(
                "The database's schema is not up to date: run .venv/bin/flask db upgrade, then serve again."
            )


def schema_up_to_date() -> bool:
    return all(step.applied is not None for step in Runner(database.obj, str(MIGRATIONS)).status())


def own_addresses() -> set[str]:
    """Return the host names and addresses under which this machine can be reached on its own
    network."""
    found = {"localhost", "127.0.0.1", "::1", socket.gethostname()}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        # nothing is sent: it only asks which address a packet would leave from
        probe.connect(("192.0.2.1", 9))
        found.add(probe.getsockname()[0])
    with contextlib.suppress(OSError):
        found.update(str(info[4][0]) for info in socket.getaddrinfo(socket.gethostname(), None))
    return found


def is_loopback(url: str) -> bool:
    """Return whether the URL leads to the machine that opens it, as a demo's does."""
    return urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1")


def insurer_of(config: dict[str, Any], member: Member | None) -> dict[str, Any]:
    """Return the member's insurer. If the member is None or their insurer is not configured, return
    the first one."""
    insurers: dict[str, dict[str, Any]] = config["INSURERS"]
    if member is not None and member.insurer_number in insurers:
        return insurers[member.insurer_number]
    return next(
        iter(insurers.values()), dict.fromkeys((*INSURER_TEXTS, *INSURER_URLS), "") | {"links": []}
    )


def server_options(cores: int) -> dict[str, int]:
    """Return how granian is started, measured on two cores: with many threads, so that slow
    requests never hold a tick.

    Each is overridable by the environment: WORKERS, THREADS, BACKLOG, BACKPRESSURE.
    """
    defaults = {"WORKERS": cores, "THREADS": 112, "BACKLOG": 32768, "BACKPRESSURE": 12000}
    return {name: int(os.environ.get(name, default)) for name, default in defaults.items()}
