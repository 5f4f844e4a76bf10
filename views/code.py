"""The six digits from the mail: one page for login, first use and change of address.

The step is bound to the browser that asked for it and to the password that was right there. It ends
with that password, with the code that was entered, and 15 minutes after the password, however often
the code is sent again.
"""

from __future__ import annotations

from typing import NamedTuple

from flask import Blueprint, current_app, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext, lazy_gettext

import accounts
from accounts import limits, mailer
from accounts.codes import RESEND_AFTER, send_code, take_code
from dates import today
from models import AHEAD, Account, Audit, Challenge, Member
from views.formats import time_of_day
from views.forms import Form, later, new_form
from views.services import now, services

pages = Blueprint("code", __name__)

PROOF_LASTS = 15 * 60
"""Seconds from the right password to the code."""


class Step(NamedTuple):
    """Where one of the three journeys has its page, what it is called, and where it leads back to."""

    page: str
    title: str
    back: str
    back_text: str


STEPS = {
    "login": Step(
        "login.code",
        lazy_gettext("メールの数字を入力"),
        "login.login",
        lazy_gettext("はじめからやり直す"),
    ),
    "register": Step(
        "welcome.code",
        lazy_gettext("メールの数字を入力"),
        "welcome.details",
        lazy_gettext("メールアドレスを直す"),
    ),
    "email": Step(
        "account.email_code",
        lazy_gettext("新しいアドレスの確認"),
        "account.email",
        lazy_gettext("メールアドレスを直す"),
    ),
}
WRONG_CODE = lazy_gettext(
    "数字が違うか、使えなくなっています。もう一度入力するか、「もう一度送る」を押して、新しい数字を入力してください。"
)


def prove(account: Account) -> None:
    """Note in this browser's cookie which password was right, and when. The password itself, and
    who it is, are not in it."""
    session["proof"] = [account.member.public_id, account.mark, int(now())]


def proven(lasts: float) -> Account | None:
    """Return the account whose password was right in this browser within `lasts` seconds, while it
    has that password."""
    public_id, mark, at = session.get("proof") or ("", "", 0)
    return accounts.proven(public_id, mark) if -AHEAD <= now() - at < lasts else None


def bind(challenge: Challenge) -> None:
    """Bind the code to this browser, in a cookie that outlives a tab which the phone drops while
    its owner reads the mail."""
    session.permanent = True
    session["challenge"] = challenge.id
    services().mailer.wake()


def bound(purpose: str) -> Challenge | None:
    """Return the challenge that this browser asked for, unless its step is over."""
    account = proven(PROOF_LASTS)
    if account is None:
        return None
    mine = (
        Challenge.id == session.get("challenge", ""),
        Challenge.account == account,
        Challenge.purpose == purpose,
    )
    return (
        Challenge.select(Challenge, Account, Member).join(Account).join(Member).where(*mine).first()
    )


def pending() -> str | None:
    """Return the endpoint of the code page that this browser's owner has still to fill in, if there
    is one."""
    return next((STEPS[purpose].page for purpose in ("login", "register") if bound(purpose)), None)


def unproven(challenge: Challenge, form: Form) -> ResponseReturnValue | None:
    """Return the answer to a code that does not prove the challenge; None if it does.

    Wrong codes are counted over all of a member's, so that a right password, which sends a new one,
    buys no new tries.
    """
    keys, one = services().keys, limits.Try(limits.CODE, str(challenge.account_id))
    try:
        limits.take(keys, now(), one)
    except limits.TooMany as refusal:
        until = time_of_day(refusal.until + 59)
        form.message = gettext(
            "続けて間違えたため、%(time)sごろまで、数字を受け付けません。", time=until
        )
        return later(code_page(challenge, form, 429), refusal.until)
    if take_code(challenge, request.form.get("code", ""), keys, now()):
        limits.forget(keys, one)
        return None
    return wrong_code(challenge, form)


def wrong_code(challenge: Challenge, form: Form) -> ResponseReturnValue:
    Audit.note(now(), "code.failed", None, challenge.account_id)
    form.errors["code"] = WRONG_CODE
    return code_page(challenge, form, 422)


def code_page(challenge: Challenge, form: Form, status: int = 200) -> ResponseReturnValue:
    """Return the page that asks for the digits, and unless the phone has nothing to show, whether
    it is its owner's alone."""
    purpose, step = challenge.purpose, STEPS[challenge.purpose]
    page = render_template(
        "code/code.html",
        form=form,
        step=step,
        mask=accounts.mask(challenge.email or challenge.account.email or ""),
        mail_state=mailer.state(challenge, now()),
        mail_state_url=url_for("code.mail_state", purpose=purpose),
        resend_in=min(RESEND_AFTER, max(0, challenge.created_at + RESEND_AFTER - int(now()))),
        resend_url=url_for("code.resend", purpose=purpose),
        trust_days=current_app.config["TRUST_DAYS"] if may_trust(challenge) else 0,
    )
    return page, status


def may_trust(challenge: Challenge) -> bool:
    """Return whether it is worth asking: a login begins, and its owner has a certificate to show,
    their own or another's."""
    if challenge.purpose == "email" or not current_app.config["TRUST_DAYS"]:
        return False
    me, day, guardian_age = (
        challenge.account.member,
        today(now()),
        current_app.config["GUARDIAN_AGE"],
    )
    return bool(me.state_on(day) == "valid" or me.shows_others_on(day, guardian_age))


@pages.get("/code/<any(login,register,email):purpose>/mail")
def mail_state(purpose: str) -> ResponseReturnValue:
    """Answer the poll of the waiting page with the fragment that says whether the mail went out."""
    challenge = bound(purpose)
    state = mailer.state(challenge, now()) if challenge else "sent"
    mask = accounts.mask(challenge.email or challenge.account.email or "") if challenge else ""
    url = url_for("code.mail_state", purpose=purpose)
    return render_template("code/_mail_state.html", mail_state=state, mail_state_url=url, mask=mask)


@pages.post("/code/<any(login,register,email):purpose>/resend")
def resend(purpose: str) -> ResponseReturnValue:
    """Send a new code for the same purpose, not sooner than 60 seconds after the last, which it
    voids."""
    challenge = bound(purpose)
    if challenge is None:
        return redirect(url_for("login.login"), 303)
    form = new_form()
    if -AHEAD <= now() - challenge.created_at < RESEND_AFTER:
        form.message = gettext(
            "メールは、さきほど送りました。1分ほど待ってから、もう一度押してください。"
        )
        return code_page(challenge, form, 429)
    try:
        again = send_code(
            challenge.account,
            purpose,
            now(),
            email=challenge.email,
            password_hash=challenge.password_hash,
            decoy=challenge.decoy,
        )
    except limits.TooMany as error:
        until = time_of_day(error.until + 59)
        form.message = gettext(
            "続けて何度も送ったため、%(time)sごろまで、新しいメールを送れません。", time=until
        )
        return later(code_page(challenge, form, 429), error.until)
    bind(again)
    return redirect(url_for(STEPS[purpose].page), 303)
