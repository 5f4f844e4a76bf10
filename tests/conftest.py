"""What tests share: a database of either kind, a moment to stand in, the program with the sample
roster, and phones; for the browser's tests the real server, a mail server and a Chromium.
"""

from __future__ import annotations

import email
import email.policy
import json
import re
import shutil
import signal
import socket
import subprocess
from collections import Counter
from pathlib import Path
from time import sleep

import psycopg
import pytest
from aiosmtpd.controller import Controller
from playwright.sync_api import Page, sync_playwright

import database
import models
from tests.support.phone import Phone
from tests.support.postgres import Cluster, free_port
from tests.support.ready import browser
from tests.support.sample import FLASK, NOW, ROOT, import_at_now, import_sample, logins_in
from tests.support.webkit import browser as webkit_browser

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
    """The moment NOW, in seconds since 1970."""
    return NOW


def pytest_addoption(parser):
    parser.addoption(
        "--database",
        choices=["sqlite", "postgresql"],
        default="sqlite",
        help="where the tests store",
    )


def pytest_configure(config):
    config.addinivalue_line("markers", "both: it opens a browser, and still runs on PostgreSQL too")
    config.addinivalue_line("markers", "sqlite(reason): it runs on SQLite alone")
    config.addinivalue_line(
        "markers",
        "slow: it starts servers, which the hook below finds, or many programs; not run on other days",
    )


def left_out(item, database: str) -> str:
    """Return why a test does not run on this database, or "". PostgreSQL gets what stores: SQLite
    has had everything before."""
    if "webkit" in item.fixturenames and not webkit_browser():
        return "need WebKit, which is not here (Debian's packages: webkit2gtk-driver, xvfb, xauth)"
    if database == "sqlite":
        return ""
    if "fresh" not in item.fixturenames:
        return "store nothing"
    if {"chromium", "webkit"} & set(item.fixturenames) and not item.get_closest_marker("both"):
        return "look at pages, which the same tests without a browser get from PostgreSQL too"
    mark = item.get_closest_marker("sqlite")
    return mark.args[0] if mark else ""


