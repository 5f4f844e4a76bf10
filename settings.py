"""What the environment may say, in one table. `KAKUNIN_` names that are not in it, or cannot be read, stop the program."""

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

from models import Member, database

ROOT = Path(__file__).resolve().parent
INSTANCE = ROOT / "instance"
MIGRATIONS = ROOT / "migrations"


class Setting(NamedTuple):
    kind: type  # str, int, or dict and list for JSON
    default: Any
    help: str


SETTINGS = {
    "SECRET_KEY": Setting(str, "", "signs everything; 32 characters or more"),
    "SECRET_KEY_FALLBACKS": Setting(list, [], "JSON list of earlier keys, newest first"),
    "DATABASE_URL": Setting(
        str, f"sqlite:///{INSTANCE}/kakunin.db", "sqlite:///FILE or postgresql://user:password@host/name"
    ),
    "MAIL_URL": Setting(str, "", "smtp://user:password@host:port, ?starttls=1, or smtps://…"),
    "MAIL_FROM": Setting(str, "", "the address that mails come from; noreply@ the host of BASE_URL, if not given"),
    "BASE_URL": Setting(str, "", "the address that members type, https://…"),
    "INSURERS": Setting(dict, {}, 'JSON: {"06139463": {"name": …, "address": …, "phone": …}}'),
    "NOTICE": Setting(str, "", "a line shown on every page"),
    "GUARDIAN_AGE": Setting(int, 18, "years under which the subscriber shows a dependent's certificate; 0: never"),
    "TRUST_DAYS": Setting(int, 90, "days since its last login that a phone is trusted; 0 forbids it"),
    "PASSKEYS": Setting(
        str, "1", "1: login by the phone's own lock; 0 forbids it; a host: keys are bound to it, not to BASE_URL's"
    ),
    "AUDIT_DAYS": Setting(int, 1095, "days that the audit trail, past sessions and displays are kept"),
    "ROSTER_DAYS": Setting(int, 35, "days after the last import from which the log warns that the roster is old; 0: never"),
    "INSECURE_COOKIES": Setting(int, 0, "1: plain http, for demos and tests only"),
    "PROXIES": Setting(int, 0, "how many reverse proxies in front to believe"),
    "LOG_REQUESTS": Setting(int, 0, "1: one JSON line a request on stderr, ticks excepted, without personal data"),
}
INSURER_TEXTS = ("name", "address", "phone", "hours", "paper_url", "staff_note")


class BadSetting(click.ClickException):
    """A setting that cannot be used; the text is a sentence for the operator."""


def load(app: Flask) -> None:
    """Fill `app.config` from the environment. Raises BadSetting."""
    raw = Flask(__name__).config
    raw.clear()
    raw.from_prefixed_env("KAKUNIN", loads=str)
    unknown = sorted(set(raw) - set(SETTINGS))
    if unknown:
        raise BadSetting(f"KAKUNIN_{unknown[0]} is not a setting. Known are: {', '.join('KAKUNIN_' + s for s in SETTINGS)}.")
    for name, setting in SETTINGS.items():
        app.config[name] = _read(name, setting, raw.get(name))
    for number, insurer in app.config["INSURERS"].items():
        if not (isinstance(insurer, dict) and insurer.get("name") and all(isinstance(v, str) for v in insurer.values())):
            raise BadSetting(f"KAKUNIN_INSURERS: {number} needs a name, and texts only.")
        app.config["INSURERS"][number] = dict.fromkeys(INSURER_TEXTS, "") | insurer | {"number": number}
    if not app.config["BASE_URL"] and app.config["INSECURE_COOKIES"]:
        host = os.environ.get("HOST", "127.0.0.1").replace("0.0.0.0", "127.0.0.1")  # noqa: S104 - where it listens
        app.config["BASE_URL"] = f"http://{host}:{os.environ.get('PORT', '8000')}"
    if not app.config["MAIL_FROM"]:
        app.config["MAIL_FROM"] = f"noreply@{urlsplit(app.config['BASE_URL']).hostname or 'localhost'}"
    if not re.fullmatch(r"[01]|localhost|([a-z0-9-]+\.)+[a-z][a-z0-9-]*", app.config["PASSKEYS"]):
        raise BadSetting("KAKUNIN_PASSKEYS must be 1, 0, or a host in small letters, such as kakunin.example.jp.")
    if app.config["DATABASE_URL"].split(":")[0] not in ("sqlite", "postgresql"):
        raise BadSetting("KAKUNIN_DATABASE_URL must begin with sqlite:/// or postgresql://.")


