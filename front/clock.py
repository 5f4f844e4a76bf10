"""The tick of the live certificate, answered in front of Flask, and the lease that makes it cheap.

A lease says that this session may show this certificate until the moment T, ten seconds after the
lease was granted. It is a cookie whose signature covers the raw session cookie, the certificate,
the display and T, so it is valid for nothing else. A tick that has a lease costs one signature
check and two formatted strings.

A tick that has no lease, and one tick at a random moment from the sixth to the eighth second of
each lease, runs one indexed query. If the query allows the display, the answer carries the next
lease. If it does not, the request goes on to Flask. While the database does not answer, a tick is
answered under its lease if it has one, and with 503 if it has none. The only state in memory is the
formatted time of the present second.
"""

from __future__ import annotations

import datetime as dt
import random
import re
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from itsdangerous import BadData
from peewee import PeeweeException
from playhouse.pool import MaxConnectionsExceeded

from accounts.keys import Keys
from database import AWAY, TICKS, ticks
from dates import JST, WEEKDAYS
from front.live import live_display

LEASE = 10_000  # milliseconds
RENEW_FROM, RENEW_BY = 5_000, 7_000
"""Milliseconds of a lease after which a tick may renew it, and after which each tick tries to. So a
database that stands still for three seconds stops no clock, and one of four seconds few."""
PATIENCE = 1
"""Seconds that a tick without a lease waits for one of the clocks' connections; one that has a
lease does not wait."""
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; connect-src 'self'; "
    "form-action 'self'; manifest-src 'self'; base-uri 'none'; object-src 'none'; frame-ancestors 'none'"
)
# milliseconds of a second; a request that comes outside of them is told when to come again
MIDDLE = 250, 750
FRAGMENT = Path(__file__).parent.parent / "templates" / "certificate" / "_clock.html"


def cookie(environ: dict[str, Any], name: str) -> str:
    """Return the raw value of a cookie as the browser sent it, or an empty string."""
    for part in environ.get("HTTP_COOKIE", "").split(";"):
        key, found, value = part.strip().partition("=")
        if found and key == name:
            return value
    return ""


