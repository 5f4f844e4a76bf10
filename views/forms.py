"""Forms for templates, the pages that show their errors, and checks of the request that sent them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from flask import abort, current_app, make_response, render_template, request
from flask.typing import ResponseReturnValue
from flask_babel import lazy_gettext as _
from flask_login import current_user

from accounts import passkeys
from accounts.keys import fold_typed
from front.admission import network
from models import Account
from settings import insurer_of
from views.formats import time_of_day
from views.services import now

TRIED = _(
    "続けて間違えたため、しばらく受け付けられません。%(time)sごろから、もう一度お試しください。お急ぎの方は%(insurer)sへお電話ください。"
)
SENT = _(
    "メールの送信が続いたため、しばらく送れません。%(time)sごろから、もう一度お試しください。お急ぎの方は%(insurer)sへお電話ください。"
)

FOR_ANOTHER = _(
    "この画面は、別のログインIDのために開かれたものでした。下のログインIDをご確認のうえ、もう一度入力してください。"
)
RETYPE = _("安全のため、パスワードはもう一度入力してください。")


@dataclass
class Form:
    """The values of a form (never a password), an error message for each field, a message about the
    whole form, and the insurer to call if that message says to call."""

    values: dict[str, str]
    errors: dict[str, str] = field(default_factory=dict)
    message: str | None = None
    contact: dict[str, Any] | None = None


def new_form(*names: str) -> Form:
    """Return a form with the values that were sent for these fields. Drop NULs, which PostgreSQL
    cannot store."""
    return Form({name: request.form.get(name, "").replace("\0", "") for name in names})


def for_another(account: Account, form: Form) -> bool:
    """Return whether the form that was sent names another login ID than the account's. If so, empty
    its values and say so.

    Two members of a family may use two tabs of one browser, whose cookies belong to the one who
    came last.
    """
    named = fold_typed(request.form.get("username", ""))
    if named in ("", account.login_id):
        return False
    form.values = dict.fromkeys(form.values, "")
    form.message = str(FOR_ANOTHER)
    return True


def form_page(template: str, form: Form, status: int = 422, **context: Any) -> ResponseReturnValue:
    """Return the form's page again with its errors, by default with status 422.

    Password fields come back empty. If another field is wrong, they say so.
    """
    for name in ("password", "new-password") if form.errors else ():
        if request.form.get(name):
            form.errors.setdefault(name, RETYPE)
    # browsers send the fields in the order of the page
    in_order = {name: form.errors[name] for name in request.form if name in form.errors}
    form.errors = in_order | form.errors
    return render_template(template, form=form, **context), status


def refused(
    template: str, form: Form, until: float, why: str = TRIED, **context: Any
) -> ResponseReturnValue:
    """Return the form's page again with status 429, Retry-After, the insurer to call, and a message
    with the time from which it may be sent again."""
    form.contact = own_insurer()
    form.message = why % {"time": time_of_day(until + 59), "insurer": form.contact["name"]}
    return later(form_page(template, form, 429, **context), until)


def later(page: ResponseReturnValue, until: float) -> ResponseReturnValue:
    """Return the page with a Retry-After header, in seconds."""
    response = make_response(page)
    response.headers["Retry-After"] = str(max(1, int(until - now()) + 1))
    return response


def check_origin() -> None:
    """Abort with 403 if a POST does not come from one of our own pages.

    Browsers tell this by Sec-Fetch-Site, and older ones by Origin. A request with neither header is
    refused.
    """
    site = request.headers.get("Sec-Fetch-Site")
    origin = request.headers.get("Origin")
    own = request.host_url.rstrip("/"), current_app.config["BASE_URL"].rstrip("/")
    if site is not None and site != "same-origin":
        abort(403)
    if (site is None or origin is not None) and origin not in own:
        abort(403)


def has_page() -> bool:
    """Return whether a GET of the request's path shows a page."""
    return request.url_rule is not None and "GET" in (request.url_rule.methods or ())


def is_own_path(target: str) -> bool:
    """Return whether `target` is a path on this site, to which it is safe to redirect."""
    parts = urlsplit(target)
    plain = (
        target.startswith("/")
        and not target.startswith(("//", "/\\"))
        and target.isprintable()
        and "\\" not in target
    )
    return plain and not parts.scheme and not parts.netloc


def address() -> str:
    """Return the client's address for limits. All addresses of a 64-bit IPv6 network count as one,
    since one home has them."""
    return network(request.remote_addr or "")


def device() -> str:
    """Return the name of the browser's device, in Japanese. It is translated when a page shows it."""
    agent = request.headers.get("User-Agent", "")
    kinds = (
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("Android", "Android"),
        ("Windows", "パソコン"),
        ("Mac", "パソコン"),
    )
    return next((name for mark, name in kinds if mark in agent), "その他の端末")


def cookie_name(name: str) -> str:
    return f"__Host-{name}" if current_app.config["SESSION_COOKIE_SECURE"] else name


def cookie_options() -> dict[str, Any]:
    """Return the flags of our cookies, except the lease, which is set in front of Flask."""
    return {
        "secure": current_app.config["SESSION_COOKIE_SECURE"],
        "httponly": True,
        "samesite": "Lax",
    }


def passkey_site() -> passkeys.Site | None:
    """Return the site that passkeys are bound to, or None if there can be none: they are forbidden,
    or the site is reached by an IP address.

    It is the address that members type. In a demo, which has several, it is the one in use.
    """
    typed = (
        request.host_url
        if current_app.config["INSECURE_COOKIES"]
        else current_app.config["BASE_URL"]
    )
    chosen, address = current_app.config["PASSKEYS"], urlsplit(typed.lower())
    host = address.hostname or ""
    if chosen == "0" or ":" in host or re.fullmatch(r"[\d.]*", host):
        return None
    port = (
        f":{address.port}"
        if address.port not in (None, 80 if address.scheme == "http" else 443)
        else ""
    )
    return passkeys.Site(host if chosen == "1" else chosen, f"{address.scheme}://{host}{port}")


def has_passkey() -> bool:
    """Return whether a passkey was made or used on this browser."""
    return cookie_name("passkey") in request.cookies


def own_insurer() -> dict[str, Any]:
    """Return the insurer of the member who is logged in, or the first configured one."""
    member = current_user.account.member if current_user.is_authenticated else None
    return insurer_of(current_app.config, member)


def own_mail_domain() -> str:
    return str(current_app.config["MAIL_FROM"]).rpartition("@")[2]


def common_words() -> list[str]:
    """Return the words that all members know, for password_fault: the insurers' names, and the
    parts of the site's and the mail's host names.
    """
    hosts = f"{urlsplit(current_app.config['BASE_URL']).hostname or ''}.{own_mail_domain()}"
    return [
        *(insurer["name"] for insurer in current_app.config["INSURERS"].values()),
        *hosts.split("."),
    ]
