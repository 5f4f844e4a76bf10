"""Home: one's own certificate or the sentence that says why there is none, the household, and the pages that help."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, abort, current_app, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user

from dates import today
from models import SUBSCRIBER, Audit, Member, database
from settings import insurer_of
from views.passkeys import offered
from views.services import now

pages = Blueprint("home", __name__)


@pages.get("/")
def home() -> ResponseReturnValue:
    """Show one's own certificate as the one thing to do, the household, and after a code the offer of a passkey."""
    me, day, guardian_age = current_user.account.member, today(now()), current_app.config["GUARDIAN_AGE"]
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
    shown = state == "valid" and me.may_show(other, day, guardian_age)
    return {
        "name": other.name,
        "state": state,
        "url": url_for("certificate.show", public_id=other.public_id) if shown else None,
        "adult": not child,
        "allowed": other.shows_children,
        "allow_url": url_for("home.allow", public_id=other.public_id),
        "member": other,
        "insurer": insurer_of(current_app.config, other),
    }


@pages.post("/household/<public_id>/allow")
def allow(public_id: str) -> ResponseReturnValue:
    """The subscriber lets an adult dependent show the children's certificates too, or no longer."""
    me, day, guardian_age = current_user.account.member, today(now()), current_app.config["GUARDIAN_AGE"]
    family = me.family_on(day, guardian_age) if me.relation == SUBSCRIBER else []
    other = next((m for m in family if m.public_id == public_id and not m.is_child_on(day, guardian_age)), None)
    if other is None:
        abort(404)
    allowed = request.form.get("allow") == "yes"
    Member.update(shows_children=allowed).where(Member.id == other.id).execute()
    Audit.note(now(), "guardian.allowed" if allowed else "guardian.refused", me.id, other.id)
    return redirect(url_for("home.home"), 303)


@pages.get("/help")
def help() -> ResponseReturnValue:
    return render_template("home/help.html")


@pages.get("/staff")
def staff() -> ResponseReturnValue:
    """For the desk: how to tell a live certificate from a picture."""
    return render_template("home/staff.html")


@pages.get("/healthz")
def healthz() -> ResponseReturnValue:
    """200 while the database answers; 503 otherwise."""
    database.execute_sql("SELECT 1")
    return Response("ok\n", mimetype="text/plain")
