"""Reset a forgotten password by a link in a mail. The link can be used once, within 30 minutes, and
does not log in."""

from __future__ import annotations

from flask import Blueprint, flash, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext

import accounts
from accounts import limits
from accounts.keys import fold_typed
from models import Stale
from views.forms import SENT, address, form_page, new_form, refused
from views.login import end_session
from views.services import now, services
from views.welcome import check_birth_date, check_password

pages = Blueprint("password", __name__, url_prefix="/password")


@pages.route("/forgot", methods=["GET", "POST"])
def forgot() -> ResponseReturnValue:
    """Ask for a login ID and an address, and send a reset mail if they belong together. If not, the
    response and the work are the same.
    """
    form = new_form("username", "email")
    if request.method != "POST":
        return render_template("password/forgot.html", form=form)
    keys, login_id = services().keys, fold_typed(form.values["username"])[:64]
    email = accounts.clean_email(form.values["email"])
    if email is None or not login_id:
        form.message = gettext("ログインIDと、登録したメールアドレスの両方を入力してください。")
        return form_page("password/forgot.html", form)
    # a wrong address uses up no mail of the right one
    pair = f"{login_id}\n{accounts.email_key(email)}"
    tries = (
        limits.Try(limits.RESET_MAIL, pair),
        limits.Try(limits.RESET_MAIL_OF_ADDRESS, address(), about=pair),
    )
    try:
        limits.take(keys, now(), *tries)
    except limits.TooMany as refusal:
        return refused("password/forgot.html", form, refusal.until, SENT)
    accounts.ask_reset(login_id, email, now())
    services().mailer.wake()
    return render_template("password/sent.html")


@pages.route("/reset/<token>", methods=["GET", "POST"])
def reset(token: str) -> ResponseReturnValue:
    """Show the form for a new password, or set the password. Opening the link changes nothing,
    since mail scanners do that."""
    keys = services().keys
    account = accounts.read_reset_token(token, keys)
    if account is None:
        return render_template("password/expired.html"), 410
    form, login_id = new_form("bday"), account.login_id
    if request.method != "POST":
        return render_template("password/reset.html", form=form, login_id=login_id)
    try:
        check_birth_date(account, form)
    except limits.TooMany as refusal:
        return refused("password/reset.html", form, refusal.until, login_id=login_id)
    password = request.form.get("new-password", "")
    check_password(account, password, form)
    if form.errors:
        return form_page("password/reset.html", form, login_id=login_id)
    try:
        accounts.set_password(account, password, now(), "password.reset")
    except Stale:  # the link was used by another form at the same moment
        return render_template("password/expired.html"), 410
    services().mailer.wake()
    end_session()  # that of somebody else, if the link was opened on a phone that a family shares
    session.clear()
    flash(gettext("パスワードを変更しました。ログインしてください。"))
    return redirect(url_for("login.login"), 303)
