"""The WSGI layers that every request but the tick passes on its way to Flask: the request log, the
security headers, the Host check, and the limits on concurrent requests.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import io
import ipaddress
import itertools
import json
import re
import secrets
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from flask import has_request_context, request

from dates import JST
from front import assets
from front.clock import CSP

Wsgi = Callable[..., Iterable[bytes]]

HEADERS = [
    ("Content-Security-Policy", CSP),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    # Not no-referrer: under it browsers send the forms' own POSTs with `Origin: null`, and old ones
    # send no Sec-Fetch-Site.
    ("Referrer-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    (
        "Permissions-Policy",
        "camera=(), geolocation=(), microphone=(), payment=(), usb=(), screen-wake-lock=(self)",
    ),
]
BUSY = "ただいま混み合っています。数秒待って、もう一度お試しください。"
FACE = {
    "ja": ("WEB資格確認書", "表示できません", "もう一度開く", "電話する"),
    "en": ("Web eligibility certificate", "This page cannot be shown", "Try again", "Call"),
}
PAGE = """<!doctype html>
<html lang="{language}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}｜{brand}</title>
<link rel="stylesheet" href="{style}">
</head>
<body>
<header class="top"><p class="brand"><b>{brand}</b></p></header>
<main>
<section class="me">
<h1>{title}</h1>
<p>{sentence}</p>
<p><a class="button main" href="">{again}</a></p>
{contact}
</section>
</main>
</body>
</html>
"""
HEAD_MOST = 16 * 1024
HSTS = ("Strict-Transport-Security", "max-age=31536000; includeSubDomains")
METHODS = {"GET", "HEAD", "POST", "OPTIONS"}
REQUEST_ID = "kakunin.request_id"
"""Where the environ holds the request's id."""