def _read(name: str, setting: Setting, text: str | None) -> Any:
    if text is None:
        return setting.default
    if setting.kind is str:
        return text
    try:
        value: Any = json.loads(text)
    except ValueError:
        value = None
    if type(value) is not setting.kind or (isinstance(value, int) and value < 0):
        what = {int: "a whole number of 0 or more", list: "a JSON list", dict: "a JSON object"}[setting.kind]
        raise BadSetting(f"KAKUNIN_{name} must be {what}.")
    if isinstance(value, list) and not all(isinstance(item, str) and len(item) >= 32 for item in value):
        raise BadSetting(f"KAKUNIN_{name} must be a list of texts of 32 characters or more.")
    return value


def check_serving(config: dict[str, Any]) -> None:
    """What the server refuses to start without. Raises BadSetting with a sentence."""
    base = urlsplit(config["BASE_URL"])
    needs = [
        (
            len(config["SECRET_KEY"]) >= 32,
            "KAKUNIN_SECRET_KEY must have 32 characters or more: openssl rand -hex 32 makes one.",
        ),
        (bool(config["INSURERS"]), "KAKUNIN_INSURERS must name at least one insurer, or no certificate can be shown."),
        (bool(config["MAIL_URL"]), "KAKUNIN_MAIL_URL is missing: without mail nobody can log in."),
        (bool(base.hostname), "KAKUNIN_BASE_URL is missing: the address that members type, https://…"),
        (
            base.scheme == "https" or bool(config["INSECURE_COOKIES"]),
            "KAKUNIN_BASE_URL must begin with https://. Only for demos and tests KAKUNIN_INSECURE_COOKIES=1 allows http.",
        ),
    ]
    for fine, sentence in needs:
        if not fine:
            raise BadSetting(sentence)


def check_schema() -> None:
    """Refuse to serve on an older schema. A database that does not answer is no reason: the pages say so until it does.

    A newer one is served: migrations only add (docs/upgrades.md), so that machines are renewed, or put back, one by one.
    """
    with contextlib.suppress(OperationalError), database.connection_context():
        if not schema_up_to_date():
            raise BadSetting("The database's schema is not up to date: run .venv/bin/flask db upgrade, then serve again.")


def schema_up_to_date() -> bool:
    return all(step.applied is not None for step in Runner(database.obj, str(MIGRATIONS)).status())


def own_addresses() -> set[str]:
    """The names and addresses under which this machine is reached on its own network."""
    found = {"localhost", "127.0.0.1", "::1", socket.gethostname()}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        probe.connect(("192.0.2.1", 9))  # nothing is sent: it only asks which address a packet would leave from
        found.add(probe.getsockname()[0])
    with contextlib.suppress(OSError):
        found.update(str(info[4][0]) for info in socket.getaddrinfo(socket.gethostname(), None))
    return found


def insurer_of(config: dict[str, Any], member: Member | None) -> dict[str, str]:
    """The insurer whose name a member reads: their own, or the deployment's first."""
    insurers = config["INSURERS"]
    if member is not None and member.insurer_number in insurers:
        return insurers[member.insurer_number]
    return next(iter(insurers.values()), dict.fromkeys(("name", "address", "phone", "hours", "paper_url", "staff_note"), ""))


def server_options(cores: int) -> dict[str, int]:
    """How granian is started, measured on two cores: many threads, so that slow requests never hold a tick.

    Each is overridable by the environment: WORKERS, THREADS, BACKLOG, BACKPRESSURE.
    """
    defaults = {"WORKERS": cores, "THREADS": 64, "BACKLOG": 32768, "BACKPRESSURE": 12000}
    return {name: int(os.environ.get(name, default)) for name, default in defaults.items()}
