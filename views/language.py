"""Japanese, and English for those who do not read it: which of the two a page is in, and the switch
at its foot."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Flask, redirect, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import Babel

from front import assets
from views.formats import FILTERS, language
from views.forms import cookie_options, is_own_path

pages = Blueprint("language", __name__)

NAMES = {"ja": "日本語", "en": "English"}
COOKIE = "lang"
CATALOGUES = assets.ROOT / "build" / "translations"


def register(app: Flask) -> None:
    """Sentences are Japanese in the source; make install compiles the English catalogue."""
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
    """Return what the person chose, else what the browser asks for, else Japanese."""
    kept = request.cookies.get(COOKIE)
    return kept if kept in NAMES else request.accept_languages.best_match(NAMES, "ja")


def other() -> tuple[str, str, str]:
    """Return the language that the switch leads to: its code, its name, and where the switch is
    sent."""
    code = "ja" if language() == "en" else "en"
    here = request.url_rule is not None and "GET" in (request.url_rule.methods or ())
    back = request.full_path.rstrip("?") if here else url_for("home.home")
    return code, NAMES[code], url_for("language.switch", code=code, next=back)


@pages.post("/language/<any(ja,en):code>")
def switch(code: str) -> ResponseReturnValue:
    """Lead back to the same page in the other language, which the browser keeps for a year."""
    target = request.args.get("next", "")
    response = redirect(target if is_own_path(target) else url_for("home.home"), 303)
    response.set_cookie(COOKIE, code, max_age=365 * 86400, **cookie_options())
    return response
