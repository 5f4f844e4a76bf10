"""Tests of the request log, the warning about an old roster, and the figures of `flask stats`."""

from __future__ import annotations

import itertools
import json
import logging
import re
import smtplib
import sqlite3
import subprocess
import threading

import click
import psycopg
import pytest
from peewee import InterfaceError, OperationalError
from playhouse.pool import MaxConnectionsExceeded

import dates
import models
from accounts import housekeeping
from front.admission import ConcurrencyLimit
from front.middleware import RequestLog
from front.plain import plain
from front.program import Lines
from tests.support.people import NAO, PASSWORD
from tests.support.phone import Phone
from tests.support.sample import ROOT
from tests.test_mailer import Broken


@pytest.fixture
def lines(app, monkeypatch, capsys):
    """lines() gives what was logged of requests since it was asked last."""
    monkeypatch.setattr(app.extensions["kakunin"].clock.app, "log", True)
    return lambda: [
        json.loads(line) for line in capsys.readouterr().err.splitlines() if line.startswith("{")
    ]


def test_each_request_is_one_line_with_an_id_that_its_answer_carries(app, lines):
    answer = app.test_client().get("/login")
    (line,) = lines()
    assert line.pop("ms") > 0
    assert line == {
        "time": "2026-11-23T14:05:33.000+09:00",
        "method": "GET",
        "endpoint": "login.login",
        "status": 200,
        "bytes": len(answer.data),
        "request_id": answer.headers["X-Request-ID"],
    }


def test_without_the_setting_nothing_is_logged_but_answers_carry_an_id(app, capsys):
    assert len(app.test_client().get("/login").headers["X-Request-ID"]) == 16
    assert capsys.readouterr().err == ""


def test_the_setting_turns_the_lines_on(app, monkeypatch, capsys):
    from app import create_app

    monkeypatch.setenv("KAKUNIN_LOG_REQUESTS", "1")
    create_app().test_client().get("/healthz")
    assert json.loads(capsys.readouterr().err)["endpoint"] == "home.healthz"


@pytest.mark.parametrize(
    ("path", "options", "status", "endpoint"),
    [
        ("/login", {"headers": {"Host": "evil.example"}}, 400, "front.hosts"),
        ("/login", {"headers": {"Cookie": "session=" + "x" * 20_000}}, 431, "front.hosts"),
        ("/login", {"method": "POST", "data": "x" * 100_000}, 413, "front.bodies"),
        ("/login", {"method": "SECRET"}, 403, "none"),
        ("/nothing/佐倉?x=佐倉", {}, 404, "none"),
        ("/", {}, 303, "home.home"),
        ("/healthz", {"method": "HEAD"}, 200, "home.healthz"),
    ],
)
def test_refusals_are_logged_wherever_they_are_made_and_never_by_their_path(
    app, lines, path, options, status, endpoint
):
    app.test_client(use_cookies=False).open(path, **options)
    (line,) = lines()
    assert (line["status"], line["endpoint"]) == (status, endpoint)
    assert line["method"] in ("GET", "HEAD", "POST", "OTHER")
    assert (line["bytes"] == 0) == (line["method"] == "HEAD")


def test_static_files_are_logged_with_their_size(app, lines):
    page = Phone(app).get("/login")
    (css,) = [
        part
        for part in page.html.split('"')
        if part.startswith("/static/app.") and part.endswith(".css")
    ]
    answer = app.test_client().get(css)
    line = lines()[-1]
    assert (line["endpoint"], line["bytes"]) == ("static", len(answer.data))
    answer.close()


def test_who_is_not_admitted_is_logged_too(app, lines):
    entered, leave = threading.Event(), threading.Event()

    def slow(environ, start_response):
        entered.set()
        leave.wait(5)
        return plain(start_response, "200 OK", "")

    door = RequestLog(ConcurrencyLimit(slow, 1), log=True, proxied=False)
    ask = {"REQUEST_METHOD": "GET"}
    first = threading.Thread(target=door, args=(dict(ask), lambda *_: None))
    first.start()
    assert entered.wait(5)
    door(dict(ask), lambda *_: None)
    (line,) = lines()
    leave.set()
    first.join()
    assert (line["status"], line["endpoint"]) == (503, "front.admission")


def test_ticks_are_not_logged(lines, enroll):
    phone = enroll(NAO)
    phone.get(phone.page.link("/certificates/"))
    clock = phone.page.clock["hx-get"]
    lines()
    for _ in range(3):
        answer = phone.client.get(clock)
        assert answer.status_code == 200
        assert "X-Request-ID" not in answer.headers
    assert lines() == []


