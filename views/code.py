"""The page that asks for the six-digit code from the mail, for login, first use and change of
address.

The step is bound to the browser that asked for it, and to the password that was entered there. It
ends when the code was entered, when that password changes, and 15 minutes after the password was
entered, even if the code is sent again.
"""

from __future__ import annotations

from typing import NamedTuple

from flask import Blueprint, current_app, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext, lazy_gettext

import accounts
from accounts import limits, mailer
from accounts.codes import RESEND_AFTER, is_open, send_code, take_code
from dates import today
from models import AHEAD, Account, Audit, Challenge, Member
from views.formats import time_of_day
from views.forms import Form, device, later, new_form, own_insurer
from views.services import now, services

pages = Blueprint("code", __name__)

STOP_POLLING = 286
"""The status at which htmx stops to poll."""
PROOF_LASTS = 15 * 60
"""Seconds from the right password to the code."""


class Step(NamedTuple):
    """The code page of one of the three journeys: its endpoint, its title, and the endpoint and
    text of its link back."""

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
WRONG_CODE = lazy_gettext("数字が違います。いちばん新しいメールの数字を入力してください。")
DEAD_CODE = lazy_gettext(
    "この数字は使えなくなりました。「もう一度送る」を押して、新しい数字を入力してください。"
)


def prove(account: Account) -> None:
    """Record in this browser's session cookie that the account's password was entered, and when.

    The cookie contains the member's public id and Account.mark, and neither the password nor the
    name.
    """
    session["proof"] = [account.member.public_id, account.mark, int(now())]


def proven(lasts: float) -> Account | None:
    """Return the account whose password was entered in this browser within the last `lasts`
    seconds, or None if there is none or if its password has changed since.
    """
    public_id, mark, at = session.get("proof") or ("", "", 0)
    return accounts.proven(public_id, mark) if -AHEAD <= now() - at < lasts else None


def bind(challenge: Challenge) -> None:
    """Bind the code to this browser, and wake the mailer.

    The cookie is permanent, since phones may drop the tab while its owner reads the mail.
    """
    session.permanent = True
    session["challenge"] = challenge.id
    services().mailer.wake()


def bound(purpose: str) -> Challenge | None:
    """Return the challenge that this browser asked for, or None if its step is over."""
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
    """Return the endpoint of the code page that still waits for this browser's code, or None if
    there is none."""
    return next((STEPS[purpose].page for purpose in ("login", "register") if bound(purpose)), None)


def over() -> ResponseReturnValue:
    """Redirect to the login, which says why: this browser has no step to go on with. The step is
    over, or the browser keeps no cookies."""
    return redirect(url_for("login.login", over=1), 303)


def unproven(challenge: Challenge, form: Form) -> ResponseReturnValue | None:
    """Check the code that was sent with this form. Return None if it is right, or else the
    response.

    Wrong codes are counted by member and not by code. Otherwise each login with the right password
    would give new tries.
    """
    keys, one = services().keys, limits.Try(limits.CODE, str(challenge.account_id))
    try:
        limits.take(keys, now(), one)
    except limits.TooMany as refusal:
        until = time_of_day(refusal.until + 59)
        form.contact = own_insurer()
        form.message = gettext(
            "続けて間違えたため、%(time)sごろまで、数字を受け付けません。", time=until
        )
        return later(code_page(challenge, form, 429), refusal.until)
    if take_code(challenge, request.form.get("code", ""), keys, now()):
        limits.forget(keys, one)
        return None
    return wrong_code(challenge, form)


def wrong_code(challenge: Challenge, form: Form) -> ResponseReturnValue:
    """Return the page again. It says whether another try with the same code makes sense."""
    Audit.note(now(), "code.failed", None, challenge.account_id)
    form.errors["code"] = WRONG_CODE if is_open(challenge, now()) else DEAD_CODE
    return code_page(challenge, form, 422)


def code_page(challenge: Challenge, form: Form, status: int = 200) -> ResponseReturnValue:
    """Return the page that asks for the code. If the phone may be trusted, it also asks whether
    nobody else uses the phone."""
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
        on_computer=device() == "パソコン",
        trust_days=current_app.config["TRUST_DAYS"] if may_trust(challenge) else 0,
    )
    return page, status


def may_trust(challenge: Challenge) -> bool:
    """Return whether the code page should offer to trust the phone: it starts a login, and the
    member can show a certificate, either their own or another person's.
    """
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
    """Answer a poll of the code page: with nothing while the mail is on its way, or else with the
    fragment that says whether it was sent."""
    challenge = bound(purpose)
    if challenge is None:
        return "", STOP_POLLING, {"HX-Reswap": "none"}
    state = mailer.state(challenge, now())
    if state == "waiting":  # a sentence that came anew would be read out anew
        return "", 204
    mask = accounts.mask(challenge.email or challenge.account.email or "")
    return render_template("code/_mail_state.html", mail_state=state, mask=mask)


@pages.post("/code/<any(login,register,email):purpose>/resend")
def resend(purpose: str) -> ResponseReturnValue:
    """Send a new code for the same purpose, and void the last one. Refuse within RESEND_AFTER
    seconds of the last one."""
    challenge = bound(purpose)
    if challenge is None:
        return over()
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
        form.contact = own_insurer()
        form.message = gettext(
            "続けて何度も送ったため、%(time)sごろまで、新しいメールを送れません。", time=until
        )
        return later(code_page(challenge, form, 429), error.until)
    bind(again)
    return redirect(url_for(STEPS[purpose].page), 303)
