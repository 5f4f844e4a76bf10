"""Japanese, and English for those who do not read it: which of the two a page is in, and the switch at its foot."""

from __future__ import annotations

import datetime as dt
from typing import Any

from babel.dates import format_date
from flask import Blueprint, Flask, current_app, redirect, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import Babel, get_locale

import assets
from clock import WEEKDAYS
from eras import in_words
from models import JST, today

pages = Blueprint("language", __name__)

NAMES = {"ja": "日本語", "en": "English"}
COOKIE = "lang"
CATALOGUES = assets.ROOT / "build" / "translations"


def register(app: Flask) -> None:
    """Sentences are Japanese in the source; make install compiles the English catalogue."""
    Babel(app, default_locale="ja", default_translation_directories=str(CATALOGUES), locale_selector=chosen)
    app.jinja_env.filters.update(day=day, moment=moment)

    @app.context_processor
    def shared() -> dict[str, Any]:
        return {"language": current(), "other_language": other()}


def chosen() -> str:
    """What the person chose, else what the browser asks for; Japanese where that is neither."""
    kept = request.cookies.get(COOKIE)
    return kept if kept in NAMES else request.accept_languages.best_match(NAMES, "ja")


def current() -> str:
    locale = get_locale()
    return locale.language if locale else "ja"


def other() -> tuple[str, str, str]:
    """The language that the switch leads to: its code, its name, and where the switch is sent."""
    code = "ja" if current() == "en" else "en"
    here = request.url_rule is not None and "GET" in (request.url_rule.methods or ())
    back = request.full_path.rstrip("?") if here else url_for("home.home")
    return code, NAMES[code], url_for("language.switch", code=code, next=back)


@pages.post("/language/<any(ja,en):code>")
def switch(code: str) -> ResponseReturnValue:
    """The same page in the other language, for a year."""
    from views import cookie_options
    from views.login import is_own_path

    target = request.args.get("next", "")
    response = redirect(target if is_own_path(target) else url_for("home.home"), 303)
    response.set_cookie(COOKIE, code, max_age=365 * 86400, **cookie_options())
    return response


def day(day: dt.date | None) -> str:
    """令和10年12月1日, or 1 December 2028."""
    if day is None:
        return ""
    return format_date(day, "d MMMM y", "en") if current() == "en" else in_words(day)


def time_of_day(at: float) -> str:
    """14時20分, or 14:20; with its day, as `moment`, if that is not today."""
    if today(at) != today(current_app.extensions["kakunin"].now()):
        return moment(at)
    return _clock(dt.datetime.fromtimestamp(at, JST))


def _clock(at: dt.datetime) -> str:
    return f"{at:%H:%M}" if current() == "en" else f"{at.hour}時{at.minute:02}分"


def moment(at: float) -> str:
    """11月23日(月) 14時20分, or Mon 23 November, 14:20."""
    day = dt.datetime.fromtimestamp(at, JST)
    if current() == "en":
        return f"{format_date(day, 'EEE d MMMM', 'en')}, {_clock(day)}"
    return f"{day.month}月{day.day}日({WEEKDAYS[day.weekday()]}) {_clock(day)}"
