"""Limits: when they begin, how they grow, what they leave alone."""

from concurrent.futures import ThreadPoolExecutor

import pytest

import limits
import models
from codes import Keys

KEYS = Keys("a" * 32)
ID = (limits.PASSWORD_OF_ID, "K234567892")


def failures(count: int, now: float, limit=ID) -> None:
    for _ in range(count):
        limits.count(KEYS, now, limit)


def test_waits_begin_after_the_tenth_wrong_password_and_grow(store, now):
    failures(9, now)
    limits.check(KEYS, now, ID)
    failures(1, now)
    with pytest.raises(limits.Refused) as first:
        limits.check(KEYS, now, ID)
    assert first.value.until == int(now) + 30
    limits.check(KEYS, now + 30, ID)
    failures(1, now + 30)
    with pytest.raises(limits.Refused) as second:
        limits.check(KEYS, now + 30, ID)
    assert second.value.until == int(now) + 30 + 60


def test_no_wait_is_longer_than_fifteen_minutes(store, now):
    failures(60, now)
    limits.check(KEYS, now + 900, ID)


def test_an_address_that_a_whole_company_shares_is_not_slowed_before_the_hundredth(store, now):
    address = (limits.PASSWORD_OF_ADDRESS, "203.0.113.7")
    failures(199, now, address)
    limits.check(KEYS, now, address)
    failures(1, now, address)
    with pytest.raises(limits.Refused):
        limits.check(KEYS, now, address)


def test_one_wrong_password_a_minute_all_day_never_slows_an_address(store, now):
    address = (limits.PASSWORD_OF_ADDRESS, "203.0.113.7")
    for minute in range(600):
        limits.count(KEYS, now + 60 * minute, address)
    limits.check(KEYS, now + 60 * 600, address)


def test_the_right_password_forgets(store, now):
    failures(10, now)
    limits.forget(KEYS, ID)
    limits.check(KEYS, now, ID)


def test_of_forty_failures_at_once_each_counts(store, now):
    def fail(_):
        with models.database.connection_context():
            limits.count(KEYS, now, ID)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(fail, range(40)))
    assert models.Counter.get().count == 40


def test_the_table_names_nobody(store, now):
    failures(1, now)
    assert "K234567892" not in str(list(models.Counter.select().dicts()))
