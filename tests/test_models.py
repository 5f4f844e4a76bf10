"""The rules of eligibility, at their borders."""

import datetime as dt

import pytest

import dates
import models
from models import DEPENDENT, NONE, PAPER, SUBSCRIBER, WEB, Member

DAY = dt.date(2026, 11, 23)


def member(**fields) -> Member:
    """A subscriber whose certificate is valid, but for what is named."""
    given = {
        "id": 1,
        "household": "06139463\t128\t1024",
        "birth_date": dt.date(1979, 6, 12),
        "relation": SUBSCRIBER,
        "qualified_on": dt.date(2004, 4, 1),
        "lost_on": None,
        "delivery": WEB,
        "issued_on": dt.date(2025, 11, 15),
        "expires_on": dt.date(2028, 12, 1),
    }
    return Member(**(given | fields))


@pytest.mark.parametrize(
    ("fields", "state"),
    [
        ({}, "valid"),
        ({"lost_on": DAY + dt.timedelta(days=1)}, "valid"),
        ({"lost_on": DAY}, "ended"),  # the day of loss itself is already outside
        ({"expires_on": DAY}, "valid"),  # inclusive
        ({"expires_on": DAY - dt.timedelta(days=1)}, "expired"),
        ({"issued_on": DAY}, "valid"),
        ({"issued_on": DAY + dt.timedelta(days=1)}, "not_yet"),
        ({"qualified_on": DAY + dt.timedelta(days=1)}, "not_yet"),
        ({"delivery": PAPER}, "paper"),
        ({"delivery": NONE, "issued_on": None, "expires_on": None}, "none"),
        ({"delivery": PAPER, "lost_on": DAY}, "ended"),
        ({"birth_date": dt.date(1951, 11, 24)}, "valid"),  # 75 tomorrow
        ({"birth_date": dt.date(1951, 11, 23)}, "expired"),  # 75 today
    ],
)
def test_a_certificate_has_one_state_on_a_day(fields, state):
    assert member(**fields).state_on(DAY) == state


@pytest.mark.parametrize(
    ("born", "last"),
    [
        (dt.date(1953, 6, 12), dt.date(2028, 6, 11)),
        (dt.date(1952, 2, 29), dt.date(2027, 2, 28)),  # 75 on 1 March of a common year
        (dt.date(1979, 6, 12), dt.date(2028, 12, 1)),
    ],
)
def test_the_last_day_is_never_later_than_the_day_before_the_75th_birthday(born, last):
    assert member(birth_date=born).last_day == last


CHILD = {"id": 2, "relation": DEPENDENT, "birth_date": dt.date(2016, 12, 24)}
ADULT = {"id": 3, "relation": DEPENDENT, "birth_date": dt.date(1982, 9, 8)}


@pytest.mark.parametrize(
    ("viewer", "other", "may"),
    [
        ({}, {}, True),
        ({}, CHILD, True),
        ({}, ADULT, False),
        ({}, CHILD | {"birth_date": dt.date(2008, 11, 24)}, True),  # 18 tomorrow
        ({}, CHILD | {"birth_date": dt.date(2008, 11, 23)}, False),  # 18 today
        ({}, CHILD | {"household": "06139463\t128\t9999"}, False),
        ({}, CHILD | {"withheld": True}, False),
        (ADULT, CHILD, False),
        (ADULT | {"shows_children": True}, CHILD, True),
        (ADULT | {"shows_children": True}, {}, False),
        (ADULT | {"shows_children": True, "lost_on": DAY}, CHILD, False),
        (CHILD | {"shows_children": True}, CHILD | {"id": 4}, False),
        (ADULT | {"withheld": True}, ADULT, False),
    ],
)
def test_who_may_show_whose(viewer, other, may):
    assert member(**viewer).may_show(member(**other), DAY, 18) is may


def test_a_guardian_age_of_zero_lets_nobody_show_a_childs():
    assert not member().may_show(member(**CHILD), DAY, 0)


@pytest.mark.parametrize(
    ("seconds", "trusted", "runs"),
    [
        (models.SESSION_IDLE - 1, False, True),
        (models.SESSION_IDLE + models.SEEN_EVERY, False, False),
        (models.SESSION_IDLE + models.SEEN_EVERY, True, True),
        (models.SESSION_LIFE - 1, True, True),
        (models.SESSION_LIFE, True, False),
    ],
)
def test_a_session_idles_out_and_ends(seconds, trusted, runs):
    session = models.Session(created_at=1000, seen_at=1000, trusted=trusted, ended_at=None)
    assert session.runs_at(1000 + seconds) is runs


def test_an_ended_session_does_not_run():
    assert not models.Session(created_at=1000, seen_at=1000, trusted=True, ended_at=1001).runs_at(1002)


def test_the_day_is_that_of_tokyo():
    assert dates.today(dt.datetime(2026, 11, 22, 15, 0, tzinfo=dt.UTC).timestamp()) == dt.date(2026, 11, 23)
    assert dates.today(dt.datetime(2026, 11, 22, 14, 59, 59, tzinfo=dt.UTC).timestamp()) == dt.date(2026, 11, 22)
