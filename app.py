"""Create the application from its settings, extensions, views, commands and WSGI layers."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

from flask import Flask
from flask_login import LoginManager

import commands
import front
import models
import settings
import views
from accounts.keys import Keys
from accounts.mailer import Mailer
from database import connect
from front.program import Program, log_to_stderr
from views.services import Services, services


def create_app(now: Callable[[], float] = time.time, *, serving: bool = False) -> Flask:
    """Return the application, configured by the environment. Raise settings.BadSetting if a setting
    cannot be used.

    With `serving`, long statements are cancelled on PostgreSQL; see database.connect. `now` returns
    seconds since 1970.
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
    connect(app.config["DATABASE_URL"], serving=serving)
    keys = Keys(app.config["SECRET_KEY"], app.config["SECRET_KEY_FALLBACKS"])
    login = LoginManager(app)
    # on a new network it would rewrite the cookie, which the lease is bound to
    login.session_protection = None
    views.register(app, login)
    commands.register(app)
    clock = front.wrap(app, keys, now)
    app.wsgi_app = clock  # type: ignore[method-assign]
    mailer = Mailer(
        app.config, keys, lambda name, values: app.jinja_env.get_template(name).render(values), now
    )
    app.extensions["kakunin"] = Services(keys, clock, mailer, now)
    return app


def serve() -> Flask:
    """Return the application for a server process, and start its mail threads. Exit with a sentence
    if it cannot serve."""
    log_to_stderr(journal="JOURNAL_STREAM" in os.environ)
    try:
        app = create_app(serving=True)
        settings.check_serving(app.config)
        settings.check_schema()
    except (settings.BadSetting, FileNotFoundError) as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(1) from error
    # all pages and mails now: an upgrade replaces the files while this process still runs
    for name in app.jinja_env.list_templates(extensions=["html", "txt"]):
        app.jinja_env.get_template(name)
    with app.app_context():
        services().mailer.wake()
    return app
