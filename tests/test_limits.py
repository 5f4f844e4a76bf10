"""Tests of limits: when they begin, how waits grow, and which tries they do not affect. A burst of
concurrent tries gets no further than the same tries one after the other.
"""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import models
from accounts import housekeeping, limits
from accounts.keys import Keys
from accounts.limits import TooMany, Try, give_back, take

KEYS = Keys("a" * 32)
ID = Try(limits.PASSWORD_OF_ID, "K234567892")
ADDRESS = "203.0.113.7"


def tries(count: int, now: float, one: Try = ID) -> None:
    for _ in range(count):
        take(KEYS, now, one)


def test_waits_begin_after_the_tenth_wrong_password_and_grow(store, now):
    tries(10, now)
    with pytest.raises(TooMany) as first:
        take(KEYS, now, ID)
    assert first.value.until == int(now) + 30
    take(KEYS, now + 30, ID)
    with pytest.raises(TooMany) as second:
        take(KEYS, now + 30, ID)
    assert second.value.until == int(now) + 30 + 60


def test_no_wait_is_longer_than_fifteen_minutes(store, now):
    tries(10, now)
    for step in range(1, 40):
        take(KEYS, now + step * 900, ID)


def test_a_refused_try_makes_nobody_wait_longer(store, now):
    tries(10, now)
    for second in range(29):
        with pytest.raises(TooMany):
            take(KEYS, now + second, ID)
    take(KEYS, now + 30, ID)


def test_an_address_is_slowed_by_the_hundredth_id_and_by_no_clumsy_colleague(store, now):
    for number in range(300):
        take(KEYS, now, Try(limits.PASSWORD_OF_ADDRESS, ADDRESS, about=f"clumsy {number % 3}"))
    for number in range(97):
        take(KEYS, now, Try(limits.PASSWORD_OF_ADDRESS, ADDRESS, about=f"other {number}"))
    for about in ("clumsy 1", "another"):
        with pytest.raises(TooMany):
            take(KEYS, now, Try(limits.PASSWORD_OF_ADDRESS, ADDRESS, about=about))
    take(KEYS, now, Try(limits.PASSWORD_OF_ADDRESS, "198.51.100.1", about="another"))
    take(KEYS, now + 900, Try(limits.PASSWORD_OF_ADDRESS, ADDRESS, about="another"))


def test_one_wrong_password_a_minute_all_day_never_slows_an_address(store, now):
    for minute in range(600):
        take(KEYS, now + 60 * minute, Try(limits.PASSWORD_OF_ADDRESS, ADDRESS, about=str(minute)))


def test_what_one_limit_refuses_counts_against_no_other(store, now):
    other = Try(limits.PASSWORD_OF_ADDRESS, ADDRESS, about=ID.value)
    tries(10, now)
    before = sorted(models.Counter.select().tuples())
    with pytest.raises(TooMany):
        take(KEYS, now, ID, other)
    assert sorted(models.Counter.select().tuples()) == before


def test_a_right_try_is_given_back_with_the_wait_that_it_began(store, now):
    tries(9, now)
    for _ in range(30):
        take(KEYS, now, ID)
        give_back(KEYS, now, ID)
    tries(1, now)
    with pytest.raises(TooMany):
        take(KEYS, now, ID)


def test_what_was_given_back_for_an_address_is_as_if_it_had_not_been(store, now):
    for number in range(300):
        one = Try(limits.PASSWORD_OF_ADDRESS, ADDRESS, about=str(number))
        take(KEYS, now, one)
        give_back(KEYS, now, one)
    take(KEYS, now, Try(limits.PASSWORD_OF_ADDRESS, ADDRESS, about="one more"))


def test_the_right_password_forgets(store, now):
    tries(10, now)
    limits.forget(KEYS, ID)
    take(KEYS, now, ID)


def test_a_wait_that_a_wrong_clock_began_ends_when_the_clock_is_right(store, now):
    tries(10, now + 86400)
    take(KEYS, now, ID)
    assert models.Counter.get().count == 1


@pytest.mark.parametrize(
    "limit",
    [value for value in vars(limits).values() if isinstance(value, limits.Limit)],
    ids=lambda limit: limit.kind,
)
def test_of_sixty_tries_at_once_no_more_are_looked_at_than_are_free(store, now, limit):
    taken, start = [], threading.Barrier(16)

    def burst(thread):
        start.wait()
        with models.database.connection_context():
            for number in range(limit.free // 12 + 4):
                try:
                    take(
                        KEYS,
                        now,
                        Try(
                            limit,
                            "one",
                            about=f"{thread} {number}" if "address" in limit.kind else "",
                        ),
                    )
                    taken.append(thread)
                except TooMany:
                    pass

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(burst, range(16)))
    assert len(taken) == limit.free


def test_the_table_names_nobody(store, now):
    tries(1, now)
    take(KEYS, now, Try(limits.PASSWORD_OF_ADDRESS, ADDRESS, about=ID.value))
    rows = str(list(models.Counter.select().dicts()))
    assert "K234567892" not in rows
    assert ADDRESS not in rows


def test_a_new_window_counts_its_tries(store, now):
    take(KEYS, now, ID)
    tries(10, now + 86400)
    with pytest.raises(TooMany):
        take(KEYS, now + 86400, ID)


def test_a_wait_that_a_wrong_clock_began_does_not_come_back(store, now):
    tries(10, now + 86400)
    take(KEYS, now, ID)
    take(KEYS, now + 86400 - 600, ID)


def test_a_wait_from_a_clock_that_was_ahead_holds_no_clumsy_person(store, now):
    def one(who):
        return Try(limits.PASSWORD_OF_ADDRESS, ADDRESS, about=who)

    take(KEYS, now, one("clumsy"))
    for number in range(99):
        take(KEYS, now + 850, one(str(number)))
    take(KEYS, now - 55, one("clumsy"))


def test_a_sweep_ends_no_wait(store, now):
    one = Try(limits.BIRTH_DATE, "1")
    take(KEYS, now, one)
    tries(9, now + 80000, one)
    housekeeping.sweep(now + 90000, 1000)
    with pytest.raises(TooMany):
        take(KEYS, now + 90000, one)
