"""create_app(): settings, extensions, views and commands put together; the front door, nothing else."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from flask import Flask, request
from flask.sessions import SecureCookieSessionInterface
from flask_htmx import HTMX
from flask_login import LoginManager
from werkzeug.middleware.proxy_fix import ProxyFix
from whitenoise import WhiteNoise

import assets
import commands
import models
import settings
import views
from clock import Clock, session_reader
from codes import Keys, Stamps
from front import REQUEST_ID, Admission, Bodies, Headers, Hosts, Requests, Wsgi, own_addresses
from mailer import Mailer


@dataclass
class Kakunin:
    """What views reach besides the tables: `app.extensions["kakunin"]`."""

    keys: Keys
    clock: Clock
    mailer: Mailer
    now: Callable[[], float]


class Sessions(SecureCookieSessionInterface):
    """Flask's own, for machines whose clocks differ a little."""

    def get_signing_serializer(self, app: Flask) -> Any:
        serializer = super().get_signing_serializer(app)
        if serializer is not None:
            serializer.signer = Stamps
        return serializer


class Program(Flask):
    """Flask, with a log that holds no address: a reset link is one."""

    def log_exception(self, exc_info: Any) -> None:
        own = request.environ.get(REQUEST_ID, "-")
        self.logger.error(
            "Exception in %s [%s], request %s\n%s", request.endpoint, request.method, own, _places(exc_info[1])
        )


def _places(error: BaseException | None) -> str:
    """Where it was raised and of which type, then its causes; none of its words, which may be somebody's address."""
    told = ""
    while error is not None:
        told += "".join(traceback.format_tb(error.__traceback__)) + f"{type(error).__qualname__}\n"
        error = error.__cause__ or error.__context__
    return told


def create_app(now: Callable[[], float] = time.time, *, serving: bool = False) -> Flask:
    """Return the program, configured by the environment. Raise settings.BadSetting with a sentence for the operator.

    With `serving` no statement may keep a page waiting for long: see database.connect.
    """
    app = Program(__name__, static_folder=None)
    settings.load(app)
    secure = not app.config["INSECURE_COOKIES"]
    app.config.update(
        SESSION_COOKIE_NAME="__Host-session" if secure else "session",
        SESSION_COOKIE_SECURE=secure,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_REFRESH_EACH_REQUEST=False,  # the lease is bound to the cookie's value
        PERMANENT_SESSION_LIFETIME=models.SESSION_LIFE,
        MAX_CONTENT_LENGTH=64 * 1024,
        MAX_FORM_MEMORY_SIZE=64 * 1024,
        MAX_FORM_PARTS=50,
        LOGIN_DISABLED=False,  # flask-login would take it from the environment
    )
    models.connect(app.config["DATABASE_URL"], serving=serving)
    keys = Keys(app.config["SECRET_KEY"], app.config["SECRET_KEY_FALLBACKS"])
    HTMX(app)
    login = LoginManager(app)
    login.session_protection = None  # "strong" logs a phone out when it changes its network
    views.register(app, login)
    commands.register(app)

    threads = settings.server_options(1)["THREADS"]
    inside: Wsgi = Bodies(Admission(app.wsgi_app, threads // 2), threads * 3 // 8, app.config["MAX_CONTENT_LENGTH"])
    if app.config["PROXIES"]:
        inside = ProxyFix(inside, x_for=app.config["PROXIES"], x_proto=app.config["PROXIES"])
    types = {".webmanifest": "application/manifest+json"}
    static = WhiteNoise(inside, immutable_file_test=lambda _path, _url: True, allow_all_origins=False, mimetypes=types)
    static.FOREVER = 365 * 24 * 60 * 60
    static.add_files(str(assets.BUILT), "static/")
    app.session_interface = Sessions()
    serializer = app.session_interface.get_signing_serializer(app)
    headers = Headers(Hosts(static, _hosts(app)), secure=secure)
    clock = Clock(
        Requests(headers, log=bool(app.config["LOG_REQUESTS"]), proxied=bool(app.config["PROXIES"]), now=now),
        keys,
        app.config["SESSION_COOKIE_NAME"],
        session_reader(serializer, models.SESSION_LIFE),
        secure=secure,
        guardian_age=app.config["GUARDIAN_AGE"],
        now=now,
    )
    app.wsgi_app = clock  # type: ignore[method-assign]
    mailer = Mailer(app.config, keys, lambda name, values: app.jinja_env.get_template(name).render(values), now)
    app.extensions["kakunin"] = Kakunin(keys, clock, mailer, now)
    return app


def _hosts(app: Flask) -> set[str]:
    """The hosts that requests may name; none where BASE_URL is not set, as in commands."""
    host = urlsplit(app.config["BASE_URL"]).hostname
    return ({host} | (own_addresses() if app.config["INSECURE_COOKIES"] else set())) if host else set()


def serve() -> Flask:
    """What the server loads in each of its processes."""
    try:
        app = create_app(serving=True)
        settings.check_serving(app.config)
        settings.check_schema()
    except (settings.BadSetting, FileNotFoundError) as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(1) from error
    app.extensions["kakunin"].mailer.ring()
    return app