@pytest.mark.parametrize(
    ("proxies", "given", "kept"),
    [
        ("1", "7f3a.B_c-9", True),
        ("0", "7f3a.B_c-9", False),
        ("1", "x" * 64, True),
        ("1", "x" * 65, False),
        ("1", "佐倉", False),
        ("1", 'a"b', False),
        ("1", "", False),
    ],
)
def test_an_id_is_taken_from_a_proxy_alone_and_only_where_it_is_one(
    app, monkeypatch, proxies, given, kept
):
    from app import create_app

    monkeypatch.setenv("KAKUNIN_PROXIES", proxies)
    answer = (
        create_app().test_client().get("/healthz", environ_overrides={"HTTP_X_REQUEST_ID": given})
    )
    assert (answer.headers["X-Request-ID"] == given) == kept
    assert answer.headers["X-Request-ID"]


@pytest.mark.parametrize(("proxies", "warnings"), [("0", 1), ("1", 0)])
def test_a_proxy_that_is_not_configured_is_told_once(app, monkeypatch, caplog, proxies, warnings):
    from app import create_app

    monkeypatch.setenv("KAKUNIN_PROXIES", proxies)
    client = create_app().test_client()
    client.get("/login")
    assert "KAKUNIN_PROXIES" not in caplog.text
    for _ in range(2):
        client.get("/login", headers={"X-Forwarded-For": "203.0.113.7"})
    assert caplog.text.count("KAKUNIN_PROXIES is 0") == warnings


def test_an_exception_in_the_log_bears_the_id_of_its_answer(app, monkeypatch, caplog):
    monkeypatch.setattr("views.login.render_template", lambda *_, **__: 1 / 0)
    monkeypatch.setitem(app.config, "PROPAGATE_EXCEPTIONS", False)
    answer = Phone(app).get("/login").response
    assert answer.status_code == 500
    assert (
        f"Exception in login.login [GET], request {answer.headers['X-Request-ID']}" in caplog.text
    )


def full() -> sqlite3.OperationalError:
    """The error of a full disk."""
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorname = "SQLITE_FULL"
    return error


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OperationalError(full(), "typed"), "OperationalError SQLITE_FULL"),
        (
            OperationalError(psycopg.errors.TooManyConnections("typed"), "typed"),
            "OperationalError 53300",
        ),
        (
            OperationalError(psycopg.OperationalError("connection failed:\n  refused")),
            "OperationalError connection failed: refused",
        ),
        (InterfaceError(psycopg.InterfaceError("typed"), "typed"), "InterfaceError"),
        (MaxConnectionsExceeded("all are taken"), "MaxConnectionsExceeded"),
    ],
)
def test_the_log_says_why_the_database_does_not_answer_and_names_nobody(
    app, monkeypatch, caplog, error, told
):
    def away(*_, **__):
        raise error

    monkeypatch.setattr("views.login.render_template", away)
    assert Phone(app).get("/login").response.status_code == 503
    assert caplog.messages[-1] == f"The database does not answer: {told}"


def test_lines_have_level_and_time_and_in_the_journal_the_level_that_it_reads():
    record = logging.makeLogRecord(
        {"levelno": logging.ERROR, "levelname": "ERROR", "msg": "one\ntwo", "created": 0}
    )
    plain = Lines(journal=False).format(record)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} ERROR one\ntwo", plain)
    assert Lines(journal=True).format(record) == "<3>one\n<3>two"
    record.levelno = logging.WARNING
    assert Lines(journal=True).format(record) == "<4>one\n<4>two"


@pytest.fixture
def roster_days_ago(time):
    """Sets the age of the last import."""
    return lambda days, seconds=0: models.RosterImport.update(
        at=int(time()) - days * 86400 - seconds
    ).execute()


@pytest.mark.parametrize(
    ("seconds", "days", "old"), [(0, 35, False), (1, 35, True), (1, 36, False), (1, 0, False)]
)
def test_a_roster_is_old_once_more_than_the_days_of_the_setting_passed(
    app, roster_days_ago, time, caplog, seconds, days, old
):
    roster_days_ago(35, seconds)
    post = app.extensions["kakunin"].mailer
    post.config["ROSTER_DAYS"] = days
    post._tidy()
    assert ("flask roster import" in caplog.text) == old


def test_an_old_roster_is_told_at_the_start_and_then_once_a_day_until_the_next_import(
    app, roster_days_ago, time, caplog
):
    post, told = app.extensions["kakunin"].mailer, []
    roster_days_ago(36)
    for _ in range(49):
        post._tidy()
        told.append(caplog.text.count("flask roster import"))
        time.pass_(3600)
    assert (told[0], told[23], told[24], told[47], told[48]) == (1, 1, 2, 2, 3)
    models.RosterImport.create(at=int(time()), added=0, changed=0, ended=0, unchanged=7)
    time.pass_(86400)
    post._tidy()
    assert caplog.text.count("flask roster import") == 3


