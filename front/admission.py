"""Which requests are let into Flask, and in which order, so that slow or hostile ones never take the
threads that ticks need."""

from __future__ import annotations

import ipaddress
import itertools
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from front.plain import BUSY, refuse

Wsgi = Callable[..., Iterable[bytes]]
Known = Callable[[dict[str, Any]], str]
"""The sender of a request, if the browser was once right about a password, or an empty string; see
front.wrap."""


@dataclass(order=True)
class Waiting:
    """A place in the line; the least is the first."""

    loads: list[int]
    number: int
    over: threading.Event = field(compare=False, default_factory=threading.Event)
    admitted: bool = field(compare=False, default=False)


class Line:
    """A few places, and a line of those who wait for one: first those who ask for least, then those
    who came first.

    What somebody asks for is the requests that they have here already, and those that were noted of
    them. If the line is full, its last waits no longer, be it the newcomer. So whoever sends many
    requests at once, or wrong passwords over and over, gives way to everybody else. Nobody waits
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
        self.free, self.longest, self.patience, self.now = max(1, places), waiting, patience, now
        self.waiting: list[Waiting] = []
        self.lock, self.numbers = threading.Lock(), itertools.count()
        self.here: Counter[str] = Counter()
        self.noted: Counter[str] = Counter()
        self.halved_at = now()

    def enter(self, *names: str) -> bool:
        """Take a place, and return whether there was one in time. Call leave() with the same names
        if there was.

        `names` are those of the sender. If two senders ask for as much by their first name, the
        second decides.
        """
        with self.lock:
            loads = [self.here[name] + self.noted[name] for name in names]
            self.here.update(names)
            if self.free:
                self.free -= 1
                return True
            mine = Waiting(loads, next(self.numbers))
            self.waiting.append(mine)
            if len(self.waiting) > self.longest:
                self._end(max(self.waiting))
        mine.over.wait(self.patience)
        with self.lock:
            if mine in self.waiting:
                self._end(mine)
            if not mine.admitted:
                self._gone(names)
            return mine.admitted

    def leave(self, *names: str) -> None:
        """Give a place back: to the first in the line, if anybody waits."""
        with self.lock:
            self._gone(names)
            if not self.waiting:
                self.free += 1
                return
            first = min(self.waiting)
            first.admitted = True
            self._end(first)

    def _end(self, waiting: Waiting) -> None:
        self.waiting.remove(waiting)
        waiting.over.set()

    def _gone(self, names: tuple[str, ...]) -> None:
        self.here -= Counter(names)  # without those of which none is left

    def note(self, *names: str) -> None:
        """Note one request against each of these names. Each minute halves what was noted."""
        with self.lock:
            if minutes := int((self.now() - self.halved_at) // 60):
                self.halved_at += 60 * minutes
                self.noted = Counter(
                    {
                        name: count >> minutes
                        for name, count in self.noted.items()
                        if count >> minutes
                    }
                )
            self.noted.update(names)


def network(client: str) -> str:
    """Return the client's address as limits count it: an IPv6 network of 64 bits, which one home
    has, counts as one, and the port that some proxies add does not count."""
    alone = re.sub(r"^(?:\[(.*)\]|([\d.]+))(?::\d+)?$", r"\1\2", client)
    try:
        found = ipaddress.ip_address(alone.partition("%")[0])
    except ValueError:
        return client[:64]
    if isinstance(found, ipaddress.IPv6Address):
        found = found.ipv4_mapped or ipaddress.ip_network((found, 64), strict=False).network_address
    return str(found)


class ConcurrencyLimit:
    """Let few requests into Flask at once, and let others wait for it, so that slow ones never take
    the threads that ticks need. At most `most` requests are in Flask or wait.

    Strangers' forms, each of which may cost an argon2 verification, have a line of their own, and
    so have the forms of those who are known, pages, and /healthz, which is answered within two
    seconds even if the database holds all the others. What is refused is noted of its sender, and
    so is each page of a stranger.
    """

    def __init__(self, app: Wsgi, most: int, known: Known = lambda _environ: "") -> None:
        self.app, self.known_as = app, known
        self.strangers = Line(most // 12, most * 3 // 10)
        self.known = Line(most // 12, most // 6)
        self.pages = Line(most // 9, most * 2 // 9)
        self.health = Line(2, 2, patience=0.4)  # a check waits for the database, too, for 1.5 s

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        is_page = environ["REQUEST_METHOD"] in ("GET", "HEAD")
        known, address = self.known_as(environ), network(environ.get("REMOTE_ADDR", ""))
        names = known or address, address
        line = self.pages if is_page else self.known if known else self.strangers
        if environ.get("PATH_INFO") == "/healthz":
            line = self.health
        if not line.enter(*names):
            line.note(names[0])
            return refuse(
                environ,
                "front.admission",
                start_response,
                "503 Service Unavailable",
                BUSY,
                ("Retry-After", "3"),
            )

        def start(status: str, *answer: Any) -> Any:
            if (is_page and not known) or status.startswith("4"):
                line.note(names[0])
            return start_response(status, *answer)

        try:
            return self.app(environ, start)
        finally:
            line.leave(*names)
