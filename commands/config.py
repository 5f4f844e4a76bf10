"""flask config check: find what is wrong or weak in the settings before the server starts."""

from __future__ import annotations

import os
import smtplib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import click
import peewee
from flask import current_app
from flask.cli import AppGroup

import accounts
import settings
from accounts import mailer
from commands.terminal import Failed
from database import PAGES, TICKS, database, encoding_fault, is_sqlite
from roster.columns import check_digit_fits

config = AppGroup("config", help="The settings.")

Faults = Iterator[tuple[bool, str]]
"""Faults: whether each is an error, and a sentence. The others are weaknesses."""
HERE = {"localhost", "127.0.0.1", "::1", None}


@config.command()
@click.argument("parts", nargs=-1, type=click.Choice(["settings", "database", "mail"]))
def check(parts: tuple[str, ...]) -> None:
    """Say what is wrong or weak in the settings, the database and the mail server, or in the PARTS
    named.

    The exit status is 1 if something is wrong, and 0 if nothing is, though it may be weak.
    """
    checks: dict[str, Callable[[dict[str, Any]], Faults]]
    checks = {"settings": of_settings, "database": of_database, "mail": of_mail}
    wrong = 0
    for part in parts or checks:
        found = list(checks[part](current_app.config))
        for is_wrong, sentence in found:
            click.echo(f"{'wrong' if is_wrong else 'weak'}: {sentence}")
            wrong += is_wrong
        if not found:
            click.echo(f"{part}: in order.")
    if wrong:
        raise Failed(f"{wrong} wrong.")


def of_settings(found: dict[str, Any]) -> Faults:
    """Yield the faults of the settings themselves. Settings that cannot be read have already
    stopped the program."""
    try:
        settings.check_serving(found)
    except settings.BadSetting as faults:
        yield from ((True, sentence) for sentence in str(faults).splitlines())
    base, sender, insecure = (
        urlsplit(found["BASE_URL"]),
        found["MAIL_FROM"],
        found["INSECURE_COOKIES"],
    )
    if base.path.strip("/") or base.query:
        yield True, "KAKUNIN_BASE_URL must be a host alone, without a path."
    if accounts.clean_email(sender) != sender:
        yield True, "KAKUNIN_MAIL_FROM is not an e-mail address."
    for number, insurer in found["INSURERS"].items():
        if not check_digit_fits(number):
            yield True, f"KAKUNIN_INSURERS: {number} is not 8 digits with the right check digit."
        if not insurer["phone"]:
            yield False, f"KAKUNIN_INSURERS: {number} has no phone, so no page says whom to call."
    if insecure:
        yield False, "KAKUNIN_INSECURE_COOKIES is for demos and tests alone."
    if not insecure and not found["PROXIES"] and os.environ.get("HOST", "127.0.0.1") in HERE:
        yield (
            False,
            "KAKUNIN_PROXIES is 0, but HOST can be reached by a proxy alone: all members would share the proxy's "
            "address and its limits. Behind deploy/nginx.conf it is 1.",
        )
    mail, data = urlsplit(found["MAIL_URL"]), urlsplit(found["DATABASE_URL"])
    if (
        mail.scheme == "smtp"
        and mail.hostname not in HERE
        and "starttls" not in parse_qs(mail.query)
    ):
        yield False, "KAKUNIN_MAIL_URL: codes go to the mail server unencrypted. Add ?starttls=1."
    mode = parse_qs(data.query).get("sslmode", [""])[0]
    if data.scheme == "postgresql" and data.hostname not in HERE and not mode.startswith("verify"):
        yield (
            False,
            "KAKUNIN_DATABASE_URL: another machine might answer in the database's place. "
            "Add ?sslmode=verify-full&sslrootcert=FILE.",
        )


def of_database(found: dict[str, Any]) -> Faults:
    """Yield the faults of the database: whether it answers, what it can store, its schema, and how
    many connections it has."""
    try:
        with database.connection_context():
            if fault := encoding_fault():
                yield True, fault
            elif not settings.schema_up_to_date():
                yield True, "The database's schema is not up to date: run flask db upgrade."
            if is_sqlite():
                yield from _of_file(Path(database.database))
            else:
                yield from _of_connections()
    except (peewee.PeeweeException, OSError) as broken:
        yield True, f"The database does not answer ({str(broken).strip()})."


def _of_file(file: Path) -> Faults:
    if not os.access(file, os.W_OK) or not os.access(file.parent, os.W_OK):
        yield True, f"This user cannot write {file} and its folder."
    if file.stat().st_mode & 0o077:
        yield False, f"Other users of this machine can read {file}: chmod 600."


def _of_connections() -> Faults:
    most = int(database.execute_sql("SHOW max_connections").fetchone()[0])
    taken = (PAGES + TICKS) * settings.server_options(os.cpu_count() or 1)["WORKERS"]
    if taken > most - 10:
        yield (
            False,
            f"This machine alone may take {taken} of the database's {most} connections (max_connections).",
        )


def of_mail(found: dict[str, Any]) -> Faults:
    """Yield the fault of the mail server if it does not answer or refuses the login. Nothing is
    sent."""
    if not found["MAIL_URL"] or found["MAIL_URL"].startswith("outbox:"):
        return
    try:
        mailer.greet(found)
    except (OSError, smtplib.SMTPException) as broken:
        yield True, f"The mail server does not answer or refuses the login ({broken})."