def test_before_the_first_import_the_roster_is_old(app, time):
    models.RosterImport.delete().execute()
    assert housekeeping.roster_age(time()) is None
    assert housekeeping.roster_is_old(time(), 35)


@pytest.fixture
def stats(app, time, monkeypatch):
    """stats() is what the operator's monitor reads."""
    monkeypatch.setattr("commands.operations.moment", time)

    def ask():
        done = app.test_cli_runner().invoke(args=["stats", "--json"])
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    return ask


QUIET = {
    "at": "2026-11-23T14:05:33+09:00",
    "logins_last_hour": 0,
    "logins_last_day": 0,
    "codes_sent_last_hour": 0,
    "codes_sent_last_day": 0,
    "codes_failed_last_hour": 0,
    "codes_failed_last_day": 0,
    "mails_waiting": 0,
    "oldest_mail_seconds": 0,
    "notices_waiting": 0,
    "mails_failed_last_day": {},
    "mail_threads": 0,
    "displays_live": 0,
    "sessions": 0,
    "members_web": 0,
    "members_paper": 0,
    "members_none": 0,
    "roster_age_hours": None,
    "roster_too_old": True,
    "schema_up_to_date": True,
}


def test_an_empty_database_has_every_figure_and_docs_name_each(app, stats):
    for table in (models.Member, models.RosterImport):
        table.delete().execute()
    assert stats() == QUIET
    page = (ROOT / "docs" / "operations.md").read_text("utf-8")
    assert [name for name in QUIET if f"`{name}`" not in page] == []


def test_the_japanese_page_types_the_commands_of_the_english_one():
    def typed(page: str) -> set[str]:
        text = (ROOT / "docs" / page).read_text("utf-8")
        return set(re.findall(r"^    (\S.*?)(?: +#.*)?$", text, re.M))

    assert len(typed("operations.ja.md")) > 10
    assert typed("operations.ja.md") - typed("operations.md") == set()


TYPED = re.compile(
    r"(?:^ +|&& |`|\(|bin/)(?:kakunin|flask) ([a-z]+ ?.*?)(?= &&| \||`| > | +#|\)|$)", re.M
)
"""A command of the program in a page: in a block of code, or between backticks."""


def test_each_command_that_a_page_types_is_there_with_its_options(app):
    seen = set()
    for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        text = path.read_text("utf-8").replace("\\\n", " ")
        for words in (typed.split() for typed in TYPED.findall(text)):
            command = app.cli
            while words[:1] not in ([], ["…"]) and isinstance(command, click.Group):
                name = words.pop(0).rstrip(",")
                command = command.commands.get(name) or pytest.fail(f"{path.name}: {name}")
                seen.add(name)
            options = {word.partition("=")[0] for word in words if word.startswith("--")}
            there = {name for option in command.params for name in option.opts}
            assert options <= there, (path.name, command.name, options - there)
    assert {"backup", "import", "print", "reissue", "withhold", "purge", "export"} <= seen


def test_the_shell_reads_each_block_of_the_operators_pages():
    for page in ("operations.md", "operations.ja.md"):
        text = (ROOT / "docs" / page).read_text("utf-8")
        blocks = re.findall(r"(?:^(?: {4}.*)?\n)*^ {4}.*\n", text, re.M)
        scripts = [block for block in blocks if re.search(r"\$\(|&&|#!/bin/sh", block)]
        assert scripts, page
        for script in scripts:
            read = subprocess.run(
                ["bash", "-n"], input=script, capture_output=True, text=True, check=False
            )
            assert not read.stderr, (script, read.stderr)


def test_logins_codes_displays_and_sessions_are_counted_while_they_last(stats, enroll, time):
    phone = enroll(NAO)
    phone.get(phone.page.link("/certificates/"))
    seen = (
        "logins_last_hour",
        "logins_last_day",
        "codes_sent_last_hour",
        "codes_sent_last_day",
        "sessions",
        "displays_live",
    )

    def figures():
        return [stats()[name] for name in seen]

    assert figures() == [1, 1, 1, 1, 1, 1]
    time.pass_(models.DISPLAY_LIFE - 1)
    assert figures()[-2:] == [1, 1]
    time.pass_(1)
    assert figures()[-2:] == [1, 0]
    time.pass_(3600 - models.DISPLAY_LIFE - 1)
    assert figures() == [1, 1, 1, 1, 0, 0]
    time.pass_(1)
    assert figures() == [0, 1, 0, 1, 0, 0]
    time.pass_(82800)
    assert figures() == [0] * 6


