"""Tests of the tick in front of Flask: when a lease is valid, when it is renewed, and what happens
without one."""

from __future__ import annotations

import datetime as dt
import itertools
import re
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed

import pytest
from peewee import DataError, InterfaceError, OperationalError
from playhouse.pool import MaxConnectionsExceeded

import dates
import front.clock as clock_module
from accounts.keys import Keys
from database import TICKS
from front.clock import LEASE, Clock

PATH = "/certificates/cert1/clock/show1"


class Asked(Clock):
    """A clock whose full check is counted, and answers what the test says."""

    asked = 0
    answer: object = True

    def live(self, *_asked, **_options):
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def made_with(kind, flask, time):
    """Make a clock of this class in front of `flask`. The id of a session is its cookie's value."""
    return kind(
        flask,
        Keys("a" * 32),
        "session",
        lambda raw: {"_user_id": raw},
        secure=True,
        guardian_age=18,
        now=time,
    )


@pytest.fixture
def clock(time):
    def flask(environ, start_response):
        start_response("200 OK", [("X-From", "flask")])
        return [b"flask"]

    made = made_with(Asked, flask, time)
    made.flask = flask
    return made


def tick(clock, *, lease="", session="raw-cookie", path=PATH):
    """(body, headers, lease granted) of one poll."""
    answer = {}

    def start_response(status, headers):
        answer.update(status=status, headers=headers)

    jar = f"other=1; session={session}; __Secure-lease={lease}"
    body = b"".join(
        clock({"PATH_INFO": path, "REQUEST_METHOD": "GET", "HTTP_COOKIE": jar}, start_response)
    ).decode()
    cookies = [value for name, value in answer["headers"] if name == "Set-Cookie"]
    granted = re.match(r"__Secure-lease=([^;]+)", cookies[0]).group(1) if cookies else ""
    return body, answer, granted


def test_a_tick_shows_the_servers_time_last_and_nothing_else_like_it(clock):
    body, answer, _ = tick(clock)
    text = re.sub(r"<[^>]+>", "", body).strip()
    assert text.endswith("2026年11月23日(月)14:05:33") or re.search(
        r"2026年11月23日\(月\)\s*14:05:33$", text
    )
    assert len(re.findall(r"\d{1,2}:\d{2}", text)) == 1
    assert "hx-" not in body  # what polls stands still, outside
    assert [name for name, _ in answer["headers"]] == [
        "Content-Type",
        "Content-Length",
        "Cache-Control",
        "X-Content-Type-Options",
        "Content-Security-Policy",
        "Set-Cookie",
    ]


@pytest.mark.parametrize(
    ("late", "next_in"),
    [
        (0.0, "500"),
        (0.1, "400"),
        (0.249, "251"),
        (0.25, ""),
        (0.5, ""),
        (0.749, ""),
        (0.75, "750"),
        (0.999, "501"),
    ],
)
def test_a_tick_near_the_turn_of_a_second_says_when_the_middle_of_one_comes(
    clock, time, late, next_in
):
    time.pass_(late + 0.0001)
    body, _, _ = tick(clock)
    assert re.findall(r'data-next="(\d+)"', body) == ([next_in] if next_in else [])
    assert "14:05:33" in body
    if next_in:
        assert ((late * 1000 + int(next_in)) % 1000) == 500


def test_even_and_odd_seconds_differ(clock, time):
    time.pass_(0.5)
    looks = []
    for _ in range(4):
        looks.append("odd" in tick(clock)[0])
        time.pass_(1)
    assert looks == [True, False, True, False]


def test_a_young_lease_is_honoured_without_asking(clock, time):
    _, _, lease = tick(clock)
    for _ in range(4):
        time.pass_(1.2)
        _, answer, granted = tick(clock, lease=lease)
        assert answer["status"] == "200 OK"
        assert not granted
    assert clock.asked == 1


def test_the_lease_is_a_cookie_for_this_clock_alone(clock):
    _, answer, _ = tick(clock)
    (cookie,) = [value for name, value in answer["headers"] if name == "Set-Cookie"]
    assert cookie.endswith(f"; Path={PATH}; Max-Age=10; HttpOnly; SameSite=Strict; Secure")


def test_from_its_sixth_to_its_eighth_second_it_is_renewed_at_a_random_moment(clock, time):
    start, moments = time.moment, []
    for _ in range(400):
        time.moment = start
        _, _, lease = tick(clock)
        for second in range(1, 10):
            time.moment = start + second
            if tick(clock, lease=lease)[2]:
                moments.append(second)
                break
    assert set(moments) == {5, 6, 7}
    # 133 each, if spread evenly
    assert all(80 < moments.count(second) < 190 for second in range(5, 8))


@pytest.mark.parametrize(
    "change",
    [
        {"session": "another-cookie"},
        {"path": "/certificates/cert2/clock/show1"},
        {"path": "/certificates/cert1/clock/show2"},
    ],
)
def test_a_lease_is_worth_nothing_elsewhere(clock, change):
    _, _, lease = tick(clock)
    clock.answer = False
    body, _, _ = tick(clock, lease=lease, **change)
    assert body == "flask"


@pytest.mark.parametrize(
    "forge",
    [
        lambda u, s: f"{int(u) + 1}.{s}",
        lambda u, s: f"{u}.{s[:-2]}xx",
        lambda u, s: f"{u}.",
        lambda u, s: s,
        lambda u, s: f"٣{u}.é",
    ],
)
def test_a_forged_lease_is_no_lease(clock, forge):
    _, _, lease = tick(clock)
    until, _, signature = lease.partition(".")
    clock.answer = False
    assert tick(clock, lease=forge(until, signature))[0] == "flask"


