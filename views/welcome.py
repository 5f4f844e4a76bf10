"""First use with the temporary password from the letter. One form asks for birth date, new password
and e-mail address. A code that is sent to the address finishes the registration.
"""

from __future__ import annotations

from typing import Any

from flask import Blueprint, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext, lazy_gettext

import accounts
from accounts import limits, passwords
from accounts.codes import send_code
from dates import BadDate, parse_date
from models import Account
from views.code import bind, bound, code_page, over, prove, proven, unproven, wrong_code
from views.forms import (
    SENT,
    Form,
    common_words,
    for_another,
    form_page,
    new_form,
    own_mail_domain,
    refused,
)
from views.login import begin
from views.services import now, services

pages = Blueprint("welcome", __name__)

LASTS = 60 * 60
"""Seconds from the temporary password to the sent form."""
PASSWORD_FAULTS = {
    "short": lazy_gettext("パスワードは、10文字以上にしてください。"),
    "long": lazy_gettext(
        "パスワードは、128文字以内で入力してください。改行などの文字は使えません。"
    ),
    "weak": lazy_gettext(
        "このパスワードは、ほかの人に推測されやすいため使えません。お名前・生年月日・IDや、よくある言葉は避けてください。"
    ),
}
EMAIL_FAULT = lazy_gettext(
    "メールアドレスが正しくありません。「@」や「.」が抜けていないかご確認ください。"
)


def newcomer() -> Account | None:
    """Return the account whose temporary password was entered in this browser, or None if that
    password is no longer valid."""
    account = proven(LASTS)
    return account if account is not None and account.temporary_hash else None


@pages.route("/welcome", methods=["GET", "POST"])
def details() -> ResponseReturnValue:
    """Show or take the form of first use, and send a code. Its values take effect once the code is
    entered."""
    account = newcomer()
    if account is None:
        return over()
    form = new_form("bday", "email")
    shown: dict[str, Any] = {
        "mail_domain": own_mail_domain(),
        "login_id": account.login_id,
    }
    if request.method != "POST":
        if sent := bound("register"):  # to correct the address, nothing else is typed again
            form.values = {
                "bday": f"{account.member.birth_date:%Y%m%d}",
                "email": sent.email or "",
            }
        return render_template("welcome/details.html", form=form, **shown)
    if for_another(account, form):
        return form_page("welcome/details.html", form, **shown)
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
    """Check the birth date, and add an error to `form` if it is wrong or unreadable.

    Raise TooMany after ten wrong ones a day. An unreadable date does not count.
    """
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
    """Check the new password, and add an error to `form` if it is refused. This takes milliseconds,
    so call it last."""
    if fault := passwords.password_fault(password, account, common_words()):
        form.errors["new-password"] = PASSWORD_FAULTS[fault]


@pages.route("/welcome/code", methods=["GET", "POST"])
def code() -> ResponseReturnValue:
    """Take the code. If it is right, finish the registration and start a session."""
    challenge = bound("register")
    if challenge is None:
        return redirect(url_for("welcome.details"), 303) if newcomer() else over()
    form = new_form("trust")
    if request.method != "POST":
        return code_page(challenge, form)
    if wrong := unproven(challenge, form):
        return wrong
    if not accounts.finish_registration(challenge, now()):
        return wrong_code(challenge, form)
    services().mailer.wake()
    registered = accounts.find(challenge.account.login_id)
    assert registered is not None
    answer = begin(registered, trust_phone=form.values["trust"] == "yes")
    session["registered"] = int(now())
    return answer
