"""The page of the live certificate, and the answer to its clock after the tick in front of Flask
was refused."""

from __future__ import annotations

import secrets
from urllib.parse import urljoin

import segno
from flask import (
    Blueprint,
    abort,
    current_app,
    make_response,
    redirect,
    render_template,
    request,
    url_for,
)
from flask.typing import ResponseReturnValue
from flask_login import current_user
from markupsafe import Markup

from dates import today
from front.clock import cookie
from models import DEPENDENT, DISPLAY_LIFE, Display, Member, RosterImport
from settings import insurer_of, is_loopback
from views.services import now, services

pages = Blueprint("certificate", __name__, url_prefix="/certificates")


@pages.get("/mine")
def mine() -> ResponseReturnValue:
    """Redirect the icon on the phone's home screen: to home if the member can show other people's
    certificates too, or else to their own certificate.
    """
    me = current_user.account.member
    if me.shows_others_on(today(now()), current_app.config["GUARDIAN_AGE"]):
        return redirect(url_for("home.home"))
    return redirect(url_for("certificate.show", public_id=me.public_id))


@pages.get("/<public_id>")
def show(public_id: str) -> ResponseReturnValue:
    """Show the live certificate, and record that it was opened. Answer 404 if this login may not
    show it."""
    me, moment, day = current_user.account.member, now(), today(now())
    member = Member.get_or_none(Member.public_id == public_id)
    if member is None or not me.may_show(member, day, current_app.config["GUARDIAN_AGE"]):
        abort(404)
    if member.state_on(day) != "valid":
        return redirect(url_for("home.home"), 303)
    display = Display.create(
        id=secrets.token_urlsafe(16),
        session=current_user.id,
        viewer=me,
        member=member,
        started_at=int(moment),
    )
    clock = services().clock
    path = url_for("certificate.clock", public_id=public_id, display_id=display.id)
    imported = RosterImport.select(RosterImport.at).order_by(RosterImport.id.desc()).first()
    response = make_response(
        render_template(
            "certificate/certificate.html",
            member=member,
            subscriber=member.subscriber_on(day) if member.relation == DEPENDENT else None,
            insurer=insurer_of(current_app.config, member),
            imported_on=today(imported.at) if imported else None,
            clock_url=path,
            clock=Markup(clock.fragment(moment).decode()),  # noqa: S704 - made of the time
            staff_address=url_for("home.staff", _external=True).partition("//")[2],
            qr_svg=qr(url_for("login.login")),
        )
    )
    raw = cookie(request.environ, clock.session_cookie)
    response.headers.add("Set-Cookie", clock.grant(raw, path, moment))
    return response


def qr(path: str) -> Markup | None:
    """Return a QR code of the page's address, as SVG, or None if no phone can open it, as in a demo
    on one's own machine."""
    address = urljoin(current_app.config["BASE_URL"], path)
    if is_loopback(address):
        return None
    return Markup(segno.make(address).svg_inline(scale=4, svgclass=None, lineclass=None))  # noqa: S704 - segno's own SVG


@pages.get("/<public_id>/clock/<display_id>")
def clock(public_id: str, display_id: str) -> ResponseReturnValue:
    """Answer a tick that the layer in front of Flask refused.

    Check everything again. If the display has ended, return a fragment that does not poll. Its
    sentence is the same for every cause, and it links to the certificate if only the 15 minutes are
    over.
    """
    front, moment, path = services().clock, now(), request.path
    raw = cookie(request.environ, front.session_cookie)
    if front.live(public_id, display_id, raw, moment):
        response = make_response(front.fragment(moment))
        response.headers.add("Set-Cookie", front.grant(raw, path, moment))
        return response
    again = None
    mine = Display.id == display_id, Display.session == getattr(current_user, "id", "")
    display = Display.select(Display, Member).join(Member, on=Display.member).where(*mine).first()
    if display is not None and moment >= display.started_at + DISPLAY_LIFE:
        me, day = current_user.account.member, today(moment)
        if me.can_show(display.member, day, current_app.config["GUARDIAN_AGE"]):
            again = url_for("certificate.show", public_id=public_id)
    response = make_response(render_template("certificate/_ended.html", again_url=again))
    response.headers.add("Set-Cookie", front.clear(path))
    return response
