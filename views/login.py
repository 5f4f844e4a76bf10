"""Login with an ID, a password and, unless the phone is trusted, a code; and logout."""

from __future__ import annotations

from flask import (
    Blueprint,
    current_app,
    make_response,
    redirect,
    render_template,
    request,
    session,
    url_for,
)
from flask.typing import ResponseReturnValue
from flask_babel import lazy_gettext
from flask_login import current_user, login_user

import accounts
from accounts import limits, passwords, sessions
from accounts.codes import send_code
from accounts.keys import fold_typed, grouped
from accounts.passkeys import Proof
from models import Account, Audit, Session, Trust
from views.code import bind, bound, code_page, over, prove, unproven
from views.forms import (
    SENT,
    Form,
    address,
    cookie_name,
    cookie_options,
    device,
    form_page,
    is_own_path,
    new_form,
    refused,
)
from views.services import now, services

pages = Blueprint("login", __name__)

DAY = 86400
BROWSER_LASTS = 400 * DAY
"""Seconds that a browser keeps the mark of a login that finished there: as long as browsers keep
any cookie."""
WRONG = lazy_gettext(
    "IDかパスワードが違います。登録がお済みの方はご自分で決めたパスワードを、はじめての方はお手紙の仮パスワードを入力してください。"
)


@pages.route("/login", methods=["GET", "POST"])
def login() -> ResponseReturnValue:
    """Show the login form, or check the ID and password.

    Whether the ID does not exist or the password is wrong, the message is the same, and one argon2
    verification was made.
    """
    form = new_form("username", "next")
    secret = (
        request.cookies.get(cookie_name("trust"), "") if current_app.config["TRUST_DAYS"] else ""
    )
    if request.method != "POST":
        if current_user.is_authenticated:
            return redirect(url_for("home.home"))
        form.values["next"] = request.args.get("next", "")
        mine = None if "other" in request.args else sessions.trusted(secret, now())
        if mine:
            form.values["username"] = grouped(mine.account.login_id)
        return render_template(
            "login/login.html",
            form=form,
            ended="ended" in request.args,
            over="over" in request.args,
            known=mine is not None,
        )
    keys, login_id = services().keys, fold_typed(form.values["username"])[:64]
    account = accounts.find(login_id)
    trust = sessions.trusted(secret, now())  # asked alike whether the account exists or not
    if trust and trust.account != account:
        trust = None
    tries = _tries(login_id, trust)
    try:
        limits.take(keys, now(), *tries)
    except limits.TooMany as refusal:
        return refused("login/login.html", form, refusal.until)
    if (
        not passwords.authenticate(account, request.form.get("password", ""), keys)
        or account is None
    ):
        Audit.note(now(), "login.failed", None, account.member_id if account else None)
        form.message = WRONG
        return form_page("login/login.html", form)
    limits.forget(keys, tries[0])
    limits.give_back(keys, now(), *tries[1:])
    return enter(account, trust, form)


def _tries(login_id: str, trust: Trust | None) -> list[limits.Try]:
    """Return the limits that this try counts against.

    A browser where a login with this ID has finished before has its own limit. Wrong tries by
    strangers, or by colleagues at the same address, do not delay logins there.
    """
    own = (
        trust.id
        if trust
        else sessions.browser(
            request.cookies.get(cookie_name("browser"), ""), login_id, services().keys
        )
    )
    if own:
        return [limits.Try(limits.PASSWORD_OF_BROWSER, own)]
    return [
        limits.Try(limits.PASSWORD_OF_ID, login_id),
        limits.Try(limits.PASSWORD_OF_ADDRESS, address(), about=login_id),
    ]


def enter(account: Account, trust: Trust | None, form: Form) -> ResponseReturnValue:
    """Go on after the right password: redirect to first use or to the code page, or start a session
    if the phone is trusted.

    End any session that this browser has, and empty its session cookie first.
    """
    if account.password_hash is not None and trust is None:
        try:
            challenge = send_code(account, "login", now())
        except limits.TooMany as error:
            return refused("login/login.html", form, error.until, SENT)
    end_session()
    session.clear()
    prove(account)
    if account.password_hash is None:
        return redirect(url_for("welcome.details"), 303)
    if trust is not None:
        return begin(account, trust, target=form.values["next"])
    bind(challenge)
    session["next"] = form.values["next"][:300]
    return redirect(url_for("login.code"), 303)


def begin(
    account: Account,
    trust: Trust | None = None,
    *,
    proof: Proof | None = None,
    trust_phone: bool = False,
    target: str = "",
) -> ResponseReturnValue:
    """Start a session in an emptied cookie, and redirect to `target` if it is a path of ours, or
    else to home.

    With `trust_phone`, trust this phone from now on. With a `trust`, prolong it. Either then lasts
    for TRUST_DAYS. After a login by code, which has neither a `trust` nor a `proof`, home may offer
    a passkey.
    """
    days = current_app.config["TRUST_DAYS"]
    secret = request.cookies.get(cookie_name("trust"), "")
    offer = trust is None and proof is None
    if trust_phone and days:
        trust, secret = sessions.trust_phone(account, device(), now())
    started = sessions.start_session(account, device(), now(), trust, now() + days * DAY, proof)
    session.clear()
    session.permanent = True
    if offer:
        session["offer"] = True
    login_user(started)
    response = make_response(redirect(target if is_own_path(target) else url_for("home.home"), 303))
    if trust is not None:
        response.set_cookie(cookie_name("trust"), secret, max_age=days * DAY, **cookie_options())
    kept = sessions.remember_browser(
        request.cookies.get(cookie_name("browser"), ""), account.login_id, services().keys
    )
    response.set_cookie(cookie_name("browser"), kept, max_age=BROWSER_LASTS, **cookie_options())
    return response


@pages.route("/login/code", methods=["GET", "POST"])
def code() -> ResponseReturnValue:
    """Take the code, and the answer to the question whether this phone shall be trusted. Start a
    session if the code is right."""
    challenge = bound("login")
    if challenge is None:
        return over()
    form = new_form("trust")
    if request.method != "POST":
        return code_page(challenge, form)
    if wrong := unproven(challenge, form):
        return wrong
    return begin(
        challenge.account, trust_phone=form.values["trust"] == "yes", target=session.get("next", "")
    )


def end_session() -> None:
    """End this browser's session in the database, if there is one."""
    if current_user.is_authenticated:
        sessions.end(now(), Session.id == current_user.id)
        Audit.note(now(), "logout", current_user.account_id)


@pages.post("/logout")
def logout() -> ResponseReturnValue:
    end_session()
    session.clear()
    return redirect(url_for("login.login"), 303)
