"""First use, with the letter's temporary password: birth date, own password, own e-mail address, then the code."""

from __future__ import annotations

from flask import Blueprint, current_app, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext, lazy_gettext

import accounts
import limits
from codes import TooManyCodes, grouped, send_code
from models import Account, Member
from views import SENT, form_page, kakunin, new_form, now, refused
from views.login import begin, code_page, held, hold, unproven, wrong_code

pages = Blueprint("welcome", __name__)

LASTS = 60 * 60
"""Seconds from the temporary password to the sent form."""
PASSWORD_FAULTS = {
    "short": lazy_gettext("パスワードは、10文字以上にしてください。"),
    "long": lazy_gettext("パスワードは、128文字以内の文字だけで入力してください。"),
    "weak": lazy_gettext(
        "このパスワードは、ほかの人に見破られやすいため使えません。お名前・生年月日・IDや、よくある言葉は避けてください。"
    ),
}
EMAIL_FAULT = lazy_gettext("メールアドレスの形が正しくありません。もう一度ご確認ください。")


def newcomer() -> Account | None:
    """Who came with a temporary password, while it is still theirs."""
    member, mark, since = session.get("welcome") or (0, "", 0)
    account = Account.select(Account, Member).join(Member).where(Account.member == member).first()
    if account is None or not account.temporary_hash or now() > since + LASTS:
        return None
    return account if account.temporary_hash.startswith(mark) else None


@pages.route("/welcome", methods=["GET", "POST"])
def details() -> ResponseReturnValue:
    """One form. What is sent counts only when the code that goes to the address comes back."""
    account = newcomer()
    if account is None:
        return redirect(url_for("login.login", ended=1 if "welcome" in session else None), 303)
    form = new_form("bday", "email")
    shown = {
        "mail_domain": current_app.config["MAIL_FROM"].rpartition("@")[2],
        "login_id": grouped(account.login_id),  # for the phone's password filler
    }
    if request.method != "POST":
        return render_template("welcome/details.html", form=form, **shown)
    keys, password = kakunin().keys, request.form.get("new-password", "")
    limit = (limits.BIRTH_DATE, str(account.member_id))
    try:
        limits.check(keys, now(), limit)
    except limits.Refused as refusal:
        return refused("welcome/details.html", form, refusal.until, **shown)
    email = accounts.clean_email(form.values["email"])
    if accounts.parse_birth(form.values["bday"]) != account.member.birth_date:
        limits.count(keys, now(), limit)
        form.errors["bday"] = gettext("生年月日が、届け出のものと違います。もう一度ご確認ください。")
    if fault := accounts.password_fault(password, account):
        form.errors["new-password"] = PASSWORD_FAULTS[fault]
    if email is None:
        form.errors["email"] = EMAIL_FAULT
    if form.errors or email is None:
        return form_page("welcome/details.html", form, **shown)
    decoy = accounts.email_owner(email, account) is not None
    hashed = accounts.hash_password(password)
    try:
        hold(send_code(account, "register", now(), email=email, password_hash=hashed, decoy=decoy))
    except TooManyCodes as error:
        return refused("welcome/details.html", form, error.until, SENT, **shown)
    return redirect(url_for("welcome.code"), 303)


@pages.route("/welcome/code", methods=["GET", "POST"])
def code() -> ResponseReturnValue:
    """The digits finish the registration and start a session."""
    challenge = held("register")
    if challenge is None or newcomer() is None:
        return redirect(url_for("login.login"), 303)
    form = new_form()
    if request.method != "POST":
        return code_page(challenge, "welcome/code.html", form)
    if wrong := unproven(challenge, "welcome/code.html", form):
        return wrong
    if not accounts.finish_registration(challenge, now()):
        return wrong_code(challenge, "welcome/code.html", form)
    return begin(challenge.account)
