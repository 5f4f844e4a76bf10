"""One file a journey. Here: what each request passes before its view, and what views and templates share.

An endpoint is private unless it is in PUBLIC.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import Any

from flask import Flask, abort, current_app, flash, make_response, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_babel import lazy_gettext as _
from flask_login import LoginManager, current_user
from peewee import DataError
from werkzeug.exceptions import HTTPException, NotFound

import assets
from database import AWAY
from eras import in_words
from mailer import insurer_of
from models import SEEN_EVERY, Account, Member, Session, database
from views import language

PUBLIC = {
    "login.login",
    "login.code",
    "login.resend",
    "login.mail_state",
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
POLLS = {"certificate.clock", "login.mail_state"}
SENTENCES = {
    400: _("送られた内容を読めませんでした。前の画面にもどって、もう一度お試しください。"),
    403: _("この画面からは送れませんでした。ホームを開きなおして、もう一度お試しください。"),
    404: _("ページが見つかりません。ホームにもどってください。"),
    405: _("この操作はできません。ホームにもどってください。"),
    413: _("送られた内容が長すぎます。短くして、もう一度お試しください。"),
    503: _("ただいま混み合っているか、点検中です。1分ほど待って、もう一度お試しください。"),
    500: _("うまく表示できませんでした。1分ほど待って、もう一度お試しください。"),
}


def kakunin() -> Any:
    return current_app.extensions["kakunin"]


def now() -> float:
    return kakunin().now()


def form_page(template: str, form: Form, status: int = 422, **context: Any) -> ResponseReturnValue:
    """A form again, with what is wrong with it."""
    return render_template(template, form=form, **context), status


@dataclass
class Form:
    """The form as templates take it: what was typed (never a password), what is wrong with each field, and a sentence."""

    values: dict[str, str]
    errors: dict[str, str] = field(default_factory=dict)
    message: str | None = None


def new_form(*names: str) -> Form:
    """The form with what was typed into these fields, without NULs: nobody types them, and PostgreSQL stores none."""
    return Form({name: request.form.get(name, "").replace("\0", "") for name in names})


TRIED = _(
    "続けて間違えたため、しばらく入れません。%(time)sごろから、もう一度お試しください。お急ぎの方は%(insurer)sへお電話ください。"
)
SENT = _(
    "続けて何度もメールを送ったため、しばらく送れません。%(time)sごろから、もう一度お試しください。お急ぎの方は%(insurer)sへお電話ください。"
)


def refused(template: str, form: Form, until: float, why: str = TRIED, **context: Any) -> ResponseReturnValue:
    """The same form with 429, a sentence that names the time, and Retry-After in seconds."""
    form.message = why % {"time": language.clock_time(until + 59), "insurer": own_insurer()["name"]}
    return later(form_page(template, form, 429, **context), until)


def later(page: ResponseReturnValue, until: float) -> ResponseReturnValue:
    """The page with Retry-After, in seconds."""
    response = make_response(page)
    response.headers["Retry-After"] = str(max(1, int(until - now()) + 1))
    return response


def own_insurer() -> dict[str, str]:
    member = current_user.account.member if current_user.is_authenticated else None
    return insurer_of(current_app.config, member)


def address() -> str:
    """The client's address as limits count it: an IPv6 network counts as one."""
    client = request.remote_addr or ""
    return ":".join(client.split(":")[:4]) if client.count(":") >= 2 and "." not in client else client


def device() -> str:
    """What a member is told of a browser: enough to know their own. Kept in Japanese, translated where it is shown."""
    agent = request.headers.get("User-Agent", "")
    kinds = (("iPhone", "iPhone"), ("iPad", "iPad"), ("Android", "Android"), ("Windows", "パソコン"), ("Mac", "パソコン"))
    return next((name for mark, name in kinds if mark in agent), "その他の端末")


def wareki_plain(day: dt.date | None) -> str:
    """令和10年12月1日"""
    return in_words(day) if day else ""


