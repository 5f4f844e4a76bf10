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


ALLOWED = ADULT | {"shows_children": True, "allowed_by": 1}
GONE = {"lost_on": DAY}


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
        ({}, CHILD | {"lost_on": DAY + dt.timedelta(days=1)}, True),
        ({}, CHILD | GONE, False),
        (GONE, CHILD, False),
        (GONE, GONE, True),  # their own, which says that it ended
        ({"qualified_on": DAY + dt.timedelta(days=1)}, CHILD, False),
        ({"withheld": True}, CHILD, False),
        ({"id": 9}, CHILD, False),  # another subscriber than the household's of that day
        (ADULT, CHILD, False),
        (ALLOWED, CHILD, True),
        (ALLOWED, {}, False),
        (ALLOWED | GONE, CHILD, False),
        (ALLOWED | {"allowed_by": 9}, CHILD, False),
        (ALLOWED | {"allowed_by": None}, CHILD, False),
        (CHILD | {"shows_children": True, "allowed_by": 1}, CHILD | {"id": 4}, False),
        (ADULT | {"withheld": True}, ADULT, False),
    ],
)
def test_who_may_show_whose(viewer, other, may):
    subscriber = member(**viewer) if viewer.get("id", 1) == 1 else member()
    assert member(**viewer).may_show(member(**other), DAY, 18, subscriber) is may


@pytest.mark.parametrize("subscriber", [{"id": None}, {"withheld": True}])
def test_without_a_subscriber_who_may_allow_it_nobody_shows_a_childs(subscriber):
    for allowed_by in (1, None):
        assert not member(**ALLOWED | {"allowed_by": allowed_by}).may_show(
            member(**CHILD), DAY, 18, member(**subscriber)
        )


def test_a_guardian_age_of_zero_lets_nobody_show_a_childs():
    assert not member().may_show(member(**CHILD), DAY, 0, member())


TODAY, TOMORROW, LONG_AGO = DAY, DAY + dt.timedelta(days=1), dt.date(2004, 4, 1)


@pytest.mark.parametrize(
    ("subscribers", "newest"),
    [
        ([(LONG_AGO, None)], 0),
        ([(LONG_AGO, TODAY)], None),
        ([(LONG_AGO, TOMORROW)], 0),
        ([(TODAY, None)], 0),
        ([(TOMORROW, None)], None),
        ([(LONG_AGO, TODAY), (TODAY, None)], 1),
        ([(TODAY, None), (LONG_AGO, TODAY)], 0),
        ([(LONG_AGO, TOMORROW), (TOMORROW, None)], 0),
        ([(TODAY, None), (LONG_AGO, None)], 0),
        ([(LONG_AGO, None), (LONG_AGO, None)], 1),
    ],
)
def test_the_subscriber_of_a_day_is_the_newest_who_is_covered(store, subscribers, newest):
    for i, (begun, lost) in enumerate(subscribers):
        stored(i, qualified_on=begun, lost_on=lost)
    dependent = stored(8, relation=DEPENDENT)
    stored(9, household="another")
    found = dependent.subscriber_on(DAY)
    assert (found and found.number) == (None if newest is None else str(newest))


def stored(number, **fields) -> Member:
    """The member in the database, under this number."""
    given = {
        "public_id": f"p{number}",
        "insurer_number": "06139463",
        "number": str(number),
        "name": f"人 {number}",
        "sex": 1,
    }
    person = member(**given | {"id": None} | fields)
    person.save(force_insert=True)
    return person


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
    assert not models.Session(created_at=1000, seen_at=1000, trusted=True, ended_at=1001).runs_at(
        1002
    )


def test_the_day_is_that_of_tokyo():
    assert dates.today(dt.datetime(2026, 11, 22, 15, 0, tzinfo=dt.UTC).timestamp()) == dt.date(
        2026, 11, 23
    )
    assert dates.today(dt.datetime(2026, 11, 22, 14, 59, 59, tzinfo=dt.UTC).timestamp()) == dt.date(
        2026, 11, 22
    )