def test_a_lease_is_exactly_ten_seconds_long(clock, time):
    _, _, lease = tick(clock)
    clock.answer = False
    time.pass_(LEASE / 1000)
    assert tick(clock, lease=lease)[0] == "flask"


def test_a_lease_from_a_clock_that_was_ahead_is_asked_about(clock, time):
    _, _, lease = tick(clock)
    time.pass_(-1)
    tick(clock, lease=lease)
    assert clock.asked == 2


def test_a_lease_does_not_outlast_midnight_in_tokyo(clock, time):
    time.moment = dt.datetime(2026, 11, 23, 23, 59, 58, tzinfo=dates.JST).timestamp()
    _, _, lease = tick(clock)
    time.pass_(1)
    assert "23:59:59" in tick(clock, lease=lease)[0]
    assert clock.asked == 1
    clock.answer = False
    time.pass_(1)
    assert tick(clock, lease=lease)[0] == "flask"


def test_a_key_that_was_changed_leaves_leases_alone(clock, time):
    _, _, lease = tick(clock)
    other = Asked(
        clock.flask,
        Keys("b" * 32, ["a" * 32]),
        "session",
        str,
        secure=True,
        guardian_age=18,
        now=time,
    )
    tick(other, lease=lease)
    assert other.asked == 0


@pytest.mark.parametrize(
    "error", [OperationalError("away"), InterfaceError("away"), MaxConnectionsExceeded("full")]
)
def test_a_database_that_is_away_ends_nothing_while_the_lease_runs(clock, time, error):
    _, _, lease = tick(clock)
    clock.answer = error
    time.pass_(9.5)
    assert "14:05:42" in tick(clock, lease=lease)[0]
    time.pass_(1)
    body, answer, _ = tick(clock, lease=lease)
    assert (body, answer["status"]) == ("", "503 Service Unavailable")


def test_what_else_the_database_refuses_is_told_by_flask(clock):
    clock.answer = DataError("an id with a NUL")
    assert tick(clock)[0] == "flask"


def test_a_database_that_hangs_holds_a_few_threads_and_the_other_clocks_go_on(
    store, time, monkeypatch
):
    """A burst of 30 ticks that must renew, of which only TICKS may ask."""
    begun, over = [], threading.Event()

    def hang(*_asked):
        begun.append(1)
        over.wait(20)
        return True

    monkeypatch.setattr(clock_module, "live_display", hang)
    monkeypatch.setattr(clock_module, "PATIENCE", 0.05)
    monkeypatch.setattr(clock_module.random, "random", lambda: 0.0)
    made = made_with(Clock, None, time)
    lease = re.match(r"__Secure-lease=([^;]+)", made.grant("raw-cookie", PATH, time())).group(1)
    time.pass_(6)
    with ThreadPoolExecutor(30) as crowd:
        ticks = [crowd.submit(tick, made, lease=lease) for _ in range(30)]
        done = list(itertools.islice(as_completed(ticks, timeout=5), len(ticks) - TICKS))
        without = crowd.submit(tick, made).result(5)
        over.set()
    assert len(begun) == TICKS
    assert all("14:05:39" in ticked.result()[0] for ticked in ticks)
    assert not any(ticked.result()[2] for ticked in done)
    assert without[1]["status"] == "503 Service Unavailable"
    assert tick(made)[2], "the turns were given back"


def test_while_the_database_hangs_one_crowd_waits_for_it_and_no_later_one(store, time, monkeypatch):
    """Every turn hangs, and ticks without a lease come again and again."""
    asked, over = threading.Semaphore(0), threading.Event()

    def hang(*_asked):
        asked.release()
        over.wait(20)
        return True

    monkeypatch.setattr(clock_module, "live_display", hang)
    monkeypatch.setattr(clock_module, "PATIENCE", 20)
    made = made_with(Clock, None, time)
    with ThreadPoolExecutor(TICKS) as crowd:
        hung = [crowd.submit(tick, made) for _ in range(TICKS)]
        assert all(asked.acquire(timeout=5) for _ in hung)
        with pytest.raises(MaxConnectionsExceeded):
            made.live("cert1", "show1", "raw-cookie", time(), patience=0.05)
        began = clock_module.time.monotonic()
        for _ in range(50):
            assert tick(made)[1]["status"] == "503 Service Unavailable"
        assert clock_module.time.monotonic() - began < 20
        over.set()
    assert all(ticked.result()[2] for ticked in hung)
    monkeypatch.setattr(clock_module, "live_display", lambda *_asked: True)
    assert not made._stalled, "an answer ends it"
    assert tick(made)[2]


@pytest.mark.parametrize(
    "path",
    [
        "/certificates/cert1",
        "/",
        "/certificates/a/b/c",
        "/certificates/a/clock/b/c",
        "/x/y/clock/z",
    ],
)
def test_everything_else_goes_to_flask(clock, path):
    assert tick(clock, path=path)[0] == "flask"


@pytest.mark.parametrize(
    ("at", "shown"),
    [
        (dt.datetime(2026, 12, 31, 23, 59, 59, tzinfo=dates.JST), "2026年12月31日(木)"),
        (dt.datetime(2027, 1, 1, 0, 0, 0, tzinfo=dates.JST), "2027年1月1日(金)"),
    ],
)
def test_the_date_turns_with_the_year(clock, time, at, shown):
    time.moment = at.timestamp()
    assert f"{shown}" in tick(clock)[0]
    assert f"{at:%H:%M:%S}" in tick(clock)[0]


def test_the_first_cookie_of_a_name_counts():
    assert clock_module.cookie({"HTTP_COOKIE": "a=1; session=x=y; session=z"}, "session") == "x=y"
    assert clock_module.cookie({}, "session") == ""
