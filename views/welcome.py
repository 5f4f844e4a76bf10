"""First use, with the letter's temporary password: birth date, own password, own e-mail address,
then the code."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext, lazy_gettext

import accounts
from accounts import limits, passwords
from accounts.codes import send_code
from accounts.keys import grouped
from dates import BadDate, parse_date
from models import Account
from views.code import bind, bound, code_page, prove, proven, unproven, wrong_code
from views.forms import SENT, Form, common_words, form_page, new_form, own_mail_domain, refused
from views.login import begin
from views.services import now, services

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
    """Return the account whose temporary password was right in this browser, while it is still in
    force."""
    account = proven(LASTS)
    return account if account is not None and account.temporary_hash else None


@pages.route("/welcome", methods=["GET", "POST"])
def details() -> ResponseReturnValue:
    """Take one form. What it holds counts only when the code that goes to the address comes back."""
    account = newcomer()
    if account is None:
        return redirect(url_for("login.login", ended=1 if "proof" in session else None), 303)
    form = new_form("bday", "email")
    shown: dict[str, Any] = {
        "mail_domain": own_mail_domain(),
        "login_id": grouped(account.login_id),  # for the phone's password filler
    }
    if request.method != "POST":
        return render_template("welcome/details.html", form=form, **shown)
    try:
        check_birth_date(account, form)
    except limits.TooMany as refusal:
        return refused("welcome/details.html", form, refusal.until, **shown)
    email, password = (
        accounts.clean_email(form.values["email"]),
        request.form.get("new-password", ""),
    )
    if email is None:
        form.errors["email"] = EMAIL_FAULT
    check_password(account, password, form)
    if form.errors or email is None:
        return form_page("welcome/details.html", form, **shown)
    decoy = accounts.email_owner(email, account) is not None
    hashed = passwords.hash_password(password)
    try:
        challenge = send_code(
            account, "register", now(), email=email, password_hash=hashed, decoy=decoy
        )
    except limits.TooMany as error:
        return refused("welcome/details.html", form, error.until, SENT, **shown)
    prove(account)
    bind(challenge)
    return redirect(url_for("welcome.code"), 303)


def check_birth_date(account: Account, form: Form) -> None:
    """Put into `form` what is wrong with the birth date. Raise TooMany after ten wrong ones a day;
    an unreadable one is no try."""
    keys, one = services().keys, limits.Try(limits.BIRTH_DATE, str(account.member_id))
    try:
        born = parse_date(form.values["bday"])
    except BadDate:
        form.errors["bday"] = gettext("生年月日を読み取れません。例のように入力してください。")
        return
    limits.take(keys, now(), one)
    if born == account.member.birth_date:
        limits.give_back(keys, now(), one)
    else:
        form.errors["bday"] = gettext(
            "生年月日が、届け出のものと違います。もう一度ご確認ください。"
        )


def check_password(account: Account, password: str, form: Form) -> None:
    """Put into `form` why this cannot be the own password. It takes milliseconds, so it comes after
    the other fields."""
    if fault := passwords.password_fault(password, account, common_words()):
        form.errors["new-password"] = PASSWORD_FAULTS[fault]


@pages.route("/welcome/code", methods=["GET", "POST"])
def code() -> ResponseReturnValue:
    """Take the digits that finish the registration, and start a session."""
    challenge = bound("register")
    if challenge is None:
        return redirect(url_for("welcome.details" if newcomer() else "login.login"), 303)
    form = new_form("trust")
    if request.method != "POST":
        return code_page(challenge, form)
    if wrong := unproven(challenge, form):
        return wrong
    if not accounts.finish_registration(challenge, now()):
        return wrong_code(challenge, form)
    registered = accounts.find(challenge.account.login_id)
    assert registered is not None
    return begin(registered, trust_phone=form.values["trust"] == "yes")
