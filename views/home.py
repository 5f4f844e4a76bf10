"""Home: one's own certificate or the sentence that says why there is none, the household, and the
pages that help."""

from __future__ import annotations

from typing import Any

from flask import (
    Blueprint,
    Response,
    abort,
    current_app,
    redirect,
    render_template,
    request,
    url_for,
)
from flask.typing import ResponseReturnValue
from flask_login import current_user

from database import database
from dates import today
from front.clock import date_and_time
from models import Audit, Member
from settings import insurer_of
from views.certificate import qr
from views.passkeys import offered
from views.services import now

pages = Blueprint("home", __name__)


@pages.get("/")
def home() -> ResponseReturnValue:
    """Show at one glance whose certificate it is, its state, and the one thing to do; after a code
    also offer a passkey."""
    me, day, guardian_age = (
        current_user.account.member,
        today(now()),
        current_app.config["GUARDIAN_AGE"],
    )
    people = [_person(me, other) for other in me.family_on(day, guardian_age)]
    own = _person(me, me)
    return render_template(
        "home/home.html",
        me=own,
        people=people,
        has_children=any(not person["adult"] for person in people),
        offer=any(person["url"] for person in [own, *people]) and offered(),
    )


def _person(me: Member, other: Member) -> dict[str, Any]:
    day, guardian_age = today(now()), current_app.config["GUARDIAN_AGE"]
    state, child = other.state_on(day), other.is_child_on(day, guardian_age)
    shown = me.can_show(other, day, guardian_age)
    return {
        "name": other.name,
        "state": state,
        "url": url_for("certificate.show", public_id=other.public_id) if shown else None,
        "adult": not child,
        "allowed": other.shows_children and other.allowed_by == me.id,
        "allow_url": url_for("home.allow", public_id=other.public_id),
        "member": other,
        "insurer": insurer_of(current_app.config, other),
    }


@pages.post("/household/<public_id>/allow")
def allow(public_id: str) -> ResponseReturnValue:
    """Let an adult dependent show the children's certificates too, or no longer, as the subscriber
    wishes."""
    me, day, guardian_age = (
        current_user.account.member,
        today(now()),
        current_app.config["GUARDIAN_AGE"],
    )
    adults = [m for m in me.family_on(day, guardian_age) if not m.is_child_on(day, guardian_age)]
    other = next((m for m in adults if m.public_id == public_id), None)
    if other is None:
        abort(404)
    allowed = request.form.get("allow") == "yes"
    Member.update(shows_children=allowed, allowed_by=me.id if allowed else None).where(
        Member.id == other.id
    ).execute()
    Audit.note(now(), "guardian.allowed" if allowed else "guardian.refused", me.id, other.id)
    return redirect(url_for("home.home"), 303)


@pages.get("/help")
def help() -> ResponseReturnValue:
    return render_template("home/help.html")


@pages.get("/staff")
def staff() -> ResponseReturnValue:
    """Show the desk how to tell a live certificate from a picture, by a sample that moves for ten
    minutes. It prints as one sheet."""
    moment, address = int(now()), url_for("home.staff", _external=True)
    return render_template(
        "home/staff.html",
        date=date_and_time(moment)[0],
        times="\n".join(date_and_time(moment + later)[1] for later in range(600)),
        address=address.partition("//")[2],
        qr_svg=qr(address),
    )


@pages.get("/healthz")
def healthz() -> ResponseReturnValue:
    """Answer 200 while the database answers, 503 otherwise."""
    database.execute_sql("SELECT 1")
    return Response("ok\n", mimetype="text/plain")
