"""The server's own clock is set back or ahead under a live page: it is never wrongly live, and
comes back by itself."""

from __future__ import annotations

import pytest
from itsdangerous import SignatureExpired

import models
from models import Member
from tests.support.people import NAO, PASSWORD
from tests.support.phone import Phone

HOUR, DAY = 3600, 86400


@pytest.mark.parametrize("step", [-DAY, -HOUR, -11, HOUR // 10, HOUR, DAY, 400 * DAY])
def test_a_clock_that_steps_shows_nothing_wrongly_live(enroll, time, step):
    phone = enroll(NAO)
    page = phone.get(phone.get("/").link("/certificates/"))
    clock = page.clock["hx-get"]
    assert phone.get(clock).ticks
    time.pass_(step)
    Member.update(delivery="paper").where(Member.name == NAO).execute()
    # what an end may take; a lease is dated, so that a small step back adds to it
    time.pass_(15 + 10 * (-20 < step < 0))
    page = phone.get(clock)
    assert page.status < 500
    assert not page.ticks


@pytest.mark.parametrize("step", [-models.AHEAD, -11, 11, 60])
def test_a_clock_that_steps_a_little_and_back_ends_no_session(enroll, time, step):
    phone = enroll(NAO)
    clock = phone.get(phone.get("/").link("/certificates/")).clock["hx-get"]
    for change in (step, -step):
        time.pass_(change)
        assert phone.get(clock).status == 200
        assert phone.get("/").url == "/"
    assert phone.get(clock).ticks
    assert models.Session.select().count() == 1


def test_a_clock_set_back_an_hour_lengthens_nothing(enroll, app, time, mails, letters):
    shown = enroll(NAO)
    clock = shown.get(shown.get("/").link("/certificates/")).clock["hx-get"]
    entering = Phone(app)
    entering.get("/login")
    entering.send(username=letters[NAO][0], password=PASSWORD)
    code = mails.code
    time.pass_(-HOUR)
    page = shown.get(clock)
    assert not page.ticks
    assert shown.get("/").url == "/login"
    assert entering.send(code=code).url != "/"
    entering.get("/login")
    entering.send(username=letters[NAO][0], password=PASSWORD)
    assert entering.send(code=mails.code).url == "/", "a new login works at once"


def test_a_session_begun_on_a_machine_a_second_ahead_runs_on_this_one(enroll, app, monkeypatch):
    from accounts import keys

    ahead = keys.Stamps.get_timestamp
    with monkeypatch.context() as other:
        other.setattr(keys.Stamps, "get_timestamp", lambda self: ahead(self) + 2)
        phone = enroll(NAO)
        token = app.extensions["kakunin"].keys.links("test").dumps("a")
    assert phone.get("/").url == "/"
    assert app.extensions["kakunin"].keys.links("test").loads(token, max_age=60) == "a"
    with monkeypatch.context() as other:
        other.setattr(keys.Stamps, "get_timestamp", lambda self: ahead(self) + models.AHEAD + 2)
        token = app.extensions["kakunin"].keys.links("test").dumps("a")
    with pytest.raises(SignatureExpired):
        app.extensions["kakunin"].keys.links("test").loads(token, max_age=60)
