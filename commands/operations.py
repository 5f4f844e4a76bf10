"""flask stats and flask db backup: what the operator looks at, and what is kept for the day that a disk breaks."""

from __future__ import annotations

import contextlib
import datetime as dt
import errno
import json
import os
import shlex
import sqlite3
from pathlib import Path
from typing import Any

import click
import peewee
from flask import current_app
from flask.cli import with_appcontext
from peewee import fn

import dates
import models
import settings
from commands.terminal import Failed, moment, store
from database import is_sqlite
from models import Audit, Counter, Display, Mail, Member, RosterImport, Session

HOUR, DAY = 3600, 86400


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object; docs/operations.md says what its keys are.")
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
    """What `flask stats` says, by its keys. Everything but the members is found by an index.

    A withheld person is in no count. Logins are looked up by the audit trail, whose moments have an index: a session that
    runs began with a login in the last 12 hours.
    """
    second = int(now)
    age, day = RosterImport.age(now), dates.today(now)
    logins = Audit.select().where(Audit.action == "login")
    codes = Mail.select().where(Mail.kind == "code")
    waiting = Mail.select(fn.count(Mail.id), fn.min(Mail.created_at)).where(Mail.state == "waiting").tuples()[0]
    recent = Audit.select(Audit.actor).where(Audit.action == "login", Audit.at > second - models.SESSION_LIFE)
    running = Session.account.in_(recent) & Session.runs(now)
    shown = Display.select().join(Session).where(running, Display.started_at > second - models.DISPLAY_LIFE)
    covered = (Member.qualified_on <= day) & (Member.lost_on.is_null() | (Member.lost_on > day)) & ~Member.withheld
    counted: Any = Member.select(Member.delivery, fn.count(Member.id)).where(covered).group_by(Member.delivery)
    members = dict(counted.tuples())
    return {
        "at": dt.datetime.fromtimestamp(second, dates.JST).isoformat(),
        "logins_last_hour": logins.where(Audit.at > second - HOUR).count(),
        "logins_last_day": logins.where(Audit.at > second - DAY).count(),
        **{
            f"codes_{state}_last_{name}": codes.where(Mail.state == state, Mail.due_at > second - length).count()
            for state in ("sent", "failed")
            for name, length in (("hour", HOUR), ("day", DAY))
        },
        "mails_waiting": waiting[0],
        "oldest_mail_seconds": second - waiting[1] if waiting[0] else 0,
        "mail_threads": Counter.mail_threads(now),
        "displays_live": shown.count(),
        "sessions": Session.select().where(running).count(),
        **{f"members_{kind}": members.get(kind, 0) for kind in (models.WEB, models.PAPER, models.NONE)},
        "roster_age_hours": None if age is None else int(age // HOUR),
        "roster_too_old": RosterImport.is_old(now, roster_days),
        "schema_up_to_date": settings.schema_up_to_date(),
    }


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@with_appcontext
def backup(file: Path) -> None:
    """Copy an SQLite database into FILE, which must not exist, while it serves."""
    if not is_sqlite():
        command = f"PGSERVICE=kakunin pg_dump --format=custom --file={shlex.quote(str(file))}"
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
    """Write the SQLite database, as it is at one moment, into `file`, and return its size in bytes.

    One reading transaction, so no writer waits for it, and everything committed before it began is there. What was deleted
    leaves no trace in the copy, which holds no free pages. Raises FileExistsError, OSError, sqlite3.Error, peewee.DatabaseError.
    """
    if os.path.lexists(file):
        raise FileExistsError(errno.EEXIST, "is there already", str(file))
    part = file.with_name(file.name + ".part")
    handle = os.open(part, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)  # an empty file is filled, and keeps its mode
    try:
        models.database.execute_sql("VACUUM INTO ?", (str(part),))
        os.fsync(handle)
        with contextlib.closing(sqlite3.connect(f"{part.absolute().as_uri()}?immutable=1", uri=True)) as copy:
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
