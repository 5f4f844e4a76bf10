"""The forgotten password: a link by mail, good once for 30 minutes, that starts no session."""

from __future__ import annotations

from flask import Blueprint, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext

import accounts
import limits
from codes import fold, grouped
from views import SENT, address, form_page, kakunin, new_form, now, refused, say
from views.welcome import PASSWORD_FAULTS

pages = Blueprint("password", __name__, url_prefix="/password")


@pages.route("/forgot", methods=["GET", "POST"])
def forgot() -> ResponseReturnValue:
    """Always the same answer, and the same work: a mail is queued even where it will say nothing to anybody."""
    form = new_form("username", "email")
    if request.method != "POST":
        return render_template("password/forgot.html", form=form)
    keys, login_id = kakunin().keys, form.values["username"]
    counted = [(limits.RESET_MAIL, fold(login_id)[:64]), (limits.RESET_MAIL_OF_ADDRESS, address())]
    try:
        limits.check(keys, now(), *counted)
    except limits.Refused as refusal:
        return refused("password/forgot.html", form, refusal.until, SENT)
    email = accounts.clean_email(form.values["email"])
    if email is None or not login_id.strip():
        form.message = gettext("ログインIDと、登録したメールアドレスの両方を入力してください。")
        return form_page("password/forgot.html", form)
    limits.count(keys, now(), *counted)
    account = accounts.find(login_id)
    if account is not None and account.email and account.password_hash and account.email_key == accounts.email_key(email):
        accounts.queue("reset", account, account.email, now())
    else:
        accounts.queue("nothing", None, "", now())
    accounts.note(now(), "reset.asked", None, account.member_id if account else None)
    kakunin().mailer.ring()
    return render_template("password/sent.html")


@pages.route("/reset/<token>", methods=["GET", "POST"])
def reset(token: str) -> ResponseReturnValue:
    """Nothing changes until the form is sent: mail scanners open links."""
    keys = kakunin().keys
    account = accounts.read_reset_token(token, keys)
    if account is None:
        return render_template("password/expired.html"), 410
    form, login_id = new_form("bday"), grouped(account.login_id)
    if request.method != "POST":
        return render_template("password/reset.html", form=form, login_id=login_id)
    limit = (limits.BIRTH_DATE, str(account.member_id))
    try:
        limits.check(keys, now(), limit)
    except limits.Refused as refusal:
        return refused("password/reset.html", form, refusal.until, login_id=login_id)
    password = request.form.get("new-password", "")
    if accounts.parse_birth(form.values["bday"]) != account.member.birth_date:
        limits.count(keys, now(), limit)
        form.errors["bday"] = gettext("生年月日が、届け出のものと違います。もう一度ご確認ください。")
    if fault := accounts.password_fault(password, account):
        form.errors["new-password"] = PASSWORD_FAULTS[fault]
    if form.errors:
        return form_page("password/reset.html", form, login_id=login_id)
    accounts.set_password(account, password, now(), "password.reset")
    kakunin().mailer.ring()
    say(gettext("新しいパスワードになりました。ログインしてください。"))
    return redirect(url_for("login.login"), 303)
