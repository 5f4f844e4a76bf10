"""The WSGI layers that every request but the tick passes on its way to Flask: the request log, the
security headers, the Host check, and the reading of forms."""

from __future__ import annotations

import contextlib
import datetime as dt
import io
import json
import re
import secrets
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from flask import has_request_context, request

from dates import JST
from front.admission import Known, Wsgi, network
from front.clock import CSP
from front.plain import BUSY, refuse

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
HEAD_MOST = 16 * 1024
HSTS = ("Strict-Transport-Security", "max-age=31536000")
METHODS = {"GET", "HEAD", "POST", "OPTIONS"}
REQUEST_ID = "kakunin.request_id"
"""The key of the request's id in the environ."""


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


class BodyBuffer:
    """Read a form completely before it is admitted into Flask, so that slow clients do not occupy a
    place there.

    At most `most` threads read at once. A third of them is for known browsers and the rest for
    strangers, and one address may take at most half of either share. This suffices, since our forms
    fit into one packet. Any further request gets 503 at once. A form of more than `longest` bytes
    gets 413 and is not read.
    """

    def __init__(
        self, app: Wsgi, most: int, longest: int, known: Known = lambda _environ: ""
    ) -> None:
        self.app, self.longest, self.known = app, longest, known
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
        reader = bool(self.known(environ)), network(environ.get("REMOTE_ADDR", ""))
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
