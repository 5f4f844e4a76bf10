"""The views, one module for each journey. This module registers them, and checks every request
before its view runs.

An endpoint requires a login unless it is in PUBLIC.
"""

from __future__ import annotations

from typing import Any

from flask import Flask, Response, current_app, redirect, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_login import LoginManager, current_user

from database import database
from front import assets
from models import SEEN_EVERY, Account, Member, Session
from views import (
    account,
    certificate,
    code,
    errors,
    home,
    language,
    login,
    passkeys,
    password,
    welcome,
)
from views.forms import check_origin, has_page, has_passkey, own_insurer, passkey_site
from views.services import htmx, now

PUBLIC = {
    "login.login",
    "login.code",
    "passkeys.login",
    "passkeys.login_options",
    "code.resend",
    "code.mail_state",
    "welcome.details",
    "welcome.code",
    "password.forgot",
    "password.reset",
    "certificate.clock",
    "home.help",
    "home.staff",
    "home.healthz",
    "language.switch",
}
POLLS = {"certificate.clock", "code.mail_state"}


def register(app: Flask, manager: LoginManager) -> None:
    """Register views, filters and error pages with the application."""
    for module in (login, code, welcome, password, account, passkeys, home, certificate, language):
        app.register_blueprint(module.pages)
    language.register(app)
    errors.register(app)
    htmx.init_app(app)
    manager.user_loader(load_session)
    app.before_request(guard)
    app.after_request(never_stored)
    app.teardown_request(give_back)
    app.context_processor(shared)
    built = assets.names()
    app.jinja_env.globals.update(asset=lambda name: f"/static/{built[name]}")
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True


def guard() -> ResponseReturnValue | None:
    """Connect to the database, check the origin of a POST, and require a login for every endpoint
    that is not PUBLIC.

    Redirect a stranger to the login, or to the code page if this browser still has a code to enter.
    /healthz must not wait for a connection, so it makes its own.
    """
    if request.endpoint == "home.healthz":
        return None
    database.connect(reuse_if_open=True)
    if request.method not in ("GET", "HEAD", "OPTIONS"):
        check_origin()
    if request.endpoint is None or request.endpoint in PUBLIC or current_user.is_authenticated:
        return None
    ended = "_user_id" in session
    for name in ("_user_id", "_fresh", "_id"):
        session.pop(name, None)
    if page := code.pending():
        return redirect(url_for(page), 303)
    # a form's own page, too, if its session ended before it was sent
    target = request.full_path.rstrip("?") if has_page() and request.path != "/" else None
    address = url_for("login.login", next=target, ended=1 if ended else None)
    return ("", 401, {"HX-Redirect": address}) if htmx else redirect(address, 303)


def load_session(session_id: str) -> Session | None:
    """Return the session as flask-login's user, or None if it has ended or does not exist.

    Record the time of a page view, at most every SEEN_EVERY seconds. Polls are not recorded.
    """
    found = (
        Session.select(Session, Account, Member)
        .join(Account)
        .join(Member)
        .where(Session.id == session_id)
        .first()
    )
    if found is None or not found.runs_at(now()):
        return None
    if request.endpoint not in POLLS and found.seen_at + SEEN_EVERY <= now():
        Session.update(seen_at=int(now())).where(Session.id == session_id).execute()
    return found


def never_stored(response: Response) -> Response:
    response.headers.setdefault("Cache-Control", "no-store")
    return response


def give_back(_error: BaseException | None) -> None:
    if not database.is_closed():
        database.close()


def shared() -> dict[str, Any]:
    """Return what every template may ask for."""
    return {
        "notice": current_app.config["NOTICE"],
        "insurer": own_insurer(),
        "passkeys": passkey_site() is not None,
        "has_passkey": has_passkey(),
    }
