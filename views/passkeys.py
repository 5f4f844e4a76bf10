"""Login by the phone's own lock: offered on home after a code, added and removed in the account,
used on the login page.

static/passkeys.js asks the phone. Each form sends what the phone answered, so that a login leads on
as any other does.
"""

from __future__ import annotations

from flask import (
    Blueprint,
    Response,
    abort,
    flash,
    jsonify,
    make_response,
    redirect,
    render_template,
    request,
    session,
    url_for,
)
from flask.typing import ResponseReturnValue
from flask_babel import gettext
from flask_login import current_user

from accounts import limits, passkeys, sessions
from accounts.passkeys import Site
from models import AHEAD, Audit, Passkey
from views.account import confirmed
from views.code import PROOF_LASTS, prove, proven
from views.forms import (
    address,
    cookie_name,
    cookie_options,
    device,
    form_page,
    has_passkey,
    new_form,
    own_insurer,
    passkey_site,
    refused,
)
from views.login import BROWSER_LASTS, begin, end_session
from views.services import now, services

pages = Blueprint("passkeys", __name__)

CHALLENGE, LOGIN = "challenge", "login"


def site() -> Site:
    """Return what passkeys are bound to. Abort with 404 if there are none."""
    return passkey_site() or abort(404)


def ask(purpose: str) -> tuple[str, str]:
    """Return a new challenge, and the cookie that binds it to this browser."""
    return passkeys.ask(services().keys, purpose, now())


def options(given: dict[str, object], cookie: str) -> Response:
    """Return what the browser gives its phone, as JSON, with the cookie of its challenge."""
    response = jsonify(given)
    response.set_cookie(cookie_name(CHALLENGE), cookie, max_age=passkeys.LIFE, **cookie_options())
    return response


def asked(purpose: str) -> bytes:
    """Return the challenge that this browser was given, once. Raise passkeys.Unproven if there is
    none that counts."""
    return passkeys.asked(
        services().keys, purpose, request.cookies.get(cookie_name(CHALLENGE), ""), now()
    )


def mark(answer: ResponseReturnValue) -> Response:
    """Have this browser's login page begin with the button. The cookie names nobody and grants
    nothing."""
    response = make_response(answer)
    response.set_cookie(cookie_name("passkey"), "1", max_age=BROWSER_LASTS, **cookie_options())
    return response


@pages.post("/login/passkey/options")
def login_options() -> ResponseReturnValue:
    here = site()
    challenge, cookie = ask(LOGIN)
    return options(passkeys.to_get(here, challenge), cookie)


@pages.post("/login/passkey")
def login() -> ResponseReturnValue:
    """Log in by a passkey, which replaces ID, password and code. Answer every failure with one
    message.

    A browser whose passkey is no longer kept here begins with ID and password again.
    """
    here, form, keys = site(), new_form("next"), services().keys
    one = limits.Try(limits.PASSKEY_OF_ADDRESS, address())
    try:
        limits.take(keys, now(), one)
    except limits.TooMany as refusal:
        return refused("login/login.html", form, refusal.until)
    try:
        proof = passkeys.prove(request.form.get("answer", ""), asked(LOGIN), here)
    except passkeys.Unproven as error:
        Audit.note(now(), "passkey.failed", None)
        form.message = gettext(
            "このスマホの顔や指では、ログインできませんでした。IDとパスワードでログインしてください。"
        )
        response = make_response(form_page("login/login.html", form, passkeys=error.known))
        if not error.known:
            response.delete_cookie(cookie_name("passkey"), **cookie_options())
        return response
    limits.give_back(keys, now(), one)
    end_session()
    return mark(begin(proof.passkey.account, proof=proof, target=form.values["next"]))


def fresh() -> bool:
    """Return whether its owner proved within 15 minutes, by a login or by the password, that this
    session is theirs."""
    account = proven(PROOF_LASTS)
    asked_again = account is not None and account == current_user.account
    return asked_again or -AHEAD <= now() - current_user.created_at < PROOF_LASTS


def offered() -> bool:
    """Return whether home offers a passkey: after a code, unless that was refused, or this browser
    has one that counts."""
    if not session.get("offer") or passkey_site() is None or not fresh():
        return False
    kept = Passkey.select().where(Passkey.account == current_user.account_id).count()
    return kept < passkeys.AT_MOST and not (kept and has_passkey())


@pages.post("/account/passkey/later")
def later() -> ResponseReturnValue:
    """Offer no passkey again until the next login."""
    session.pop("offer", None)
    return redirect(url_for("home.home"), 303)


@pages.route("/account/passkey", methods=["GET", "POST"])
def add() -> ResponseReturnValue:
    """Show the button that adds this phone. Ask the password first if the login is older than 15
    minutes."""
    site()
    form = new_form()
    if request.method == "POST":
        if wrong := confirmed("account/passkey.html", form):
            return wrong
        prove(current_user.account)
        return redirect(url_for("passkeys.add"), 303)
    return render_template("account/passkey.html", form=form, fresh=fresh())


@pages.post("/account/passkey/options")
def add_options() -> ResponseReturnValue:
    """Return what the phone needs to make a key, or 403 if the session is not fresh."""
    here = site()
    if not fresh():
        abort(403)
    challenge, cookie = ask(f"add {current_user.id}")
    return options(
        passkeys.to_create(current_user.account, here, own_insurer()["name"], challenge), cookie
    )


@pages.post("/account/passkey/keep")
def keep() -> ResponseReturnValue:
    """Keep the key that the phone made."""
    here = site()
    if not fresh():
        return redirect(url_for("passkeys.add"), 303)
    try:
        challenge = asked(f"add {current_user.id}")
        passkeys.add(
            current_user.account, request.form.get("answer", ""), challenge, here, device(), now()
        )
    except passkeys.TooMany:
        flash(
            gettext(
                "登録できるのは%(count)s台までです。使わないものを削除してください。",
                count=passkeys.AT_MOST,
            )
        )
        return redirect(url_for("account.settings"), 303)
    except passkeys.Unproven:
        flash(gettext("登録できませんでした。これまでどおり、IDとパスワードでログインできます。"))
        return redirect(url_for("home.home"), 303)
    for name in ("offer", "proof"):
        session.pop(name, None)
    services().mailer.wake()
    flash(gettext("次からは、このスマホの顔や指でログインできます。"))
    return mark(redirect(url_for("home.home"), 303))


@pages.post("/account/passkey/remove")
def remove() -> ResponseReturnValue:
    """Delete a passkey. The sessions that began with it end, this one too if it did."""
    removed = request.form.get("passkey", "")[:32]
    sessions.remove_passkey(current_user.account, removed, now())
    if removed != current_user.passkey:
        flash(gettext("削除しました。その端末では、次からIDとパスワードでログインします。"))
        return redirect(url_for("account.settings"), 303)
    session.clear()
    flash(gettext("削除しました。この端末では、IDとパスワードでログインしてください。"))
    response = make_response(redirect(url_for("login.login"), 303))
    response.delete_cookie(cookie_name("passkey"), **cookie_options())
    return response
