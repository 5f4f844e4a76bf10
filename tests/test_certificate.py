"""Tests of the live certificate: its content, and the ways in which it ends."""

from __future__ import annotations

import datetime as dt

import pytest
from peewee import PeeweeException

import accounts
import dates
import models
from accounts import sessions
from models import Display, Member, Session


@pytest.fixture
def live(enroll):
    """A phone that shows the certificate of 佐倉 直人, and its clock's address."""
    phone = enroll("佐倉 直人")
    phone.get(phone.page.link("/certificates/"))
    return phone, phone.page.clock["hx-get"]


def poll(phone, clock):
    return phone.get(clock, headers={"HX-Request": "true"})


def ended(page) -> bool:
    """Whether it is the fragment that ends the display: what polls is deleted, there is no time,
    the lease is taken away."""
    assert page.html.startswith('<div id="clock"')
    deleted = page.html.strip().endswith('<input id="tap" hx-swap-oob="delete">')
    gone = any(
        "lease=;" in value and "Max-Age=0" in value
        for value in page.response.headers.getlist("Set-Cookie")
    )
    return (
        page.status == 200
        and not page.ticks
        and deleted
        and "表示を終わりました" in page.text
        and ":" not in page.text
        and gone
    )


def test_two_ticks_a_second_apart_differ_by_one_second(live, time):
    phone, clock = live
    first = poll(phone, clock).text
    time.pass_(1)
    second = poll(phone, clock).text
    assert first.endswith("14:05:33")
    assert second.endswith("14:05:34")
    page = phone.get(f"/certificates/{Member.get(Member.name == '佐倉 直人').public_id}")
    assert (page.clock["id"], page.clock["hx-target"]) == ("tap", "#clock")


def test_the_opening_is_recorded_and_no_tick_is(live, time):
    phone, clock = live
    for _ in range(5):
        poll(phone, clock)
    (display,) = Display.select()
    assert display.viewer.name == display.member.name == "佐倉 直人"


def by_loss():
    Member.update(lost_on=dt.date(2026, 11, 23)).where(Member.name == "佐倉 直人").execute()


def by_paper():
    Member.update(delivery="paper").where(Member.name == "佐倉 直人").execute()


def by_withholding():
    Member.update(withheld=True).where(Member.name == "佐倉 直人").execute()
    accounts.withhold([Member.get(Member.name == "佐倉 直人").id])


def by_password():
    accounts.set_password(
        models.Account.get(models.Account.password_hash.is_null(False)),
        "another password 7",
        1,
        "password.changed",
    )


def by_logout():
    Session.update(ended_at=1).execute()


@pytest.mark.parametrize("cause", [by_loss, by_paper, by_withholding, by_password, by_logout])
def test_whatever_ends_it_the_page_says_so_within_ten_seconds(live, time, cause):
    phone, clock = live
    assert poll(phone, clock).ticks
    cause()
    count = 0
    while poll(phone, clock).ticks:
        count += 1
        time.pass_(1)
        assert count <= 10
    assert ended(phone.page)
    page = phone.page
    assert "ホームへ" in page.text


def test_removing_the_trust_ends_what_the_phone_shows(enroll, time):
    phone = enroll("佐倉 直人", trust="yes")
    phone.get(phone.page.link("/certificates/"))
    clock = phone.page.clock["hx-get"]
    trust = models.Trust.get()
    sessions.remove_trust(trust.account, trust.id, time())
    time.pass_(11)
    assert ended(poll(phone, clock))


def test_a_live_page_runs_fifteen_minutes_and_asks_for_one_tap(live, time):
    phone, clock = live
    for _ in range(14 * 60 // 5):
        time.pass_(5)
        assert poll(phone, clock).ticks
    time.pass_(60)
    page = poll(phone, clock)
    assert not page.ticks
    assert phone.get(page.link("/certificates/")).clock


def test_after_fifteen_minutes_nobody_is_asked_to_open_again_what_is_no_longer_valid(live, time):
    phone, clock = live
    time.pass_(15 * 60)
    assert "/certificates/" in "".join(poll(phone, clock).links)
    by_paper()
    page = poll(phone, clock)
    assert ended(page)
    assert "/certificates/" not in "".join(page.links)


def test_the_page_brings_the_first_lease_with_it(live, time):
    """So that a crowd that opens its certificates at once asks the database nothing for five
    seconds."""
    phone, clock = live
    by_logout()
    time.pass_(4)
    assert poll(phone, clock).ticks


def test_polls_keep_no_session_alive(live, time):
    phone, clock = live
    before = Session.get().seen_at
    for _ in range(20):
        time.pass_(30)
        poll(phone, clock)
    assert Session.get().seen_at == before


def test_a_clock_is_worth_nothing_to_anybody_else(live, enroll, app, time):
    from tests.support.phone import Phone

    _, clock = live
    assert not poll(Phone(app), clock).ticks
    assert not poll(enroll("佐倉 美咲"), clock).ticks


def test_at_midnight_in_tokyo_what_ends_today_ends(live, time):
    phone, _ = live
    Member.update(expires_on=dt.date(2026, 11, 23)).where(Member.name == "佐倉 直人").execute()
    time.moment = dt.datetime(2026, 11, 23, 23, 55, 0, tzinfo=dates.JST).timestamp()
    Session.update(seen_at=int(time.moment), created_at=int(time.moment)).execute()
    phone.get(f"/certificates/{Member.get(Member.name == '佐倉 直人').public_id}")
    clock = phone.page.clock["hx-get"]
    time.moment = dt.datetime(2026, 11, 23, 23, 59, 59, tzinfo=dates.JST).timestamp()
    assert poll(phone, clock).text.endswith("23:59:59")
    time.pass_(1)
    assert ended(poll(phone, clock))


def test_an_absent_branch_and_symbol_read_as_absent(enroll):
    phone = enroll("佐倉 直人")
    Member.update(branch="", symbol="").where(Member.name == "佐倉 直人").execute()
    assert phone.get(phone.page.link("/certificates/")).text.count("なし") >= 2


def test_the_copay_and_the_remarks_are_shown_where_given(enroll):
    phone = enroll("李 明")
    Member.update(copay=20, effective_on=dt.date(2026, 1, 1)).where(
        Member.name == "李 明"
    ).execute()
    text = phone.get(phone.page.link("/certificates/")).text
    for value in ("裏面参照", "戸籍上の性別は裏面: 男", "2割", "令和8年1月1日", "れい"):
        assert value in text


@pytest.mark.parametrize(
    ("path", "statuses"),
    [
        ("/certificates/%00", [404]),
        ("/certificates/%00/clock/%00", [200, 404]),
        ("/password/reset/%00", [410]),
    ],
)
def test_an_address_with_a_nul_in_it_is_nobodys(enroll, path, statuses):
    page = enroll("佐倉 直人").get(path)
    assert page.status in statuses
    assert "hx-trigger" not in page.html


def test_a_tick_that_flask_answers_is_live_and_brings_the_next_lease(app, live, time, monkeypatch):
    """The query in front fails once in a way that Flask is to look at."""
    phone, clock = live
    front, faults = app.extensions["kakunin"].clock, [PeeweeException()]
    asked = front.live

    def fail_once(*args, **options):
        if faults:
            raise faults.pop()
        return asked(*args, **options)

    monkeypatch.setattr(front, "live", fail_once)
    time.pass_(9)
    assert poll(phone, clock).ticks
    (lease,) = phone.page.response.headers.getlist("Set-Cookie")
    assert lease.startswith("lease=")
    assert not faults
