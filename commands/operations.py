"""flask db | mail | stats: the schema, backups, a test mail, and figures for the operator."""

from __future__ import annotations

import contextlib
import datetime as dt
import errno
import json
import os
import shlex
import smtplib
import sqlite3
import time
from pathlib import Path
from typing import Any

import click
import peewee
from flask import current_app
from flask.cli import AppGroup, with_appcontext
from peewee import Case, fn
from playhouse.migrations import Runner

import accounts
import dates
import models
import settings
from accounts import housekeeping, mailer
from commands.terminal import NEW_FILE, Failed, moment, store
from database import Busy, database, encoding_fault, exclusive_lock, is_sqlite, make_database
from models import Audit, Display, Mail, Member, Session

UPGRADE_WAITS = 60
"""The most seconds that an upgrade waits for an import, and for others who use the tables that it
changes."""
HOUR, DAY = 3600, 86400

db = AppGroup("db", help="The database: its schema, and a copy of it.")


@db.command()
def upgrade() -> None:
    """Create or upgrade the schema; safe to repeat, and while the server runs."""
    try:
        make_database()
        with database.connection_context():
            if fault := encoding_fault():
                raise Failed(fault)
            with exclusive_lock(seconds=UPGRADE_WAITS):
                done = _apply_migrations()
    except Busy as busy:
        raise Failed(str(busy)) from busy
    except (peewee.DatabaseError, peewee.InterfaceError, OSError) as broken:
        raise Failed(
            f"The schema was not upgraded ({broken}). Each step is done wholly or not at all: see to that, then type it again."
        ) from broken
    click.echo("\n".join(done) or "The schema is up to date.")


def _apply_migrations() -> list[str]:
    """Apply the missing migrations, and return their names.

    On PostgreSQL, a change of a table waits for all who use it, such as a backup, and everybody who
    comes later waits behind it, live clocks included. So it waits for half a second, lets the
    others through, and tries again.
    """
    runner = Runner(database.obj, str(settings.MIGRATIONS))
    before, until = runner.applied(), time.monotonic() + UPGRADE_WAITS
    if not is_sqlite():
        database.execute_sql("SET lock_timeout = '500ms'")
    while True:
        try:
            runner.up()
            return [name for name in sorted(runner.applied()) if name not in before]
        except peewee.OperationalError as error:
            in_use = getattr(
                getattr(error, "orig", None), "sqlstate", ""
            ) == "55P03" or "locked" in str(error)
            if not in_use:
                raise
            if time.monotonic() > until:
                raise Busy(
                    "ほかの処理が表を使い続けています。終わってから、もう一度実行してください。"
                ) from error
            time.sleep(1)


@click.command()
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="One JSON object; docs/operations.md says what its keys are.",
)
@with_appcontext
def stats(as_json: bool) -> None:
    """Say how the service is doing: logins, mails, displays, members, the roster's age."""
    with store():
        found = figures(moment(), current_app.config["ROSTER_DAYS"])
    if as_json:
        click.echo(json.dumps(found))
        return
    for name, value in found.items():
        told = value if isinstance(value, str) else json.dumps(value)
        click.echo(f"{name.replace('_', ' ')}: {told}")


