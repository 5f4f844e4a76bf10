"""The language of pages, Japanese or English, and the switch at their top."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Flask, redirect, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import Babel

from front import assets
from views.formats import FILTERS, language
from views.forms import cookie_options, has_page, is_own_path

pages = Blueprint("language", __name__)

NAMES = {"ja": "日本語", "en": "English"}
COOKIE = "lang"
CATALOGUES = assets.ROOT / "build" / "translations"


def register(app: Flask) -> None:
    """Set up translations. Sentences in the source are Japanese, and `make install` compiles the
    English catalogue."""
    Babel(
        app,
        default_locale="ja",
        default_translation_directories=str(CATALOGUES),
        locale_selector=chosen,
    )
    app.jinja_env.filters.update(FILTERS)
    app.context_processor(shared)


def shared() -> dict[str, Any]:
    return {"language": language(), "other_language": other()}


def chosen() -> str:
    """Return the language that the person chose, or else the one that the browser asks for, or else
    Japanese."""
    kept = request.cookies.get(COOKIE)
    return kept if kept in NAMES else request.accept_languages.best_match(NAMES, "ja")


def other() -> tuple[str, str, str]:
    """Return the other language for the switch: its code, its name, and the URL to which the switch
    is sent."""
    code = "ja" if language() == "en" else "en"
    back = request.full_path.rstrip("?") if has_page() else url_for("home.home")
    return code, NAMES[code], url_for("language.switch", code=code, next=back)


@pages.post("/language/<any(ja,en):code>")
def switch(code: str) -> ResponseReturnValue:
    """Store the chosen language in a cookie for a year, and redirect to the same page."""
    target = request.args.get("next", "")
    response = redirect(target if is_own_path(target) else url_for("home.home"), 303)
    response.set_cookie(COOKIE, code, max_age=365 * 86400, **cookie_options())
    return response