class RequestLog:
    """Give each request an id, return it as X-Request-ID, and if `log` is set write one line of
    JSON about it to stderr.

    If `proxied`, an X-Request-ID that the reverse proxy sent is kept. A line holds nothing that the
    client sent. It names the endpoint instead of the path, because paths contain certificate ids
    and reset links. Ticks do not pass here.
    """

    def __init__(
        self, app: Wsgi, *, log: bool, proxied: bool, now: Callable[[], float] = time.time
    ) -> None:
        self.app, self.log, self.proxied, self.now = app, log, proxied, now

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        given = environ.get("HTTP_X_REQUEST_ID", "") if self.proxied else ""
        own = given if re.fullmatch(r"[A-Za-z0-9._-]{1,64}", given) else secrets.token_hex(8)
        environ[REQUEST_ID] = own
        begun, at = time.perf_counter(), self.now()
        status, size, endpoint = 500, 0, "none"

        def start(line: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            nonlocal status, size, endpoint
            status, endpoint = int(line[:3]), _endpoint(environ)
            size = next(
                (int(value) for name, value in headers if name.lower() == "content-length"), 0
            )
            return start_response(line, [*headers, ("X-Request-ID", own)], exc_info)

        try:
            return self.app(environ, start)
        finally:
            if self.log:
                method = environ["REQUEST_METHOD"]
                line = {
                    "time": dt.datetime.fromtimestamp(at, JST).isoformat(timespec="milliseconds"),
                    "method": method if method in METHODS else "OTHER",
                    "endpoint": endpoint,
                    "status": status,
                    "ms": round((time.perf_counter() - begun) * 1000, 1),
                    "bytes": 0 if method == "HEAD" else size,
                    "request_id": own,
                }
                # a log that cannot be written stops no certificate
                with contextlib.suppress(OSError):
                    sys.stderr.write(json.dumps(line) + "\n")


def _endpoint(environ: dict[str, Any]) -> str:
    """Return Flask's name of the view, or the name of the layer that answered in front of Flask."""
    if "kakunin.front" in environ:
        return environ["kakunin.front"]
    return (request.endpoint or "none") if has_request_context() else "static"


class SecurityHeaders:
    """Add the security headers to every answer, including errors and static files."""

    def __init__(self, app: Wsgi, *, secure: bool) -> None:
        self.app = app
        self.headers = [*HEADERS, HSTS] if secure else HEADERS

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            present = {name.lower() for name, _ in headers}
            ours = [header for header in self.headers if header[0].lower() not in present]
            return start_response(status, [*headers, *ours], exc_info)

        return self.app(environ, start)


class HostCheck:
    """Refuse requests for a Host that is not ours, and requests whose cookies and query are longer
    than HEAD_MOST together.

    The whole Host header must be a host, or a host and a port. /healthz is answered under any Host,
    for load balancers.
    """

    def __init__(self, app: Wsgi, hosts: set[str]) -> None:
        self.app, self.hosts = app, hosts

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        if self.hosts and environ.get("PATH_INFO") != "/healthz":
            named = re.fullmatch(
                r"\[?([^\[\]@/?#\s]+?)\]?(:\d{1,5})?", environ.get("HTTP_HOST", "")
            )
            if not named or named[1].lower() not in self.hosts:
                return refuse(
                    environ,
                    "front.hosts",
                    start_response,
                    "400 Bad Request",
                    "このアドレスでは表示できません。",
                )
        if len(environ.get("HTTP_COOKIE", "")) + len(environ.get("QUERY_STRING", "")) > HEAD_MOST:
            sentence = "ブラウザから送られた情報が長すぎます。ブラウザのCookieを消してから、もう一度お試しください。"
            return refuse(
                environ,
                "front.hosts",
                start_response,
                "431 Request Header Fields Too Large",
                sentence,
            )
        return self.app(environ, start_response)


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


class BodyBuffer:
    """Read a form completely before it is admitted into Flask, so that slow clients do not occupy a
    place there.

    At most `most` threads read at once. A third of them is for known browsers and the rest for
    strangers, and one address may take at most half of either share. This suffices, since our forms
    fit into one packet. Any further request gets 503 at once. A form of more than `longest` bytes
    gets 413 and is not read.
    """

    def __init__(
        self, app: Wsgi, most: int, longest: int, is_known: Known = lambda _environ: False
    ) -> None:
        self.app, self.longest, self.is_known = app, longest, is_known
        self.shares = {True: max(1, most // 3), False: max(1, most * 2 // 3)}
        self.reading: Counter[tuple[bool, str]] = Counter()
        self.lock = threading.Lock()

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] in ("GET", "HEAD"):
            environ["wsgi.input"] = io.BytesIO()
            return self.app(environ, start_response)
        length = environ.get("CONTENT_LENGTH") or "0"
        if not (length.isascii() and length.isdigit()) or int(length) > self.longest:
            sentence = "送られた内容が長すぎます。短くして、もう一度お試しください。"
            return refuse(
                environ, "front.bodies", start_response, "413 Content Too Large", sentence
            )
        reader = self.is_known(environ), environ.get("REMOTE_ADDR", "")
        if not self._begin(reader):
            return refuse(
                environ,
                "front.bodies",
                start_response,
                "503 Service Unavailable",
                BUSY,
                ("Retry-After", "3"),
            )
        try:
            body = environ["wsgi.input"].read(int(length)) if int(length) else b""
        finally:
            self._end(reader)
        environ["wsgi.input"] = io.BytesIO(body)
        environ.pop("HTTP_TRANSFER_ENCODING", None)
        return self.app(environ, start_response)

    def _begin(self, reader: tuple[bool, str]) -> bool:
        """Take a place for reading, and return whether one was free."""
        with self.lock:
            share = self.shares[reader[0]]
            taken = sum(count for (known, _), count in self.reading.items() if known == reader[0])
            if taken >= share or self.reading[reader] >= max(1, share // 2):
                return False
            self.reading[reader] += 1
            return True

    def _end(self, reader: tuple[bool, str]) -> None:
        with self.lock:
            self.reading[reader] -= 1
            if not self.reading[reader]:
                del self.reading[reader]


def refuse(environ: dict[str, Any], name: str, *answer: Any) -> Iterable[bytes]:
    """Return plain(*answer). `name` is the layer that refuses, which the log gives as the endpoint."""
    environ["kakunin.front"] = name
    return plain(*answer)


def plain(
    start_response: Callable[..., Any],
    status: str,
    sentence: str,
    *headers: tuple[str, str],
    language: str = "ja",
    phone: str = "",
) -> Iterable[bytes]:
    """Answer with a page of one sentence, made without Flask, with the face of the others. `phone`
    is the number to call, if there is one."""
    brand, title, again, call = FACE[language]
    button = f'<p><a class="button" href="tel:{phone}">{call} {phone}</a></p>' if phone else ""
    body = PAGE.format(
        language=language,
        sentence=sentence,
        brand=brand,
        title=title,
        again=again,
        style=f"/static/{assets.names()['app.css']}",
        contact=button,
    ).encode()
    sizes = [
        ("Content-Type", "text/html; charset=utf-8"),
        ("Content-Length", str(len(body))),
        ("Cache-Control", "no-store"),
    ]
    start_response(status, [*sizes, *headers])
    return [body]