def figures(now: float, roster_days: int) -> dict[str, Any]:
    """Return the figures of `flask stats` by their keys. Everything except the members is found by
    an index.

    Withheld people are not counted. Logins are found in the audit trail, which has an index of
    times: a session that is running began with a login in the last 12 hours.
    """
    second, age = int(now), housekeeping.roster_age(now)
    logins = Audit.select().where(Audit.action == "login")
    recent = Audit.select(Audit.actor).where(
        Audit.action == "login", Audit.at > second - models.SESSION_LIFE
    )
    running = Session.account.in_(recent) & Session.runs(now)
    shown = (
        Display.select()
        .join(Session)
        .where(running, Display.started_at > second - models.DISPLAY_LIFE)
    )
    return {
        "at": dt.datetime.fromtimestamp(second, dates.JST).isoformat(),
        "logins_last_hour": logins.where(Audit.at > second - HOUR).count(),
        "logins_last_day": logins.where(Audit.at > second - DAY).count(),
        **_mails(second),
        "mail_threads": housekeeping.mail_threads(now),
        "displays_live": shown.count(),
        "sessions": Session.select().where(running).count(),
        **_members(dates.today(now)),
        "roster_age_hours": None if age is None else int(age // HOUR),
        "roster_too_old": housekeeping.roster_is_old(now, roster_days),
        "schema_up_to_date": settings.schema_up_to_date(),
    }


def _mails(second: int) -> dict[str, Any]:
    codes = Mail.select().where(Mail.kind == "code")
    # a mail that its server refuses is tried for a day, which does not mean that others wait
    early = Case(None, [(Mail.attempts <= len(mailer.RETRIES), Mail.created_at)])
    waiting, oldest = (
        Mail.select(fn.count(Mail.id), fn.min(early)).where(Mail.state == "waiting").tuples()[0]
    )
    failed: Any = (
        Mail.select(Mail.kind, fn.count(Mail.id))
        .where(Mail.state == "failed", Mail.due_at > second - DAY)
        .group_by(Mail.kind)
    )
    return {
        **{
            f"codes_{state}_last_{name}": codes.where(
                Mail.state == state, Mail.due_at > second - length
            ).count()
            for state in ("sent", "failed")
            for name, length in (("hour", HOUR), ("day", DAY))
        },
        "mails_waiting": waiting,
        "oldest_mail_seconds": second - oldest if oldest else 0,
        "notices_waiting": Mail.select().where(Mail.state == "paced").count(),
        "mails_failed_last_day": dict(sorted(failed.tuples())),
    }


def _members(day: dt.date) -> dict[str, int]:
    covered = (
        (Member.qualified_on <= day)
        & (Member.lost_on.is_null() | (Member.lost_on > day))
        & ~Member.withheld
    )
    counted: Any = (
        Member.select(Member.delivery, fn.count(Member.id)).where(covered).group_by(Member.delivery)
    )
    members = dict(counted.tuples())
    return {
        f"members_{kind}": members.get(kind, 0) for kind in (models.WEB, models.PAPER, models.NONE)
    }


@db.command()
@click.argument("file", type=NEW_FILE)
def backup(file: Path) -> None:
    """Copy an SQLite database into FILE, which must not exist, while it serves."""
    if not is_sqlite():
        named = "PGSERVICEFILE=/etc/kakunin.pgservice PGSERVICE=kakunin"
        command = f"{named} pg_dump --format=custom --file={shlex.quote(str(file))}"
        raise Failed(
            f"PostgreSQL is backed up by its own program: {command}\n"
            "docs/operations.md says what the service file holds. A password on the command line would be seen in ps."
        )
    with store():
        try:
            size = copy_database(file)
        except FileExistsError as there:
            raise Failed(
                f"{there.filename} is there already. Choose another name; "
                "a .part is what a backup is writing, or left when it was killed: delete it then."
            ) from there
        except (OSError, sqlite3.Error, peewee.DatabaseError) as broken:
            raise Failed(
                f"No backup was made ({broken}). See to the disk's space and the folder, then try again."
            ) from broken
    click.echo(f"{file}: {size:,} bytes, checked.")


def copy_database(file: Path) -> int:
    """Write a copy of the SQLite database, as it is at one moment, into `file`, and return its size
    in bytes.

    It is one reading transaction, so no writer waits for it, and everything that was committed
    before is in the copy. Deleted rows leave no trace in the copy, which has no free pages. Raise
    FileExistsError, OSError, sqlite3.Error or peewee.DatabaseError.
    """
    if os.path.lexists(file):
        raise FileExistsError(errno.EEXIST, "is there already", str(file))
    part = file.with_name(file.name + ".part")
    # an empty file keeps its mode when it is filled
    handle = os.open(part, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
    try:
        database.execute_sql("VACUUM INTO ?", (str(part),))
        os.fsync(handle)
        with contextlib.closing(
            sqlite3.connect(f"{part.absolute().as_uri()}?immutable=1", uri=True)
        ) as copy:
            if (fault := copy.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
                raise sqlite3.DatabaseError(fault)
        part.rename(file)
        folder = os.open(file.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
        return os.fstat(handle).st_size
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    finally:
        os.close(handle)


mail = AppGroup("mail", help="The mail settings.")


@mail.command()
@click.argument("address")
def test(address: str) -> None:
    """Send one mail to ADDRESS."""
    to = accounts.clean_email(address)
    if to is None:
        raise click.BadParameter(
            f"{address} はメールアドレスではありません。", param_hint="ADDRESS"
        )
    if not (current_app.config["MAIL_URL"] and current_app.config["MAIL_FROM"]):
        raise Failed("KAKUNIN_MAIL_URL と KAKUNIN_MAIL_FROM を設定してください。")
    try:
        mailer.send_test(current_app.config, to)
    except (OSError, smtplib.SMTPException) as broken:
        raise Failed(
            f"メールを送れませんでした（{broken}）。KAKUNIN_MAIL_URL と KAKUNIN_MAIL_FROM を確かめてください。"
        ) from broken
    domain = current_app.config["MAIL_FROM"].rpartition("@")[2]
    click.echo(
        f"{domain} のDNSに次のTXTレコードがあるか確かめてください。なければ、携帯会社やGmailに拒まれるか、迷惑メールになります。\n"
        f"  SPF    {domain}\n"
        f"  DKIM   SELECTOR._domainkey.{domain}  （SELECTORは、届いたメールのDKIM-Signatureの s= の値）\n"
        f"  DMARC  _dmarc.{domain}"
    )
    click.echo(f"{address} へ送りました。届いたか確かめてください。")
