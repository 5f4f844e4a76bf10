"""What tests share: an empty database, a moment to stand in, the program with the sample roster, and phones."""

from __future__ import annotations

import csv
import datetime as dt
import json
import re
import shutil
from pathlib import Path

import pytest

import models
from tests.phone import Phone

ROSTERS = Path(__file__).parent / "rosters"
KEY = "9d3c1f0a7b5e4826c1d0f9e8b7a6954321fedcba0123456789abcdef01234567"
INSURERS = {
    "06139463": {
        "name": "見本健康保険組合",
        "address": "東京都千代田区架空町1-2-3",
        "phone": "03-0000-1234",
        "hours": "平日9時から17時",
    }
}


@pytest.fixture
def now():
    """Monday 2026-11-23, 14:05:33 in Tokyo, in seconds since 1970."""
    return dt.datetime(2026, 11, 23, 14, 5, 33, tzinfo=models.JST).timestamp()


@pytest.fixture
def store(tmp_path):
    """An empty database with every table."""
    from tests.clerk import fresh_url

    models.connect(fresh_url(tmp_path))
    models.database.create_tables(models.TABLES)
    yield models.database
    models.database.close_all()


class Time:
    """The moment that the program under test believes it is."""

    def __init__(self, moment: float) -> None:
        self.moment = moment

    def __call__(self) -> float:
        return self.moment

    def pass_(self, seconds: float) -> None:
        self.moment += seconds


@pytest.fixture
def time(now):
    return Time(now)


@pytest.fixture(scope="session")
def imported(tmp_path_factory):
    """A database into which the sample roster was imported by the command, with its letters."""
    folder = tmp_path_factory.mktemp("imported")
    with pytest.MonkeyPatch.context() as patch:
        settings_for(patch, folder)
        from app import create_app

        app = create_app()
        letters = str(folder / "letters.csv")
        with app.app_context():
            for arguments in (
                ["db", "upgrade"],
                ["roster", "import", str(ROSTERS / "roster-utf8.csv"), "--credentials", letters],
            ):
                done = app.test_cli_runner().invoke(args=arguments)
                assert done.exit_code == 0, done.output
        models.database.close_all()
    return folder


def settings_for(patch: pytest.MonkeyPatch, folder: Path) -> None:
    patch.setenv("KAKUNIN_SECRET_KEY", KEY)
    patch.setenv("KAKUNIN_DATABASE_URL", f"sqlite:///{folder}/kakunin.db")
    patch.setenv("KAKUNIN_MAIL_URL", "smtp://127.0.0.1:1")
    patch.setenv("KAKUNIN_MAIL_FROM", "noreply@kakunin.example")
    patch.setenv("KAKUNIN_BASE_URL", "http://localhost")
    patch.setenv("KAKUNIN_INSURERS", json.dumps(INSURERS))
    patch.setenv("KAKUNIN_INSECURE_COOKIES", "1")


class Box(list):
    """Where mails land in request tests: as the queue's real text, without threads."""

    def send(self, message) -> None:
        self.append(message)

    def close(self) -> None:
        pass

    @property
    def code(self) -> str:
        """The six digits of the newest mail."""
        found = re.findall(r"(?<!\d)\d{6}(?!\d)", self[-1].get_content())
        assert len(found) == 1, self[-1].get_content()
        return found[0]

    @property
    def link(self) -> str:
        found = re.findall(r"https?://\S+", self[-1].get_content())
        assert len(found) == 1, self[-1].get_content()
        return found[0]


@pytest.fixture
def app(imported, tmp_path, monkeypatch, time, mails):
    """The program with the sample roster, at `time`."""
    shutil.copy(imported / "kakunin.db", tmp_path / "kakunin.db")
    settings_for(monkeypatch, tmp_path)
    from app import create_app

    app = create_app(now=time)
    mailer = app.extensions["kakunin"].mailer
    monkeypatch.setattr(mailer, "ring", lambda: mailer.drain(mails))
    yield app
    models.database.close_all()


@pytest.fixture
def mails():
    return Box()


@pytest.fixture
def letters(imported):
    """name: (login id, temporary password), as the clerk's file has them."""
    with (imported / "letters.csv").open(encoding="utf-8-sig", newline="") as file:
        return {row["氏名"]: (row["ログインID"], row["仮パスワード"]) for row in csv.DictReader(file)}


BORN = {
    "佐倉 直人": "19790612",
    "佐倉 美咲": "1982-09-08",
    "戸田 さくら": "H2.1.5",
    "戸田 海斗": "平成元年10月31日",
    "森川 剛": "19611111",
    "野々村 葵": "1995/5/15",
    "濵﨑 ●子": "S43.4.29",
    "李 明": "昭和61年7月17日",
}
PASSWORD = "correct horse battery 9"


@pytest.fixture
def enroll(app, letters, mails, time):
    """enroll(name) finishes a person's first use and returns their phone, on home."""

    def enroll(name: str, email: str = "") -> Phone:
        phone = Phone(app)
        login_id, temporary = letters[name]
        phone.get("/login")
        phone.send(username=login_id, password=temporary)
        address = email or f"p{abs(hash(name)) % 10**4}@example.jp"
        phone.send(bday=BORN[name], new_password=PASSWORD, email=address)
        phone.send(code=mails.code)
        assert phone.page.url == "/", phone.page.text
        return phone

    return enroll


@pytest.fixture
def log_in(app, letters, mails):
    """log_in(name) logs an enrolled person in on a new phone, with a code from the mail."""

    def log_in(name: str, phone: Phone | None = None) -> Phone:
        phone = phone or Phone(app)
        phone.get("/login")
        phone.send(username=letters[name][0], password=PASSWORD)
        if phone.page.url != "/":
            phone.send(code=mails.code)
        assert phone.page.url == "/", phone.page.text
        return phone

    return log_in
