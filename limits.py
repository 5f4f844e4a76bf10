"""Limits on tries, counted in the database, so that they hold across processes, machines and restarts.

What is counted apart: wrong passwords of an ID, of an address and of a trusted phone; wrong birth dates; wrong codes of a
member, whichever code; reset mails.
"""

from __future__ import annotations

from typing import NamedTuple

from peewee import Case

from codes import Keys
from models import AHEAD, Counter, transaction


class Limit(NamedTuple):
    """From failure number `free` within a window on, each makes the next try wait: `first` seconds, doubled each time,
    `longest` at most. A window lasts `window` seconds from its first failure; then the count begins anew."""

    kind: str
    free: int
    window: int
    first: int
    longest: int

    def wait(self, count: int) -> int:
        """Seconds to wait after failure number `count`."""
        return 0 if count < self.free else int(min(self.longest, self.first * 2 ** min(count - self.free, 20)))


PASSWORD_OF_ID = Limit("id", 10, 86400, 30, 900)
PASSWORD_OF_PHONE = Limit("phone", 10, 86400, 30, 900)
PASSWORD_OF_ADDRESS = Limit("address", 200, 900, 60, 900)
BIRTH_DATE = Limit("birth", 10, 86400, 60, 900)
CODE = Limit("code", 15, 86400, 300, 900)
RESET_MAIL = Limit("reset", 3, 900, 300, 900)
RESET_MAIL_OF_ADDRESS = Limit("reset-address", 100, 900, 60, 900)


class Refused(Exception):
    """A limit holds. `until` says when the next try is looked at (seconds since 1970)."""

    def __init__(self, until: int) -> None:
        self.until = until


def check(keys: Keys, now: float, *limits: tuple[Limit, str]) -> None:
    """Raise Refused where one of the limits holds for its value. A refused try is not counted, so nobody's waits grow
    while they are waiting."""
    names = [keys.name(limit.kind, value) for limit, value in limits]
    longest = max(limit.longest for limit, _ in limits) + AHEAD  # beyond that only a clock that was set back makes it
    waits = (c.until for c in Counter.select().where(Counter.id.in_(names)) if c.until <= now + longest)
    until = max(waits, default=0)
    if until > now:
        raise Refused(until)


def count(keys: Keys, now: float, *limits: tuple[Limit, str]) -> None:
    """Note one failure. One upsert each: of fifty at the same moment each counts."""
    moment = int(now)
    with transaction():
        for limit, value in sorted(limits):  # always in one order, so that two never wait for each other
            name = keys.name(limit.kind, value)
            stale = Counter.since <= moment - limit.window
            (
                Counter.insert(id=name, count=1, since=moment)
                .on_conflict(
                    conflict_target=[Counter.id],
                    update={
                        Counter.count: Case(None, [(stale, 1)], Counter.count + 1),
                        Counter.since: Case(None, [(stale, moment)], Counter.since),
                    },
                )
                .execute()
            )
            number = Counter.select(Counter.count).where(Counter.id == name).scalar()
            if wait := limit.wait(number):
                Counter.update(until=moment + wait).where(Counter.id == name).execute()


def forget(keys: Keys, *limits: tuple[Limit, str]) -> None:
    """The right password came: what was counted against it is forgotten."""
    Counter.delete().where(Counter.id.in_([keys.name(limit.kind, value) for limit, value in limits])).execute()
