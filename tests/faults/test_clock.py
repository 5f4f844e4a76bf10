"""The server's own clock is set back or ahead under a live page: it is never wrongly live, and comes back by itself."""

from __future__ import annotations

import pytest

import models
from models import Member
from tests.conftest import NAO

HOUR, DAY = 3600, 86400


@pytest.mark.parametrize("step", [-DAY, -HOUR, -11, HOUR // 10, HOUR, DAY, 400 * DAY])
def test_a_clock_that_steps_shows_nothing_wrongly_live(enroll, time, step):
    phone = enroll(NAO)
    page = phone.get(phone.get("/").link("/certificates/"))
    clock = page.clock["hx-get"]
    assert "every 1s" in phone.get(clock).html
    time.pass_(step)
    Member.update(delivery="paper").where(Member.name == NAO).execute()
    time.pass_(15 + 10 * (-20 < step < 0))  # what an end may take; a lease is dated, so that a small step back adds to it
    page = phone.get(clock)
    assert page.status < 500
    assert "every 1s" not in page.html


@pytest.mark.parametrize("step", [-HOUR, -11, 11, 60])
def test_a_clock_that_steps_a_little_and_back_ends_no_session(enroll, time, step):
    phone = enroll(NAO)
    clock = phone.get(phone.get("/").link("/certificates/")).clock["hx-get"]
    for change in (step, -step):
        time.pass_(change)
        assert phone.get(clock).status == 200
        assert phone.get("/").status == 200
        assert phone.page.url == "/"
    assert "every 1s" in phone.get(clock).html
    assert models.Session.select().count() == 1