class Clock:
    """Answer ticks, and pass every other request to `app`. `read_session` decodes the raw session
    cookie; see session_reader."""

    def __init__(
        self,
        app: Callable[..., Iterable[bytes]],
        keys: Keys,
        session_cookie: str,
        read_session: Callable[[str], dict[str, Any]],
        *,
        secure: bool,
        guardian_age: int,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.app, self.session_cookie, self.read_session = app, session_cookie, read_session
        self.secure, self.guardian_age, self.now = secure, guardian_age, now
        self.lease_cookie = "__Secure-lease" if secure else "lease"
        self._signer = keys.signer("lease")
        self._turns = threading.BoundedSemaphore(TICKS)
        self._stalled = False
        self._second: tuple[int, bytes] = (-1, b"")
        self._pieces = re.split(r"{{ \w+ }}", FRAGMENT.read_text("utf-8").strip())
        self._head = self._pieces[0].encode()

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if not path.startswith("/certificates/") or environ["REQUEST_METHOD"] != "GET":
            return self.app(environ, start_response)
        parts = path.split("/")
        if len(parts) != 5 or parts[3] != "clock":
            return self.app(environ, start_response)
        now = self.now()
        raw = cookie(environ, self.session_cookie)
        left = self._left(cookie(environ, self.lease_cookie), raw, path, now)
        headers = []
        seconds = 1 + (left - LEASE + RENEW_BY) / 1000  # in which one of the ticks is to renew
        if left <= LEASE - RENEW_FROM and random.random() * seconds < 1:  # noqa: S311 - spreads load, guards nothing
            try:
                if not self.live(
                    parts[2], parts[4], raw, now, patience=0 if left > 0 else PATIENCE
                ):
                    return self.app(environ, start_response)
                headers = [("Set-Cookie", self.grant(raw, path, now))]
            except AWAY:
                if left <= 0:
                    return self._unavailable(start_response)
            # Flask asks again, and has a page and a line in the log for what is wrong
            except PeeweeException:
                return self.app(environ, start_response)
        body = self.fragment(now)
        start_response(
            "200 OK",
            [
                ("Content-Type", "text/html; charset=utf-8"),
                ("Content-Length", str(len(body))),
                ("Cache-Control", "no-store"),
                ("X-Content-Type-Options", "nosniff"),
                ("Content-Security-Policy", CSP),
                *headers,
            ],
        )
        return [body]

    def live(
        self,
        public_id: str,
        display_id: str,
        raw_session: str,
        now: float,
        patience: float = PATIENCE,
    ) -> bool:
        """Return whether this session may show this certificate now, by the query in front.live.

        At most TICKS threads query at once, so a database that hangs blocks no more threads than
        that, and the others go on answering ticks. Raise one of AWAY if the database does not
        answer, or if no turn is free within `patience` seconds.

        Once that has happened, nobody waits for a turn until a query has been answered. Otherwise
        ticks without a lease, which come again each second, would take every thread.
        """
        session_id = self.read_session(raw_session).get("_user_id")
        if not isinstance(session_id, str):
            return False
        if not self._turns.acquire(timeout=0 if self._stalled else patience):
            self._stalled = self._stalled or patience > 0
            raise MaxConnectionsExceeded
        try:
            with ticks.connection_context():
                found = live_display(display_id, session_id, public_id, now, self.guardian_age)
            self._stalled = False
            return found
        except AWAY:
            self._stalled = True
            raise
        finally:
            self._turns.release()

    def grant(self, raw_session: str, path: str, now: float) -> str:
        """Return the Set-Cookie header that grants a lease from `now`. The browser sends it to the
        clock at `path` alone."""
        until = str(int(now * 1000) + LEASE)
        signature = self._signer.get_signature(f"{raw_session}\n{path}\n{until}").decode()
        return self._set_cookie(f"{until}.{signature}", path, LEASE // 1000)

    def clear(self, path: str) -> str:
        """Return the Set-Cookie header that deletes the lease."""
        return self._set_cookie("", path, 0)

    def _set_cookie(self, value: str, path: str, age: int) -> str:
        flags = "; Secure" if self.secure else ""
        return f"{self.lease_cookie}={value}; Path={quote(path)}; Max-Age={age}; HttpOnly; SameSite=Strict{flags}"

    def _left(self, lease: str, raw_session: str, path: str, now: float) -> float:
        """Return for how many more milliseconds this lease is valid; 0 if it is not.

        A lease ends at midnight in Tokyo at the latest, since certificates end by the day. It is
        not valid if it ends more than LEASE from now, since the server's clock was then set back.
        """
        until, _, signature = lease.partition(".")
        if not signature or not (until.isascii() and until.isdigit()) or len(until) > 15:
            return 0
        left = int(until) - now * 1000
        if not 0 < left <= LEASE or _day(int(until) - LEASE) != _day(int(now * 1000)):
            return 0
        good = self._signer.verify_signature(
            f"{raw_session}\n{path}\n{until}", signature.encode("latin-1", "replace")
        )
        return left if good else 0

    def fragment(self, now: float) -> bytes:
        """Return the live fragment. Its text ends in the time, and odd seconds have a class of
        their own.

        If this request did not come in the middle of a second, the fragment says after how many
        milliseconds the next one would. A request near the border of a second could skip a second
        or show one twice, because of jitter. See app.js.
        """
        second = int(now)
        kept = self._second
        if kept[0] != second:
            _, before, between, last, tail = self._pieces
            date, time_of_day = date_and_time(second)
            text = f"{before}{' odd' if second % 2 else ''}{between}{date}{last}{time_of_day}{tail}"
            kept = self._second = (second, text.encode())
        late = int(now * 1000) % 1000
        if MIDDLE[0] <= late < MIDDLE[1]:
            return self._head + kept[1]
        return self._head + b' data-next="%d"' % ((1500 - late) % 1000) + kept[1]

    def _unavailable(self, start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response(
            "503 Service Unavailable",
            [("Content-Length", "0"), ("Cache-Control", "no-store"), ("Retry-After", "2")],
        )
        return [b""]


def date_and_time(second: int) -> tuple[str, str]:
    """Return the date and the time in Tokyo as the clock shows them, e.g. 2026年11月23日(月) and
    14:05:33.

    `second` is in seconds since 1970.
    """
    at = dt.datetime.fromtimestamp(second, JST)
    return f"{at.year}年{at.month}月{at.day}日({WEEKDAYS[at.weekday()]})", f"{at:%H:%M:%S}"


def _day(milliseconds: int) -> int:
    return (milliseconds // 1000 + 9 * 3600) // 86400


def session_reader(serializer: Any, max_age: int) -> Callable[[str], dict[str, Any]]:
    """Return a function that decodes Flask's session cookie. It returns an empty dict if the cookie
    is not valid.

    `max_age` is in seconds.
    """

    def read(raw: str) -> dict[str, Any]:
        try:
            found = serializer.loads(raw, max_age=max_age) if raw else {}
        except BadData:
            return {}
        return found if isinstance(found, dict) else {}

    return read
