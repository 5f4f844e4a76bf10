"""A database of many members, each logged in and showing their own certificate."""

from __future__ import annotations

import time

from flask import Flask
from flask.sessions import SecureCookieSessionInterface
from playhouse.migrations import Runner

import dates
import models
from database import connect, database
from tests.support.crowd import Phone
from tests.support.servers import ROOT


def open_displays(env: dict[str, str], count: int) -> list[Phone]:
    """So many members, each logged in and showing their own certificate."""
    connect(env["KAKUNIN_DATABASE_URL"])
    Runner(database.obj, str(ROOT / "migrations")).up()
    app = Flask(__name__)
    app.secret_key = env["KAKUNIN_SECRET_KEY"]
    serializer = SecureCookieSessionInterface().get_signing_serializer(app)
    assert serializer is not None
    sign = serializer.dumps
    now, today = int(time.time()), dates.today(time.time())
    person = {
        "insurer_number": "06139463",
        "name": "見本 花子",
        "birth_date": today.replace(day=1, year=today.year - 40),
        "sex": 2,
        "relation": 1,
        "qualified_on": today.replace(day=1, year=today.year - 10),
        "delivery": "web",
        "issued_on": today.replace(day=1, year=today.year - 1),
        "expires_on": today.replace(day=1, year=today.year + 1),
    }
    with database.atomic():
        for n in range(1, count + 1):
            models.Member.insert(
                id=n, public_id=f"cert{n}", household=f"h{n}", number=str(n), **person
            ).execute()
            models.Account.insert(member=n, login_id=f"id{n}").execute()
            models.Session.insert(
                id=f"session{n}", account=n, created_at=now, seen_at=now
            ).execute()
            models.Display.insert(
                id=f"show{n}", session=f"session{n}", viewer=n, member=n, started_at=now
            ).execute()
    database.close_all()
    return [
        Phone(f"/certificates/cert{n}/clock/show{n}", sign({"_user_id": f"session{n}"}))
        for n in range(1, count + 1)
    ]
