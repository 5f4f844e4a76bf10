"""Which requests are let into Flask, and in which order, so that slow or hostile ones never take the
threads that ticks need."""

from __future__ import annotations

import contextlib
import ipaddress
import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from front.plain import BUSY, refuse

Wsgi = Callable[..., Iterable[bytes]]
Known = Callable[[dict[str, Any]], bool]
"""Whether the sender of a form was once right about a password; see front.wrap."""


@dataclass(order=True)
class Waiting:
    """A place in the line; the least is the first."""

    failures: int
    number: int
    over: threading.Event = field(compare=False, default_factory=threading.Event)
    admitted: bool = field(compare=False, default=False)


class Line:
    """A few places, and a line of those who wait for one: first those whose forms failed least,
    then those who came first.

    If the line is full, its last waits no longer, be it the newcomer. So whoever sends wrong
    passwords over and over gives way to a person who comes with the right one, and nobody waits
    longer than `patience` seconds.
    """

    def __init__(
        self,
        places: int,
        waiting: int,
        *,
        patience: float = 15,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.free, self.longest, self.patience, self.now = places, waiting, patience, now
        self.waiting: list[Waiting] = []
        self.lock, self.numbers = threading.Lock(), itertools.count()
        self.failures: Counter[str] = Counter()
        self.halved_at = now()

    def enter(self, sender: str) -> bool:
        """Take a place, and return whether there was one in time. `sender` is an address as
        network() returns it."""
        with self.lock:
            if self.free:
                self.free -= 1
                return True
            mine = Waiting(self.failures[sender], next(self.numbers))
            self.waiting.append(mine)
            if len(self.waiting) > self.longest:
                self._end(max(self.waiting))
        mine.over.wait(self.patience)
        with self.lock:
            if mine in self.waiting:
                self._end(mine)
            return mine.admitted

    def leave(self) -> None:
        """Give a place back: to the first in the line, if anybody waits."""
        with self.lock:
            if not self.waiting:
                self.free += 1
                return
            first = min(self.waiting)
            first.admitted = True
            self._end(first)

    def _end(self, waiting: Waiting) -> None:
        self.waiting.remove(waiting)
        waiting.over.set()

    def failed(self, sender: str) -> None:
        """Note that a form of this sender was refused. Each minute halves what was noted."""
        with self.lock:
            if minutes := int((self.now() - self.halved_at) // 60):
                self.halved_at += 60 * minutes
                self.failures = Counter(
                    {
                        name: count >> minutes
                        for name, count in self.failures.items()
                        if count >> minutes
                    }
                )
            self.failures[sender] += 1


def network(client: str) -> str:
    """Return the client's address as limits count it: an IPv6 network of 64 bits, which one home
    has, counts as one."""
    try:
        found = ipaddress.ip_address(client.partition("%")[0])
    except ValueError:
        return client[:64]
    if isinstance(found, ipaddress.IPv6Address):
        found = found.ipv4_mapped or ipaddress.ip_network((found, 64), strict=False).network_address
    return str(found)


class ConcurrencyLimit:
    """Let at most `most` requests into Flask, or wait for it, so that slow ones never take the
    threads that ticks need.

    A tenth is for strangers' forms, each of which may cost an argon2 verification, and a half for
    those of them that wait in line. Of the other two fifths, the forms of those who are known take
    a half at most, and pages the rest.
    """

    def __init__(self, app: Wsgi, most: int, is_known: Known = lambda _environ: False) -> None:
        self.app, self.is_known, others = app, is_known, max(1, most * 2 // 5)
        self.strangers = Line(max(1, most // 10), max(1, most // 2))
        self.others = threading.BoundedSemaphore(others)
        self.known = threading.BoundedSemaphore(max(1, others // 2))

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        is_form = environ["REQUEST_METHOD"] not in ("GET", "HEAD")
        if is_form and not self.is_known(environ):
            return self._admit_stranger(environ, start_response)
        with contextlib.ExitStack() as places:
            for share in [self.known, self.others] if is_form else [self.others]:
                if not share.acquire(blocking=False):
                    return self._busy(environ, start_response)
                places.callback(share.release)
            return self.app(environ, start_response)

    def _admit_stranger(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        sender = network(environ.get("REMOTE_ADDR", ""))
        if not self.strangers.enter(sender):
            return self._busy(environ, start_response)

        def start(status: str, *answer: Any) -> Any:
            if status.startswith("4"):
                self.strangers.failed(sender)
            return start_response(status, *answer)

        try:
            return self.app(environ, start)
        finally:
            self.strangers.leave()

    @staticmethod
    def _busy(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        return refuse(
            environ,
            "front.admission",
            start_response,
            "503 Service Unavailable",
            BUSY,
            ("Retry-After", "3"),
        )
