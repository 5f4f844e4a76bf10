"""Limits on tries, counted in the database, so that they hold across processes, machines and
restarts.

A try is counted before it is checked, and uncounted if it was right. A burst of concurrent tries
therefore gets no further than the same tries one after the other. There are separate limits for
wrong passwords by ID, by address and by known browser, for passkeys of an address that prove
nothing, for wrong birth dates, for a member's wrong codes (over all of their codes), and for
requests for a reset mail.
"""

from __future__ import annotations

from typing import NamedTuple

from peewee import Case

from accounts.keys import Keys
from database import transaction
from models import AHEAD, Counter

MINUTE, DAY = 60, 86400


class Limit(NamedTuple):
    """The number of tries that cost nothing within a window, and the waits after further ones.

    After try number `free` of a window, the next one must wait for `first_wait` seconds. Each
    further try doubles the wait, up to `longest_wait` seconds. A window lasts `window` seconds from
    its first try. Then the count starts again.
    """

    kind: str
    free: int
    window: int
    first_wait: int
    longest_wait: int

    def wait(self, count: int) -> int:
        """Return for how many seconds the next try must wait after try number `count`."""
        return (
            0
            if count < self.free
            else min(self.longest_wait, self.first_wait * 2 ** min(count - self.free, 20))
        )


PASSWORD_OF_ID = Limit(kind="id", free=10, window=DAY, first_wait=30, longest_wait=15 * MINUTE)
PASSWORD_OF_ADDRESS = Limit(
    kind="address", free=100, window=15 * MINUTE, first_wait=MINUTE, longest_wait=15 * MINUTE
)
PASSWORD_OF_BROWSER = Limit(
    kind="browser", free=10, window=DAY, first_wait=30, longest_wait=15 * MINUTE
)
# ten a day, and no eleventh
BIRTH_DATE = Limit(kind="birth", free=10, window=DAY, first_wait=DAY, longest_wait=DAY)
PASSKEY_OF_ADDRESS = Limit(
    kind="passkey", free=100, window=15 * MINUTE, first_wait=MINUTE, longest_wait=15 * MINUTE
)
# a passkey's challenge is good once
CHALLENGE = Limit(kind="challenge", free=1, window=DAY, first_wait=DAY, longest_wait=DAY)
CODE = Limit(kind="code", free=15, window=DAY, first_wait=5 * MINUTE, longest_wait=15 * MINUTE)
RESET_MAIL = Limit(
    kind="reset", free=3, window=15 * MINUTE, first_wait=5 * MINUTE, longest_wait=15 * MINUTE
)
RESET_MAIL_OF_ADDRESS = Limit(
    kind="reset-address", free=100, window=15 * MINUTE, first_wait=MINUTE, longest_wait=15 * MINUTE
)


class Try(NamedTuple):
    """One try against a limit, counted under `value`.

    If `about` is given, only the first try with the same `about` counts within a window. So a
    network address is slowed by the number of different IDs that failed there, and not by one
    person who mistypes often.
    """

    limit: Limit
    value: str
    about: str = ""


class TooMany(Exception):
    """A limit on tries or mails is reached. `until` is the moment from which the next one is
    allowed, in seconds since 1970."""

    def __init__(self, until: int) -> None:
        self.until = until


def take(keys: Keys, now: float, *tries: Try) -> None:
    """Count one try against each limit. Raise TooMany, and count nothing, if one of them holds.

    Since a refused try is not counted, trying during a wait does not prolong it.
    """
    with transaction():
        # always in one order, so that two never wait for each other
        for limit, value, about in sorted(tries):
            name = keys.name(limit.kind, value)
            known = (
                bool(about)
                and _count(_about(keys, limit, value, about), limit._replace(free=2**31), now) != 1
            )
            if known or not _count(name, limit, now):
                until = _until(name, limit, now)
                if until > now or not known:
                    raise TooMany(max(until, int(now) + 1))


def _count(name: str, limit: Limit, now: float) -> int | None:
    """Count one try in one statement, and begin the wait after it. Return its number within the
    window, or None if tries must wait. The transaction keeps others from the counter meanwhile."""
    moment = int(now)
    stale = (Counter.since <= moment - limit.window) | (Counter.since > moment + AHEAD)
    free_now = (Counter.until <= moment) | (Counter.until > moment + limit.longest_wait + AHEAD)
    rows = (
        Counter.insert(id=name, count=1, since=moment, until=0)
        .on_conflict(
            conflict_target=[Counter.id],
            update={
                Counter.count: Case(None, [(stale, 1)], Counter.count + 1),
                Counter.since: Case(None, [(stale, moment)], Counter.since),
                Counter.until: 0,
            },
            where=free_now,
        )
        .returning(Counter.count)
        .tuples()
        .execute()
    )
    count: int | None = next((count for (count,) in rows), None)
    if count and (wait := limit.wait(count)):
        Counter.update(until=moment + wait).where(Counter.id == name).execute()
    return count


def _until(name: str, limit: Limit, now: float) -> int:
    """Return the moment until which tries must wait, or 0 if they need not.

    A moment further ahead than `longest_wait` is ignored, since the clock was set back after the
    wait began.
    """
    until = Counter.select(Counter.until).where(Counter.id == name).scalar() or 0
    return until if until <= now + limit.longest_wait + AHEAD else 0


def _about(keys: Keys, limit: Limit, value: str, about: str) -> str:
    return keys.name(f"{limit.kind}.about", f"{value}\n{about}")


def give_back(keys: Keys, now: float, *tries: Try) -> None:
    """Uncount tries that were right, and end the waits that they caused."""
    moment = int(now)
    with transaction():
        for limit, value, about in sorted(tries):
            name = keys.name(limit.kind, value)
            if about and _uncount(_about(keys, limit, value, about), moment) != 0:
                continue
            _uncount(name, moment)


def _uncount(name: str, moment: int) -> int | None:
    """Uncount one try. Return the remaining count, or None if nothing was counted under this name."""
    counted = (Counter.id == name) & (Counter.count > 0)
    ended = Case(None, [(Counter.until > moment, moment)], Counter.until)
    rows = (
        Counter.update(count=Counter.count - 1, until=ended)
        .where(counted)
        .returning(Counter.count)
        .tuples()
        .execute()
    )
    return next((count for (count,) in rows), None)


def forget(keys: Keys, *tries: Try) -> None:
    """Reset the counts of these tries, e.g. after the right password."""
    Counter.delete().where(
        Counter.id.in_([keys.name(one.limit.kind, one.value) for one in tries])
    ).execute()
