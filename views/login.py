"""Login with ID and password, and for a phone that is not trusted with a code; and logout."""

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
from accounts.keys import fold, grouped
from accounts.passkeys import Proof
from models import Account, Audit, Session, Trust
from views.code import bind, bound, code_page, prove, unproven
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
    "IDまたはパスワードが違います。もう一度入力してください。はじめての方は、お手紙の仮パスワードを入力してください。"
)


@pages.route("/login", methods=["GET", "POST"])
def login() -> ResponseReturnValue:
    """Answer every failure with one vague message, after one argon2 verification."""
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
            "login/login.html", form=form, ended="ended" in request.args, known=mine is not None
        )
    keys, login_id = services().keys, fold(form.values["username"])[:64]
    account = accounts.find(login_id)
    trust = sessions.trusted(secret, now(), account) if account else None
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
    """Return what a try counts against. A browser where a login of this ID finished before has a
    count of its own, so that strangers, or colleagues at the same address, slow nobody down there.
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
    """Go on after the right password: to first use, to the code, or in.

    Whoever was logged in on this browser is logged out. Nothing of the half-logged-in person
    survives in a later session.
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
    """Start a session in an emptied cookie and go on to where the person wanted. `trust_phone`
    trusts this phone from now on.

    After a code, which is how a login without a trust and without a passkey's proof begins, home
    may offer a passkey.
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
    """Take the six digits from the mail, and the answer to whether this phone is its owner's alone."""
    challenge = bound("login")
    if challenge is None:
        return redirect(url_for("login.login"), 303)
    form = new_form("trust")
    if request.method != "POST":
        return code_page(challenge, form)
    if wrong := unproven(challenge, form):
        return wrong
    return begin(
        challenge.account, trust_phone=form.values["trust"] == "yes", target=session.get("next", "")
    )


def end_session() -> None:
    """End the session of this browser, if there is one, on the server's side."""
    if current_user.is_authenticated:
        Session.update(ended_at=int(now())).where(Session.id == current_user.id).execute()
        Audit.note(now(), "logout", current_user.account_id)


@pages.post("/logout")
def logout() -> ResponseReturnValue:
    end_session()
    session.clear()
    return redirect(url_for("login.login"), 303)
