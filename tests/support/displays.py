"""Fill a database with members who are logged in and show their own certificate, and who can log in
again."""

from __future__ import annotations

import time

from flask import Flask
from flask.sessions import SecureCookieSessionInterface
from playhouse.migrations import Runner

import dates
import models
from accounts import passwords
from accounts.keys import Keys
from database import connect, database
from tests.support.browser import Browser
from tests.support.crowd import Phone
from tests.support.people import PASSWORD
from tests.support.servers import ROOT


def open_displays(env: dict[str, str], count: int) -> list[Phone]:
    """Create `count` members, each logged in and showing their own certificate, and return their
    phones.

    Member n has the id n, the login ID `idn`, the session `sessionn` and the certificate `certn`.
    """
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


def give_passwords(numbers: range) -> None:
    """Give member n of open_displays() the login ID K and n in nine digits, PASSWORD as password,
    and the address n@example.jp."""
    hashed = passwords.hash_password(PASSWORD)
    with database.connection_context(), database.atomic():
        for n in numbers:
            address = f"{n}@example.jp"
            models.Account.update(
                login_id=f"K{n:09}", password_hash=hashed, email=address, email_key=address
            ).where(models.Account.member == n).execute()
    database.close_all()


def log_in(browser: Browser, number: int, keys: Keys) -> int:
    """Log the member of this number in, by their password and by the code that is mailed to them.
    Return the status of the first answer that is no redirect, or of the last."""
    status, _ = browser.ask("/login", username=f"K{number:09}", password=PASSWORD)
    if status != 303:
        return status
    with database.connection_context():
        code = keys.code(models.Challenge.get(models.Challenge.account == number))
    return browser.ask("/login/code", code=code)[0]
