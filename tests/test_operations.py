"""What the operator sees: a line for each request, how old the roster is, figures, and backups."""

from __future__ import annotations

import json
import threading

import pytest

import front
import models
from tests.conftest import NAO
from tests.phone import Phone


@pytest.fixture
def lines(app, monkeypatch, capsys):
    """lines() gives what was logged of requests since it was asked last."""
    monkeypatch.setattr(app.extensions["kakunin"].clock.app, "log", True)
    return lambda: [json.loads(line) for line in capsys.readouterr().err.splitlines() if line.startswith("{")]


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
def test_refusals_are_logged_wherever_they_are_made_and_never_by_their_path(app, lines, path, options, status, endpoint):
    app.test_client(use_cookies=False).open(path, **options)
    (line,) = lines()
    assert (line["status"], line["endpoint"]) == (status, endpoint)
    assert line["method"] in ("GET", "HEAD", "POST", "OTHER")
    assert (line["bytes"] == 0) == (line["method"] == "HEAD")


def test_static_files_are_logged_with_their_size(app, lines):
    page = Phone(app).get("/login")
    (css,) = [part for part in page.html.split('"') if part.startswith("/static/app.") and part.endswith(".css")]
    answer = app.test_client().get(css)
    line = lines()[-1]
    assert (line["endpoint"], line["bytes"]) == ("static", len(answer.data))
    answer.close()


def test_who_is_not_admitted_is_logged_too(app, lines):
    entered, leave = threading.Event(), threading.Event()

    def slow(environ, start_response):
        entered.set()
        leave.wait(5)
        return front.plain(start_response, "200 OK", "")

    door = front.Requests(front.Admission(slow, 1), log=True, proxied=False)
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
def test_an_id_is_taken_from_a_proxy_alone_and_only_where_it_is_one(app, monkeypatch, proxies, given, kept):
    from app import create_app

    monkeypatch.setenv("KAKUNIN_PROXIES", proxies)
    answer = create_app().test_client().get("/healthz", environ_overrides={"HTTP_X_REQUEST_ID": given})
    assert (answer.headers["X-Request-ID"] == given) == kept
    assert answer.headers["X-Request-ID"]


def test_an_exception_in_the_log_bears_the_id_of_its_answer(app, monkeypatch, caplog):
    monkeypatch.setattr("views.login.render_template", lambda *_, **__: 1 / 0)
    monkeypatch.setitem(app.config, "PROPAGATE_EXCEPTIONS", False)
    answer = Phone(app).get("/login").response
    assert answer.status_code == 500
    assert f"Exception in login.login [GET], request {answer.headers['X-Request-ID']}" in caplog.text


@pytest.fixture
def roster_days_ago(time):
    """Sets the age of the last import."""
    return lambda days, seconds=0: models.RosterImport.update(at=int(time()) - days * 86400 - seconds).execute()


@pytest.mark.parametrize(("seconds", "days", "old"), [(0, 35, False), (1, 35, True), (1, 36, False), (1, 0, False)])
def test_a_roster_is_old_once_more_than_the_days_of_the_setting_passed(
    app, roster_days_ago, time, caplog, seconds, days, old
):
    roster_days_ago(35, seconds)
    post = app.extensions["kakunin"].mailer
    post.config["ROSTER_DAYS"] = days
    post._tidy()
    assert ("flask roster import" in caplog.text) == old


def test_an_old_roster_is_told_at_the_start_and_then_once_a_day_until_the_next_import(app, roster_days_ago, time, caplog):
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
    assert models.RosterImport.age(time()) is None
    assert models.RosterImport.is_old(time(), 35)