def wareki(day: dt.date | None) -> str:
    """令和10年12月1日(2028年)"""
    return f"{in_words(day)}({day.year}年)" if day else ""


def load_session(session_id: str) -> Session | None:
    """flask-login's user is the session's row: it says whether somebody is logged in. A page view is noted, a poll not."""
    found = Session.select(Session, Account, Member).join(Account).join(Member).where(Session.id == session_id).first()
    if found is None or not found.runs_at(now()):
        return None
    if request.endpoint not in POLLS and found.seen_at + SEEN_EVERY <= now():
        Session.update(seen_at=int(now())).where(Session.id == session_id).execute()
    return found


def guard() -> ResponseReturnValue | None:
    """Before every view: the database, the origin of a POST, and who may be here."""
    database.connect(reuse_if_open=True)
    if request.method not in ("GET", "HEAD", "OPTIONS"):
        check_origin()
    if request.endpoint is None or request.endpoint in PUBLIC or current_user.is_authenticated:
        return None
    ended = "_user_id" in session
    session.clear()
    target = request.full_path.rstrip("?") if request.method == "GET" and request.path != "/" else None
    login = url_for("login.login", next=target, ended=1 if ended else None)
    if request.headers.get("HX-Request"):
        return "", 401, {"HX-Redirect": login}
    return redirect(login, 303)


def check_origin() -> None:
    """A POST comes from our own page: browsers say so by Sec-Fetch-Site, older ones by Origin. Without either, 403."""
    site = request.headers.get("Sec-Fetch-Site")
    origin = request.headers.get("Origin")
    own = request.host_url.rstrip("/"), current_app.config["BASE_URL"].rstrip("/")
    if site is not None and site != "same-origin":
        abort(403)
    if (site is None or origin is not None) and origin not in own:
        abort(403)


def register(app: Flask, login: LoginManager) -> None:
    """Put views, filters and error pages into the program."""
    from . import account, certificate, home, password, welcome
    from . import login as login_view

    for module in (login_view, welcome, password, account, home, certificate, language):
        app.register_blueprint(module.pages)
    language.register(app)
    login.user_loader(load_session)
    app.before_request(guard)
    built = assets.names()
    app.jinja_env.globals.update(asset=lambda name: f"/static/{built[name]}")
    app.jinja_env.filters.update(wareki=wareki, wareki_plain=wareki_plain)
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True

    @app.context_processor
    def shared() -> dict[str, Any]:
        return {"notice": app.config["NOTICE"], "insurer": own_insurer()}

    @app.after_request
    def never_stored(response: Any) -> Any:
        response.headers.setdefault("Cache-Control", "no-store")
        return response

    @app.teardown_request
    def give_back(_error: BaseException | None) -> None:
        if not database.is_closed():
            database.close()

    @app.errorhandler(HTTPException)
    def explain(error: HTTPException) -> ResponseReturnValue:
        code = error.code or 500
        if error.response is not None or code < 400:
            return error
        page = render_template(
            "error.html", code=code, sentence=SENTENCES.get(code, SENTENCES[400 if code < 500 else 500]), home=True
        )
        headers = [(k, v) for k, v in error.get_headers() if k not in ("Content-Type", "Content-Length")]
        return page, code, headers

    @app.errorhandler(DataError)
    def no_such_text(_error: DataError) -> ResponseReturnValue:
        """PostgreSQL was asked for an id with a NUL in it, which it can not hold: nobody has that."""
        return explain(NotFound())

    def no_database(error: Exception) -> ResponseReturnValue:
        app.logger.error("The database does not answer: %s", type(error).__name__)
        from front import plain

        page = plain(lambda *_: None, "", str(SENTENCES[503]), language=language.current())
        return app.response_class(page, 503, {"Retry-After": "10"}, mimetype="text/html")

    for reason in AWAY:
        app.register_error_handler(reason, no_database)


def say(sentence: str) -> None:
    """A sentence for the next page."""
    flash(sentence)
