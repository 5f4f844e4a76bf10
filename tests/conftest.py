"""Shared fixtures: a database of either kind, a fixed moment, the application with the sample
roster, and phones. Browser tests get the real server, a mail server and a Chromium.
"""

from __future__ import annotations

import contextlib
import gc
import os
import re
import shutil
from collections import Counter
from pathlib import Path

import psycopg
import pytest
from argon2 import PasswordHasher
from flask import Flask
from jinja2 import FileSystemBytecodeCache
from werkzeug.routing import Rule

import database
import models
from accounts import passwords
from settings import SETTINGS
from tests.support.clerk import make_app
from tests.support.first_uses import FirstUses
from tests.support.office import Clerk
from tests.support.people import BORN, PASSWORD, settings_for
from tests.support.phone import Phone
from tests.support.postgres import Cluster
from tests.support.ready import Missing
from tests.support.sample import NOW, import_at_now, logins_in
from tests.support.volumes import can_mount

pytest_plugins = ["tests.support.browsers"]


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
    config.addinivalue_line("markers", "browser: it opens a browser, which the hook below finds")
    config.addinivalue_line("markers", "both: it opens a browser, and still runs on PostgreSQL too")
    config.addinivalue_line("markers", "sqlite(reason): it runs on SQLite alone")
    config.addinivalue_line(
        "markers",
        "slow: it starts servers, which the hook below finds, or many programs, or has many threads wait,"
        " which spin under libfaketime; not run on other days",
    )


def left_out(item, database: str) -> str:
    """Return why a test does not run on this database, or an empty text if it runs. On PostgreSQL
    only tests that use a database run, since `make test` has run all tests on SQLite before.
    """
    if "volume" in item.fixturenames and not can_mount():
        return "mount volumes, which root may do on Linux"
    if database == "sqlite":
        return ""
    if "fresh" not in item.fixturenames:
        return "store nothing"
    if opens_browser(item) and not item.get_closest_marker("both"):
        return "look at pages, which the same tests without a browser get from PostgreSQL too"
    mark = item.get_closest_marker("sqlite")
    return mark.args[0] if mark else ""


def opens_browser(item) -> bool:
    return not {"chromium", "webkit"}.isdisjoint(item.fixturenames)


def starts_servers(item) -> bool:
    """Return whether a test is known to start servers, by its folder and its fixtures."""
    named = {"postbox", "site"} & set(item.fixturenames)
    return "faults" in item.path.parts or bool(named) or opens_browser(item)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Mark tests that start servers as slow and those that open a browser as such, and deselect
    tests that do not run on this database."""
    for item in filter(opens_browser, items):
        item.add_marker("browser")
    for item in filter(starts_servers, items):
        item.add_marker("slow")
    reasons = [left_out(item, config.getoption("database")) for item in items]
    config.hook.pytest_deselected(
        items=[item for item, reason in zip(items, reasons, strict=True) if reason]
    )
    items[:] = [item for item, reason in zip(items, reasons, strict=True) if not reason]
    config.stash[LEFT_OUT] = Counter(filter(None, reasons))
    if hasattr(config, "workeroutput"):  # each of several processes collects all tests
        config.workeroutput["left out"] = dict(config.stash[LEFT_OUT])


def pytest_collection_finish():
    """Look no more through what the tests' modules hold, which is a tenth of a run."""
    gc.collect()
    gc.freeze()


def pytest_testnodedown(node):
    node.config.stash[LEFT_OUT] = Counter(node.workeroutput["left out"])


@contextlib.contextmanager
def left_out_if_missing():
    """Skip the test if it needs something that this machine lacks. If CI is set, it fails."""
    try:
        yield
    except Missing as error:
        if "CI" in os.environ:
            raise
        pytest.skip(f"{NEED}{error.name}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup():
    with left_out_if_missing():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call():
    with left_out_if_missing():
        return (yield)


def pytest_terminal_summary(terminalreporter, config):
    database = config.getoption("database")
    where = " on PostgreSQL" if database == "postgresql" else ""
    reasons = [str(report.longrepr[2]) for report in terminalreporter.getreports("skipped")]
    lacking = Counter(reason.rpartition(NEED)[2] for reason in reasons if NEED in reason)
    for reason, count in config.stash.get(LEFT_OUT, Counter()).items():
        terminalreporter.write_line(f"{count} tests not run{where}: they {reason}.")
    for name, count in lacking.items():
        terminalreporter.write_line(f"{count} tests not run{where}: they {NEED}{name}.")
    if hasattr(config, "cache"):  # ready.left() adds up the runs of `make test`
        run = re.sub(r"\W+", "-", f"{database} {config.option.markexpr}")
        config.cache.set(f"kakunin/{run}", lacking)
    for report in terminalreporter.getreports("passed"):
        if report.when == "call" and "/faults/" in report.nodeid:  # what was lost
            terminalreporter.write(report.capstdout)


LEFT_OUT = pytest.StashKey[Counter]()
NEED = "need a program that is missing: "


@pytest.fixture(scope="session")
def cluster(request):
    """The PostgreSQL cluster of this run, or None if it uses SQLite."""
    if request.config.getoption("database") == "sqlite":
        yield None
        return
    with Cluster() as started:
        yield started


def new_database(
    cluster: Cluster | None, folder: Path, name: str = "kakunin", template: str | Path = ""
) -> str:
    """Create a database, empty or as a copy of the one at the URL `template`, and return its URL.
    Drop an older one first."""
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
    """fresh() creates the test's own database anew and returns its URL. fresh(url) creates it as a
    copy of the one at `url`.

    Tests that use this fixture run on both databases.
    """

    def fresh(template: str = "") -> str:
        return new_database(cluster, tmp_path, template=template)

    yield fresh
    if models.database.obj is not None:
        models.database.close_all()


@pytest.fixture
def store(fresh, upgraded):
    """An empty database with every table."""
    database.connect(fresh(upgraded))
    yield models.database
    models.database.close_all()


class Time:
    """The clock of the application under test, which returns `moment` until a test changes it."""

    def __init__(self, moment: float) -> None:
        self.moment = moment

    def __call__(self) -> float:
        return self.moment

    def pass_(self, seconds: float) -> None:
        self.moment += seconds


@pytest.fixture(scope="session", autouse=True)
def slow_hasher():
    """The hasher of the application. In the tests' own process a quick one takes its place, since
    they hash thousands of passwords."""
    slow, quick = passwords.HASHER, PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "HASHER", quick)
        patch.setattr(passwords, "_UNKNOWN", quick.hash("nobody"))
        yield slow