def starts_servers(item) -> bool:
    """Return whether a test is known to start servers, by its folder and its fixtures."""
    return "faults" in item.path.parts or not {"chromium", "webkit", "postbox", "site"}.isdisjoint(
        item.fixturenames
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Mark what starts servers, and leave out what does not run on this database."""
    for item in filter(starts_servers, items):
        item.add_marker("slow")
    reasons = [left_out(item, config.getoption("database")) for item in items]
    config.hook.pytest_deselected(
        items=[item for item, reason in zip(items, reasons, strict=True) if reason]
    )
    items[:] = [item for item, reason in zip(items, reasons, strict=True) if not reason]
    config.stash[LEFT_OUT] = Counter(filter(None, reasons))


def pytest_terminal_summary(terminalreporter, config):
    where = " on PostgreSQL" if config.getoption("database") == "postgresql" else ""
    for reason, count in config.stash.get(LEFT_OUT, Counter()).items():
        terminalreporter.write_line(f"{count} tests not run{where}: they {reason}.")
    for report in terminalreporter.getreports("passed"):
        if report.when == "call" and "/faults/" in report.nodeid:  # what was lost
            terminalreporter.write(report.capstdout)


LEFT_OUT = pytest.StashKey[Counter]()


@pytest.fixture(scope="session")
def cluster(request):
    """This run's PostgreSQL; None where it stores in SQLite."""
    if request.config.getoption("database") == "sqlite":
        yield None
        return
    with Cluster() as started:
        yield started


def new_database(
    cluster: Cluster | None, folder: Path, name: str = "kakunin", template: str | Path = ""
) -> str:
    """The address of a database begun anew: empty, or a copy of the one whose address `template`
    is."""
    if cluster:
        with psycopg.connect(cluster.url(), autocommit=True) as link:
            link.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            link.execute(
                f"CREATE DATABASE {name} TEMPLATE {str(template).rpartition('/')[2] or 'template1'}"
            )
        return cluster.url(name)
    for old in folder.glob(f"{name}.db*"):
        old.unlink()
    if template:
        shutil.copy(str(template).removeprefix("sqlite:///"), folder / f"{name}.db")
    return f"sqlite:///{folder}/{name}.db"


@pytest.fixture
def fresh(cluster, tmp_path):
    """fresh() begins the test's own database anew and gives its address; fresh(address) as a copy
    of that one.

    Whoever asks for it stores, and so runs on both databases.
    """

    def fresh(template: str = "") -> str:
        return new_database(cluster, tmp_path, template=template)

    yield fresh
    if models.database.obj is not None:
        models.database.close_all()


@pytest.fixture
def store(fresh):
    """An empty database with every table."""
    database.connect(fresh())
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
def imported(tmp_path_factory, cluster):
    """(address, folder) of a database into which the sample roster was imported by the command, and
    of its letters."""
    folder = tmp_path_factory.mktemp("imported")
    url = new_database(cluster, folder, "imported")
    with pytest.MonkeyPatch.context() as patch:
        settings_for(patch, url)
        import_at_now(folder)
    return url, folder


def settings_for(patch: pytest.MonkeyPatch, url: str) -> None:
    patch.setenv("KAKUNIN_SECRET_KEY", KEY)
    patch.setenv("KAKUNIN_DATABASE_URL", url)
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
def app(imported, fresh, monkeypatch, time, mails):
    """The program with the sample roster, at `time`."""
    settings_for(monkeypatch, fresh(imported[0]))
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
    return logins_in(imported[1])


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
NAO = "佐倉 直人"


@pytest.fixture
def enroll(app, letters, mails, time):
    """enroll(name) finishes a person's first use and returns their phone, on home; trust="yes"
    ticks the box of the code page."""

    def enroll(name: str, email: str = "", **boxes: str) -> Phone:
        phone = Phone(app)
        login_id, temporary = letters[name]
        phone.get("/login")
        phone.send(username=login_id, password=temporary)
        address = email or f"p{list(BORN).index(name)}@example.jp"
        phone.send(bday=BORN[name], new_password=PASSWORD, email=address)
        phone.send(code=mails.code, **boxes)
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


class Postbox:
    """What the mail server took."""

    def __init__(self) -> None:
        self.mails = []

    async def handle_DATA(self, _server, _session, envelope):
        self.mails.append(email.message_from_bytes(envelope.content, policy=email.policy.default))
        return "250 OK"

    def code(self, count: int = 1) -> str:
        """The code of the newest mail, once `count` have come."""
        for _ in range(100):
            if len(self.mails) >= count:
                return re.search(r"(?<!\d)\d{6}(?!\d)", self.mails[-1].get_content()).group()
            sleep(0.1)
        raise AssertionError(f"no mail number {count}")


@pytest.fixture(scope="module")
def postbox():
    box = Postbox()
    server = Controller(box, hostname="127.0.0.1", port=free_port())
    server.start()
    box.port = server.port
    yield box
    server.stop()


@pytest.fixture
def site(fresh, tmp_path, monkeypatch, postbox):
    """make serve, without make: the real server with the sample roster. Yields (address, process,
    letters)."""
    settings_for(monkeypatch, fresh())
    port = free_port()
    monkeypatch.setenv("KAKUNIN_MAIL_URL", f"smtp://127.0.0.1:{postbox.port}")
    monkeypatch.setenv("KAKUNIN_BASE_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("HOST", "127.0.0.1")
    monkeypatch.setenv("PORT", str(port))
    letters = import_sample(tmp_path)
    process = subprocess.Popen(
        [*FLASK, "serve"], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        sleep(0.05)
    yield f"http://127.0.0.1:{port}", process, letters
    if process.poll() is None:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        process.wait(40)


@pytest.fixture(scope="module")
def chromium():
    arguments = [
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
    ]
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=browser(), args=arguments)
        yield opened
        opened.close()


@pytest.fixture
def phone(chromium):
    """A phone that fails the test on a CSP violation or a script error."""
    context = chromium.new_context(
        viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True, locale="ja-JP"
    )
    page = context.new_page()
    faults = []
    page.on(
        "console",
        lambda message: faults.append(message.text) if "Security Policy" in message.text else None,
    )
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.set_default_timeout(10_000)
    yield page
    context.close()
    assert not faults


def first_use(page: Page, site, postbox: Postbox, name: str = NAO) -> None:
    """Through first use to home."""
    address, _, letters = site
    page.goto(f"{address}/login")
    page.fill("[name=username]", letters[name][0])
    page.fill("[name=password]", letters[name][1])
    submit(page)
    page.fill("[name=bday]", BORN[name])
    page.fill("[name=new-password]", PASSWORD)
    page.fill("[name=email]", "nao@example.jp")
    count = len(postbox.mails)
    submit(page)
    page.fill("[name=code]", postbox.code(count + 1))
    submit(page)
    page.wait_for_url(f"{address}/")


def log_in_again(page: Page, site, postbox: Postbox, name: str = NAO) -> None:
    """With the own password and a mailed code, from the login to home."""
    address, _, letters = site
    page.fill("[name=username]", letters[name][0])
    page.fill("[name=password]", PASSWORD)
    count = len(postbox.mails)
    submit(page)
    page.fill("[name=code]", postbox.code(count + 1))
    submit(page)
    page.wait_for_url(f"{address}/")


def submit(page: Page) -> None:
    page.locator("main form button[type=submit]").first.click()