def test_a_display_is_live_no_longer_once_its_session_ended(stats, enroll):
    phone = enroll(NAO)
    phone.get(phone.page.link("/certificates/"))
    phone.get("/")
    phone.send("logout")
    found = stats()
    assert (found["logins_last_hour"], found["sessions"], found["displays_live"]) == (1, 0, 0)


def test_a_code_that_waits_or_failed_is_seen(app, stats, letters, enroll, time, monkeypatch):
    post = app.extensions["kakunin"].mailer
    enroll(NAO).send("logout")
    monkeypatch.setattr(post, "wake", lambda: None)
    phone = Phone(app)
    phone.get("/login")
    phone.send(username=letters[NAO][0], password=PASSWORD)
    time.pass_(7)
    assert (stats()["mails_waiting"], stats()["oldest_mail_seconds"]) == (1, 7)
    post.drain(Broken(smtplib.SMTPRecipientsRefused({"x@example.jp": (550, b"no such user")})))
    found = stats()
    assert (
        found["mails_waiting"],
        found["oldest_mail_seconds"],
        found["codes_failed_last_hour"],
    ) == (0, 0, 1)
    assert found["codes_sent_last_hour"] == 1  # of first use


def test_a_withheld_person_and_who_is_not_covered_are_in_no_count(stats, time):
    before = stats()
    assert min(before[f"members_{kind}"] for kind in ("web", "paper", "none")) > 0
    models.Member.update(withheld=True).where(models.Member.name == NAO).execute()
    hidden = stats()
    models.Member.delete().where(models.Member.name == NAO).execute()
    assert hidden == stats() == before | {"members_web": before["members_web"] - 1}
    models.Member.update(lost_on=dates.today(time()), withheld=False).execute()
    assert sum(value for name, value in stats().items() if name.startswith("members_")) == 0


def test_the_roster_s_age_is_told_in_hours(stats, roster_days_ago):
    roster_days_ago(35, 3599)
    assert (stats()["roster_age_hours"], stats()["roster_too_old"]) == (840, True)


def test_an_older_schema_is_told(stats):
    models.database.execute_sql("DELETE FROM schema_migration")
    assert stats()["schema_up_to_date"] is False


def test_without_json_the_same_figures_are_lines_to_read(app, stats):
    lines = app.test_cli_runner().invoke(args=["stats"]).stdout.splitlines()
    assert [line.split(":")[0].replace(" ", "_") for line in lines] == list(QUIET)
    assert "schema up to date: true" in lines


def test_the_clause_and_the_method_agree_on_which_sessions_run(app, enroll, time):
    enroll(NAO)
    account, now = models.Session.get().account_id, int(time())
    idle, trusted, life = (
        models.SESSION_IDLE + models.SEEN_EVERY,
        models.SESSION_IDLE_TRUSTED,
        models.SESSION_LIFE,
    )
    moments = [now - length + step for length in (idle, trusted, life) for step in (-1, 0, 1)]
    for number, (begun, seen, trust, ended) in enumerate(
        itertools.product(moments, moments, (True, False), (None, now))
    ):
        values = {"created_at": begun, "seen_at": seen, "trusted": trust, "ended_at": ended}
        models.Session.create(id=f"s{number}", account=account, **values)
    for moment in (now, now + 0.9):
        by_clause = {
            session.id for session in models.Session.select().where(models.Session.runs(moment))
        }
        assert by_clause == {
            session.id for session in models.Session.select() if session.runs_at(moment)
        }
        assert len(by_clause) > 1


@pytest.mark.sqlite("read SQLite's query plans")
def test_only_members_are_counted_without_an_index(app, stats, time, monkeypatch):
    asked = []
    execute = models.database.obj.execute_sql
    monkeypatch.setattr(
        models.database.obj,
        "execute_sql",
        lambda sql, *rest: asked.append((sql, *rest)) or execute(sql, *rest),
    )
    stats()
    scanned = []
    for sql, *values in asked:
        if (
            sql.startswith("SELECT")
            and "schema_migration" not in sql
            and "sqlite_master" not in sql
        ):
            plan = execute(f"EXPLAIN QUERY PLAN {sql}", *values).fetchall()
            scanned += [
                sql for step in plan if step[3].startswith("SCAN") and "roster_import" not in sql
            ]
    assert len(scanned) == 1, scanned
    assert 'FROM "member"' in scanned[0]
