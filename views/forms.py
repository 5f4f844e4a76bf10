"""Forms as templates take them, how they come back with what is wrong, and who sent them."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from flask import abort, current_app, make_response, render_template, request
from flask.typing import ResponseReturnValue
from flask_babel import lazy_gettext as _
from flask_login import current_user

from accounts import passkeys
from settings import insurer_of
from views.formats import time_of_day
from views.services import now

TRIED = _(
    "続けて間違えたため、しばらく入れません。%(time)sごろから、もう一度お試しください。お急ぎの方は%(insurer)sへお電話ください。"
)
SENT = _(
    "続けて何度もメールを送ったため、しばらく送れません。%(time)sごろから、もう一度お試しください。お急ぎの方は%(insurer)sへお電話ください。"
)


@dataclass
class Form:
    """What was typed (never a password), what is wrong with each field, and a sentence about the
    whole."""

    values: dict[str, str]
    errors: dict[str, str] = field(default_factory=dict)
    message: str | None = None


def new_form(*names: str) -> Form:
    """Return what was typed into these fields, without NULs: nobody types them, and PostgreSQL
    stores none."""
    return Form({name: request.form.get(name, "").replace("\0", "") for name in names})


def form_page(template: str, form: Form, status: int = 422, **context: Any) -> ResponseReturnValue:
    """Return the form again, with what is wrong with it."""
    return render_template(template, form=form, **context), status


def refused(
    template: str, form: Form, until: float, why: str = TRIED, **context: Any
) -> ResponseReturnValue:
    """Return the same form with 429, a sentence that names the time, and Retry-After in seconds."""
    form.message = why % {"time": time_of_day(until + 59), "insurer": own_insurer()["name"]}
    return later(form_page(template, form, 429, **context), until)


def later(page: ResponseReturnValue, until: float) -> ResponseReturnValue:
    """Return the page with Retry-After, in seconds."""
    response = make_response(page)
    response.headers["Retry-After"] = str(max(1, int(until - now()) + 1))
    return response


def check_origin() -> None:
    """Abort with 403 unless a POST comes from our own page.

    Browsers say so by Sec-Fetch-Site, older ones by Origin. Whoever sends neither is refused.
    """
    site = request.headers.get("Sec-Fetch-Site")
    origin = request.headers.get("Origin")
    own = request.host_url.rstrip("/"), current_app.config["BASE_URL"].rstrip("/")
    if site is not None and site != "same-origin":
        abort(403)
    if (site is None or origin is not None) and origin not in own:
        abort(403)


def is_own_path(target: str) -> bool:
    """Return whether `next` leads to a page of ours."""
    parts = urlsplit(target)
    plain = (
        target.startswith("/")
        and not target.startswith(("//", "/\\"))
        and target.isprintable()
        and "\\" not in target
    )
    return plain and not parts.scheme and not parts.netloc


def address() -> str:
    """Return the client's address as limits count it: an IPv6 network of 64 bits, which one home
    has, counts as one."""
    client = request.remote_addr or ""
    try:
        found = ipaddress.ip_address(client.partition("%")[0])
    except ValueError:
        return client[:64]
    if isinstance(found, ipaddress.IPv6Address):
        found = found.ipv4_mapped or ipaddress.ip_network((found, 64), strict=False).network_address
    return str(found)


def device() -> str:
    """Return what a member is told of a browser, in Japanese; it is translated where it is shown."""
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
    """Return the flags of every cookie of ours but the lease's, which is set in front of Flask."""
    return {
        "secure": current_app.config["SESSION_COOKIE_SECURE"],
        "httponly": True,
        "samesite": "Lax",
    }


def passkey_site() -> passkeys.Site | None:
    """Return what passkeys are bound to, or None if there are none: they are forbidden, or the site
    is reached by an IP address.

    It is the address that members type; in a demo, which has several, the one that was typed.
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


def own_insurer() -> dict[str, str]:
    """Return the insurer of whoever is logged in, or the deployment's first."""
    member = current_user.account.member if current_user.is_authenticated else None
    return insurer_of(current_app.config, member)


def own_mail_domain() -> str:
    return str(current_app.config["MAIL_FROM"]).rpartition("@")[2]


def common_words() -> list[str]:
    """Return the words that everybody here knows and no password may be made of: the insurers'
    names and the site's own."""
    hosts = f"{urlsplit(current_app.config['BASE_URL']).hostname or ''}.{own_mail_domain()}"
    return [
        *(insurer["name"] for insurer in current_app.config["INSURERS"].values()),
        *hosts.split("."),
    ]