@pytest.fixture(scope="session", autouse=True)
def unsynced_files():
    """Let SQLite not wait for the disk in the tests' own process. Programs that tests start wait."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(database.PRAGMAS, "synchronous", "off")
        yield


@pytest.fixture(scope="session", autouse=True)
def compiled_once(tmp_path_factory):
    """Compile each template and each route once, not once for each application that a test makes."""
    cache = FileSystemBytecodeCache(str(tmp_path_factory.mktemp("templates")))
    compile_route, routes = Rule._compile_builder, {}

    def compiled(rule, append_unknown=True):
        key = rule.rule, str(rule.defaults), append_unknown
        if key not in routes:
            routes[key] = compile_route(rule, append_unknown)
        return routes[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(Flask.jinja_options, "bytecode_cache", cache)
        patch.setattr(Rule, "_compile_builder", compiled)
        yield


@pytest.fixture
def time(now):
    return Time(now)


@pytest.fixture(scope="session")
def upgraded(tmp_path_factory, cluster):
    """The URL of an empty database with every table."""
    url = new_database(cluster, tmp_path_factory.mktemp("upgraded"), "upgraded")
    with pytest.MonkeyPatch.context() as patch:
        settings_for(patch, url)
        done = make_app().test_cli_runner().invoke(args=["db", "upgrade"])
        assert done.exit_code == 0, done.output
        models.database.close_all()
    return url


@pytest.fixture(scope="session")
def imported(tmp_path_factory, cluster):
    """The URL of a database with the imported sample roster, and the folder with its letters."""
    folder = tmp_path_factory.mktemp("imported")
    url = new_database(cluster, folder, "imported")
    with pytest.MonkeyPatch.context() as patch:
        settings_for(patch, url)
        import_at_now(folder)
    return url, folder


class Box(list):
    """The mails of tests without a server. It takes the place of the mailer's transport, and gets
    the real messages."""

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
    """The application with the sample roster, whose clock is `time`."""
    settings_for(monkeypatch, fresh(imported[0]))
    from app import create_app

    app = create_app(now=time)
    mailer = app.extensions["kakunin"].mailer
    monkeypatch.setattr(mailer, "wake", lambda: mailer.drain(mails))
    yield app
    models.database.close_all()


@pytest.fixture
def mails():
    return Box()


@pytest.fixture
def letters(imported):
    return logins_in(imported[1])


@pytest.fixture(scope="session")
def first_uses(tmp_path_factory, imported, cluster):
    return None if cluster else FirstUses(imported[0], tmp_path_factory.mktemp("first-uses"))


@pytest.fixture
def enroll(app, letters, mails, time, first_uses):
    """enroll(name) completes a person's first use and returns their phone, which shows home.
    trust="yes" trusts the phone."""

    def enroll(name: str, email: str = "", **boxes: str) -> Phone:
        phone = Phone(app)
        settings = {key: app.config[key] for key in SETTINGS if key != "DATABASE_URL"}
        if first_uses and time.moment == NOW:
            who = (name, email, str(boxes), str(settings))
            first_uses.repeat(phone, mails, who, lambda: use(phone, name, email, boxes))
        else:
            use(phone, name, email, boxes)
        assert phone.page.url == "/", phone.page.text
        return phone

    def use(phone: Phone, name: str, email: str, boxes: dict[str, str]) -> None:
        login_id, temporary = letters[name]
        phone.get("/login")
        phone.send(username=login_id, password=temporary)
        address = email or f"p{list(BORN).index(name)}@example.jp"
        phone.send(bday=BORN[name], new_password=PASSWORD, email=address)
        phone.send(code=mails.code, **boxes)

    return enroll


@pytest.fixture
def log_in(app, letters, mails):
    """log_in(name) logs an enrolled person in with the mailed code, on a new phone unless one is
    given."""

    def log_in(name: str, phone: Phone | None = None) -> Phone:
        phone = phone or Phone(app)
        phone.get("/login")
        phone.send(username=letters[name][0], password=PASSWORD)
        if phone.page.url != "/":
            phone.send(code=mails.code)
        assert phone.page.url == "/", phone.page.text
        return phone

    return log_in


@pytest.fixture
def clerk(fresh, upgraded, tmp_path, monkeypatch, now):
    settings_for(monkeypatch, fresh(upgraded))
    monkeypatch.setattr("commands.rosters.moment", lambda: now)
    monkeypatch.setattr("commands.people.moment", lambda: now)
    yield Clerk(tmp_path)
    models.database.close_all()
