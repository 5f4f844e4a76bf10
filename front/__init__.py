"""Assemble the WSGI layers in front of Flask. From the outside in: the clock's tick, the request
log, the security headers, the Host check, static files, the buffer for forms, and the limit on
concurrent requests.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urlsplit

from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix

import models
import settings
from accounts.keys import Keys
from front import assets
from front.admission import ConcurrencyLimit, Wsgi
from front.clock import Clock, cookie, session_reader
from front.middleware import BodyBuffer, HostCheck, RequestLog, SecurityHeaders

log = logging.getLogger("kakunin.front")
OPEN_TO_STRANGERS = ("/login", "/password/forgot")
"""Forms that anybody may send as often as they like. Whoever sends them counts as a stranger."""


def wrap(app: Flask, keys: Keys, now: Callable[[], float]) -> Clock:
    """Wrap `app` in the layers above and return the outermost one."""
    config = app.config
    secure, proxies = config["SESSION_COOKIE_SECURE"], config["PROXIES"]
    threads = settings.server_options(1)["THREADS"]
    read = session_reader(app.session_interface.get_signing_serializer(app), models.SESSION_LIFE)  # type: ignore[attr-defined]

    def known(environ: dict[str, Any]) -> str:
        """Return the member or session of a browser that has once sent a right password, or an
        empty string. The signed cookie tells, without a query."""
        if environ["PATH_INFO"] in OPEN_TO_STRANGERS:
            return ""
        held = read(cookie(environ, config["SESSION_COOKIE_NAME"]))
        return str((held.get("proof") or [held.get("_user_id", "")])[0])

    places = ConcurrencyLimit(app.wsgi_app, threads * 2 // 3, known)
    inside: Wsgi = BodyBuffer(places, threads * 2 // 9, config["MAX_CONTENT_LENGTH"], known)
    if proxies:
        inside = ProxyFix(inside, x_for=proxies, x_proto=proxies)
    else:
        inside = ProxyWarning(inside)
    headers = SecurityHeaders(HostCheck(assets.Static(inside), _hosts(config)), secure=secure)
    return Clock(
        RequestLog(headers, log=bool(config["LOG_REQUESTS"]), proxied=bool(proxies), now=now),
        keys,
        config["SESSION_COOKIE_NAME"],
        read,
        secure=secure,
        guardian_age=config["GUARDIAN_AGE"],
        now=now,
    )


def _hosts(config: dict[str, Any]) -> set[str]:
    """Return the hosts that requests may name. The set is empty if BASE_URL is not set, as in
    commands."""
    host = urlsplit(config["BASE_URL"]).hostname
    return (
        ({host} | (settings.own_addresses() if config["INSECURE_COOKIES"] else set()))
        if host
        else set()
    )


class ProxyWarning:
    """Write one warning in each process once a request comes through a proxy, although none is
    configured. All members would share its address, and the limits of one address."""

    def __init__(self, app: Wsgi) -> None:
        self.app, self.told = app, threading.Event()

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        if "HTTP_X_FORWARDED_FOR" in environ and not self.told.is_set():
            self.told.set()
            log.warning(
                "A request has X-Forwarded-For, but KAKUNIN_PROXIES is 0: all members count as one "
                "address, and share its limits. Behind one reverse proxy set KAKUNIN_PROXIES=1."
            )
        return self.app(environ, start_response)
