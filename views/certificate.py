"""The live certificate, and what its clock is told when the tick in front of Flask was refused."""

from __future__ import annotations

import secrets

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
from settings import insurer_of
from views.services import now, services

pages = Blueprint("certificate", __name__, url_prefix="/certificates")


@pages.get("/mine")
def mine() -> ResponseReturnValue:
    """Lead an icon on the home screen to home if others can be shown there, else to one's own
    certificate."""
    me = current_user.account.member
    if me.shows_others_on(today(now()), current_app.config["GUARDIAN_AGE"]):
        return redirect(url_for("home.home"))
    return redirect(url_for("certificate.show", public_id=me.public_id))


@pages.get("/<public_id>")
def show(public_id: str) -> ResponseReturnValue:
    """Show the page whose clock ticks, and record that it was opened. Answer 404 to whatever this
    login may not show."""
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
            qr_svg=qr(url_for("login.login", _external=True)),
        )
    )
    raw = cookie(request.environ, clock.session_cookie)
    response.headers.add("Set-Cookie", clock.grant(raw, path, moment))
    return response


def qr(address: str) -> Markup:
    """Return a QR code of the address, as SVG."""
    return Markup(segno.make(address).svg_inline(scale=4, svgclass=None, lineclass=None))  # noqa: S704 - segno's own SVG


@pages.get("/<public_id>/clock/<display_id>")
def clock(public_id: str, display_id: str) -> ResponseReturnValue:
    """Answer a tick that was refused in front: check everything again, then say the same sentence
    for every cause, without a trigger."""
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
