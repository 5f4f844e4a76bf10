"""Login: ID and password, the one-time code, the question whether the phone is one's own, logout."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from flask import Blueprint, current_app, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext, lazy_gettext
from flask_login import current_user, login_user

import accounts
import limits
import mailer
from codes import RESEND_AFTER, TooManyCodes, fold, send_code, take_code
from models import AHEAD, Account, Challenge, Member, Session, Trust
from views import SENT, Form, address, device, form_page, kakunin, later, new_form, now, refused
from views.language import clock_time

pages = Blueprint("login", __name__)

WRONG = lazy_gettext(
    "IDまたはパスワードが違います。もう一度入力してください。はじめての方は、お手紙の仮パスワードを入力してください。"
)
WRONG_CODE = lazy_gettext(
    "数字が違うか、使えなくなっています。もう一度入力するか、「もう一度送る」を押して、新しい数字を入力してください。"
)
PAGES = {"login": "login.code", "register": "welcome.code", "email": "account.email_code"}


@pages.route("/login", methods=["GET", "POST"])
def login() -> ResponseReturnValue:
    """One vague message for every failure, and one argon2 verification for every try."""
    form = new_form("username", "next")
    if request.method != "POST":
        if current_user.is_authenticated:
            return redirect(url_for("home.home"))
        form.values["next"] = request.args.get("next", "")
        return render_template("login/login.html", form=form, ended="ended" in request.args)
    keys, typed, secret = kakunin().keys, form.values["username"], request.cookies.get(trust_cookie(), "")
    account = accounts.find(typed)
    trust = accounts.trusted(account, secret, now()) if current_app.config["TRUST_DAYS"] else None
    counted: list[tuple[limits.Limit, str]] = [
        (limits.PASSWORD_OF_ID, fold(typed)[:64]),
        (limits.PASSWORD_OF_ADDRESS, address()),
    ]
    if trust is not None:  # a member's own phone is not slowed by strangers
        counted = [(limits.PASSWORD_OF_PHONE, trust.id)]
    try:
        limits.check(keys, now(), *counted)
    except limits.Refused as refusal:
        return refused("login/login.html", form, refusal.until)
    if account is None or not accounts.authenticate(account, request.form.get("password", ""), keys):
        if account is None:
            accounts.authenticate(None, request.form.get("password", ""), keys)
        limits.count(keys, now(), *counted)
        accounts.note(now(), "login.failed", None, account.member_id if account else None)
        form.message = WRONG
        return form_page("login/login.html", form)
    limits.forget(keys, counted[0])
    return enter(account, trust, form)


def enter(account: Account, trust: Trust | None, form: Form) -> ResponseReturnValue:
    """The password was right: on to first use, to the code, or in. The half-logged-in person never survives in a session
    that counts."""
    if account.password_hash is None:
        session.clear()
        session["welcome"] = [account.member_id, (account.temporary_hash or "")[:16], int(now())]
        return redirect(url_for("welcome.details"), 303)
    if trust is not None:
        return begin(account, trust, form.values["next"])
    try:
        challenge = send_code(account, "login", now())
    except TooManyCodes as error:
        return refused("login/login.html", form, error.until, SENT)
    session.clear()
    hold(challenge)
    session["next"] = form.values["next"][:300]
    return redirect(url_for("login.code"), 303)


def hold(challenge: Challenge) -> None:
    """Bind the code to this browser, in a cookie that outlives a tab dropped while its owner reads the mail."""
    session.permanent = True
    session["challenge"] = challenge.id
    kakunin().mailer.ring()


def begin(account: Account, trust: Trust | None = None, target: str = "") -> ResponseReturnValue:
    """Start a session, in an emptied cookie, and go on to where the person wanted."""
    session.clear()
    session.permanent = True
    login_user(accounts.start_session(account, device(), now(), trust))
    session["ask_trust"] = trust is None and current_app.config["TRUST_DAYS"] > 0
    return redirect(target if is_own_path(target) else url_for("home.home"), 303)


def is_own_path(target: str) -> bool:
    """Whether `next` leads to a page of ours."""
    parts = urlsplit(target)
    plain = target.startswith("/") and not target.startswith(("//", "/\\")) and target.isprintable() and "\\" not in target
    return plain and not parts.scheme and not parts.netloc


def held(purpose: str) -> Challenge | None:
    """The challenge that this browser asked for."""
    mine = Challenge.id == session.get("challenge", ""), Challenge.purpose == purpose
    return Challenge.select(Challenge, Account, Member).join(Account).join(Member).where(*mine).first()


@pages.route("/login/code", methods=["GET", "POST"])
def code() -> ResponseReturnValue:
    """The six digits from the mail."""
    challenge = held("login")
    if challenge is None:
        return redirect(url_for("login.login"), 303)
    form = new_form()
    if request.method != "POST":
        return code_page(challenge, "login/code.html", form)
    if wrong := unproven(challenge, "login/code.html", form):
        return wrong
    return begin(challenge.account, target=session.get("next", ""))


def unproven(challenge: Challenge, template: str, form: Form) -> ResponseReturnValue | None:
    """The answer to a code that does not prove the challenge; None where it does.

    Wrong codes are counted over all of a member's, so that a right password, which sends a new one, buys no new tries.
    """
    keys, limit = kakunin().keys, (limits.CODE, str(challenge.account_id))
    try:
        limits.check(keys, now(), limit)
    except limits.Refused as refusal:
        until = clock_time(refusal.until + 59)
        form.message = gettext("続けて間違えたため、%(time)sごろまで、数字を受け付けません。", time=until)
        return later(code_page(challenge, template, form, 429), refusal.until)
    if take_code(challenge, request.form.get("code", ""), keys, now()):
        return None
    limits.count(keys, now(), limit)
    return wrong_code(challenge, template, form)


def wrong_code(challenge: Challenge, template: str, form: Form) -> ResponseReturnValue:
    accounts.note(now(), "code.failed", None, challenge.account_id)
    form.errors["code"] = WRONG_CODE
    return code_page(challenge, template, form, 422)


def code_page(challenge: Challenge, template: str, form: Form, status: int = 200) -> ResponseReturnValue:
    """The page that asks for the digits: the same in login, first use and change of address."""
    purpose = challenge.purpose
    back = {"login": "login.login", "register": "welcome.details", "email": "account.email"}[purpose]
    page = render_template(
        template,
        form=form,
        mask=accounts.mask(challenge.email or challenge.account.email or ""),
        mail_state=mailer.state(challenge, now()),
        mail_state_url=url_for("login.mail_state", purpose=purpose),
        resend_in=min(RESEND_AFTER, max(0, challenge.created_at + RESEND_AFTER - int(now()))),
        resend_url=url_for("login.resend", purpose=purpose),
        back_url=url_for(back),
        step="2/2" if purpose == "register" else "",
    )
    return page, status


@pages.get("/code/<any(login,register,email):purpose>/mail")
def mail_state(purpose: str) -> ResponseReturnValue:
    """The fragment that says whether the mail went out; polled while it waits."""
    challenge = held(purpose)
    state = mailer.state(challenge, now()) if challenge else "sent"
    mask = accounts.mask(challenge.email or challenge.account.email or "") if challenge else ""
    url = url_for("login.mail_state", purpose=purpose)
    return render_template("_mail_state.html", mail_state=state, mail_state_url=url, mask=mask)


@pages.post("/code/<any(login,register,email):purpose>/resend")
def resend(purpose: str) -> ResponseReturnValue:
    """A new code for the same purpose; the old one is void. Not sooner than 60 seconds after the last."""
    challenge = held(purpose)
    if challenge is None:
        return redirect(url_for("login.login"), 303)
    template = {"login": "login/code.html", "register": "welcome/code.html", "email": "account/email_code.html"}[purpose]
    form = new_form()
    if -AHEAD <= now() - challenge.created_at < RESEND_AFTER:
        form.message = gettext("メールは、さきほど送りました。1分ほど待ってから、もう一度押してください。")
        return code_page(challenge, template, form, 429)
    kept: Any = {"email": challenge.email, "password_hash": challenge.password_hash, "decoy": challenge.decoy}
    try:
        hold(send_code(challenge.account, purpose, now(), **kept))
    except TooManyCodes as error:
        until = clock_time(error.until + 59)
        form.message = gettext("続けて何度も送ったため、%(time)sごろまで、新しいメールを送れません。", time=until)
        return later(code_page(challenge, template, form, 429), error.until)
    return redirect(url_for(PAGES[purpose]), 303)


@pages.post("/login/trust")
def trust() -> ResponseReturnValue:
    """The answer to the question whether this phone is one's own. Asked once, after a code; no by default."""
    response = redirect(url_for("home.home"), 303)
    if session.pop("ask_trust", False) and request.form.get("trust") == "yes":
        days = current_app.config["TRUST_DAYS"]
        secret = accounts.trust_phone(current_user, days, now())
        response.set_cookie(
            trust_cookie(),
            secret,
            max_age=days * 86400,
            secure=current_app.config["SESSION_COOKIE_SECURE"],
            httponly=True,
            samesite="Lax",
        )
    return response


def trust_cookie() -> str:
    return "__Host-trust" if current_app.config["SESSION_COOKIE_SECURE"] else "trust"


@pages.post("/logout")
def logout() -> ResponseReturnValue:
    """Ends the session on the server's side too."""
    Session.update(ended_at=int(now())).where(Session.id == current_user.id).execute()
    accounts.note(now(), "logout", current_user.account_id)
    session.clear()
    return redirect(url_for("login.login"), 303)
