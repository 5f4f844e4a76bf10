"""The member's own account: new password, new e-mail address, sessions, and trusted phones."""

from __future__ import annotations

from flask import Blueprint, flash, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext, lazy_gettext
from flask_login import current_user

import accounts
from accounts import limits, passwords, sessions
from accounts.codes import send_code
from accounts.passkeys import AT_MOST
from models import Audit, Display, Passkey, Session
from views.code import bind, bound, code_page, prove, unproven, wrong_code
from views.forms import SENT, Form, for_another, form_page, new_form, refused
from views.services import now, services
from views.welcome import EMAIL_FAULT, check_password

pages = Blueprint("account", __name__, url_prefix="/account")

WRONG_PASSWORD = lazy_gettext("今のパスワードが違います。もう一度入力してください。")


@pages.get("")
def settings() -> ResponseReturnValue:
    """Show the member's running sessions, their passkeys, their trusted phones, and the last ten
    times that they opened their own certificate."""
    account, moment = current_user.account, now()
    logins = [
        {
            "device": s.device,
            "created_at": s.created_at,
            "seen_at": s.seen_at,
            "here": s.id == current_user.id,
        }
        for s in sessions.running(account, moment)
    ]
    trusts = [
        {
            "id": t.id,
            "device": t.device,
            "created_at": t.created_at,
            "expires_at": t.expires_at,
            "here": t.id == current_user.trust_id,
        }
        for t in sessions.trusted_phones(account, moment)
    ]
    kept = (
        Passkey.select()
        .where(Passkey.account == account.member_id)
        .order_by(Passkey.created_at.desc())
    )
    own = Display.member == account.member_id, Display.viewer == account.member_id
    shown = Display.select().where(*own).order_by(Display.started_at.desc()).limit(10)
    return render_template(
        "account/settings.html",
        email_mask=accounts.mask(account.email or ""),
        sessions=logins,
        trusts=trusts,
        keys=[{"key": key, "here": key.id == current_user.passkey} for key in kept],
        may_add=len(kept) < AT_MOST,
        displays=[{"at": display.started_at, "by": gettext("ご本人")} for display in shown],
    )


def confirmed(template: str, form: Form) -> ResponseReturnValue | None:
    """Check the present password, which this form asks for again. Return None if it is right, or
    else the response."""
    keys, account = services().keys, current_user.account
    if for_another(account, form):
        return form_page(template, form)
    one = limits.Try(limits.PASSWORD_OF_BROWSER, current_user.id)
    try:
        limits.take(keys, now(), one)
    except limits.TooMany as refusal:
        return refused(template, form, refusal.until)
    if passwords.authenticate(account, request.form.get("password", ""), keys):
        limits.forget(keys, one)
        return None
    form.errors["password"] = WRONG_PASSWORD
    return form_page(template, form)


@pages.route("/password", methods=["GET", "POST"])
def password() -> ResponseReturnValue:
    """Set a new password. This ends every session and every trust, including those of this browser."""
    form = new_form()
    if request.method != "POST":
        return render_template("account/password.html", form=form)
    if wrong := confirmed("account/password.html", form):
        return wrong
    new = request.form.get("new-password", "")
    check_password(current_user.account, new, form)
    if form.errors:
        return form_page("account/password.html", form)
    accounts.set_password(current_user.account, new, now(), "password.changed")
    services().mailer.wake()
    session.clear()
    flash(gettext("パスワードを変更しました。新しいパスワードで、もう一度ログインしてください。"))
    return redirect(url_for("login.login"), 303)


@pages.route("/email", methods=["GET", "POST"])
def email() -> ResponseReturnValue:
    """Ask for a new address and send a code to it. It takes effect once the code is entered.

    The response is the same if the address belongs to another account.
    """
    form = new_form("email")
    if request.method != "POST":
        return render_template("account/email.html", form=form)
    if wrong := confirmed("account/email.html", form):
        return wrong
    new = accounts.clean_email(form.values["email"])
    if new is None:
        form.errors["email"] = EMAIL_FAULT
        return form_page("account/email.html", form)
    decoy = accounts.email_owner(new, current_user.account) is not None
    try:
        challenge = send_code(current_user.account, "email", now(), email=new, decoy=decoy)
    except limits.TooMany as error:
        return refused("account/email.html", form, error.until, SENT)
    prove(current_user.account)
    bind(challenge)
    return redirect(url_for("account.email_code"), 303)


@pages.route("/email/code", methods=["GET", "POST"])
def email_code() -> ResponseReturnValue:
    """Take the code, and store the new address if the code is right."""
    challenge = bound("email")
    if challenge is None or challenge.account_id != current_user.account_id:
        return redirect(url_for("account.email"), 303)
    form = new_form()
    if request.method != "POST":
        return code_page(challenge, form)
    if wrong := unproven(challenge, form):
        return wrong
    if not accounts.finish_email(challenge, now()):
        return wrong_code(challenge, form)
    for name in ("challenge", "proof"):
        session.pop(name, None)
    services().mailer.wake()
    flash(gettext("メールアドレスを変えました。"))
    return redirect(url_for("account.settings"), 303)


@pages.post("/sessions/end")
def end_others() -> ResponseReturnValue:
    """End every session of this account except the present one."""
    mine, here = Session.account == current_user.account_id, Session.id == current_user.id
    sessions.end(now(), mine, ~here)
    Audit.note(now(), "sessions.ended", current_user.account_id)
    flash(gettext("ほかの端末を、すべてログアウトしました。"))
    return redirect(url_for("account.settings"), 303)


@pages.post("/trusts/remove")
def remove_trust() -> ResponseReturnValue:
    """Stop trusting a phone, and end its sessions."""
    sessions.remove_trust(current_user.account, request.form.get("trust", "")[:64], now())
    flash(gettext("その端末では、次からメールの数字も必要になります。"))
    return redirect(url_for("account.settings"), 303)
