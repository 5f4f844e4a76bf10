"""The error pages, in the layout of the other pages."""

from __future__ import annotations

from flask import Flask, current_app, redirect, render_template, session, url_for
from flask.typing import ResponseReturnValue
from flask_babel import lazy_gettext as _
from peewee import DataError, IntegrityError
from werkzeug.exceptions import HTTPException, NotFound

from database import AWAY, reason
from front.plain import plain
from models import Stale
from settings import insurer_of
from views.formats import language

SENTENCES = {
    400: _("送られた内容を読めませんでした。前の画面に戻って、もう一度お試しください。"),
    403: _("この画面からは送れませんでした。ホームを開きなおして、もう一度お試しください。"),
    404: _("ホームに戻ってください。"),
    405: _("この操作はできません。ホームに戻ってください。"),
    413: _("送られた内容が長すぎます。短くして、もう一度お試しください。"),
    503: _("ただいま混み合っているか、点検中です。1分ほど待って、もう一度お試しください。"),
    500: _("うまく表示できませんでした。1分ほど待って、もう一度お試しください。"),
}
FOREIGN_KEY = "IntegrityError 23503", "IntegrityError SQLITE_CONSTRAINT_FOREIGNKEY"


def register(app: Flask) -> None:
    app.register_error_handler(HTTPException, explain)
    app.register_error_handler(Stale, start_again)
    app.register_error_handler(IntegrityError, gone)
    app.register_error_handler(DataError, no_such_text)
    for error in AWAY:
        app.register_error_handler(error, no_database)


def explain(error: HTTPException) -> ResponseReturnValue:
    """Return an error page with one sentence that tells people how to go on."""
    code = error.code or 500
    if error.response is not None or code < 400:
        return error
    sentence = SENTENCES.get(code, SENTENCES[400 if code < 500 else 500])
    headers = [
        (name, value)
        for name, value in error.get_headers()
        if name not in ("Content-Type", "Content-Length")
    ]
    return render_template("error.html", code=code, sentence=sentence), code, headers


def start_again(_error: Stale) -> ResponseReturnValue:
    """Redirect to the login, since the password changed while this request used it."""
    session.clear()
    return redirect(url_for("login.login", over=1), 303)


def gone(error: IntegrityError) -> ResponseReturnValue:
    """Redirect to the login, since an account that this request used was deleted meanwhile. Any
    other violation is a fault of the program, and stays an error."""
    if reason(error) not in FOREIGN_KEY:
        raise error
    return start_again(Stale())


def no_such_text(_error: DataError) -> ResponseReturnValue:
    """Answer 404, since PostgreSQL refused a NUL in a parameter. No id contains one."""
    return explain(NotFound())


def no_database(error: Exception) -> ResponseReturnValue:
    """Answer 503 with a plain page. The layout cannot be used, since it queries for the member's
    insurer."""
    current_app.logger.error("The database does not answer: %s", reason(error))
    phone = insurer_of(current_app.config, None)["phone"]
    page = plain(lambda *_: None, "", str(SENTENCES[503]), language=language(), phone=phone)
    return current_app.response_class(page, 503, {"Retry-After": "10"}, mimetype="text/html")
