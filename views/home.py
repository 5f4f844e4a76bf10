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
    session,
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
from views.forms import device, own_mail_domain
from views.services import now

pages = Blueprint("home", __name__)


@pages.get("/")
def home() -> ResponseReturnValue:
    """Show at one glance whose certificate it is, its state, and the one thing to do.

    Once after first use it says so, and how the page gets an icon.
    """
    me, people = _household()
    adults = _who_may_be_allowed(me, people)
    return render_template(
        "home/home.html",
        me=me,
        people=people,
        may_allow=bool(adults),
        offer_allowing=bool(adults) and not any(adult["answered"] for adult in adults),
        age=current_app.config["GUARDIAN_AGE"],
        registered=session.pop("registered", False),
        qr_svg=qr(url_for("login.login", _external=True)),
        **home_screen(),
    )


def _household() -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the person who is logged in, and the others whom they see."""
    me, day = current_user.account.member, today(now())
    others = me.family_on(day, current_app.config["GUARDIAN_AGE"])
    return _person(me, me), [_person(me, other) for other in others]


def _who_may_be_allowed(me: dict[str, Any], people: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the adults whom this person may let show the children's certificates: a subscriber's
    adult dependents, if there are children."""
    adults = [person for person in people if person["adult"]]
    return adults if len(adults) < len(people) else []


def home_screen() -> dict[str, Any]:
    """Return for which phones a page explains the home screen: this one's kind, or both."""
    kind = device()
    return {"phones": [kind] if kind in ("iPhone", "Android") else ["iPhone", "Android"]}


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
        "answered": other.allowed_by == me.id,
        "allow_url": url_for("home.allow", public_id=other.public_id),
        "member": other,
        "insurer": insurer_of(current_app.config, other),
    }


@pages.get("/household")
def household() -> ResponseReturnValue:
    """Show which adult dependents may show the children's certificates too, and let the subscriber
    change it."""
    me, people = _household()
    adults = _who_may_be_allowed(me, people)
    if not adults:
        return redirect(url_for("home.home"), 303)
    return render_template(
        "home/household.html", adults=adults, age=current_app.config["GUARDIAN_AGE"]
    )


@pages.post("/household/<public_id>/allow")
def allow(public_id: str) -> ResponseReturnValue:
    """Let an adult dependent show the children's certificates too, or no longer, as the subscriber
    wishes."""
    other = next((m for m in _adult_dependents() if m.public_id == public_id), None)
    if other is None:
        abort(404)
    me, allowed = current_user.account.member, request.form.get("allow") == "yes"
    _answer(me, [other], allowed=allowed)
    Audit.note(now(), "guardian.allowed" if allowed else "guardian.refused", me.id, other.id)
    return redirect(url_for("home.household"), 303)


@pages.post("/household/later")
def later() -> ResponseReturnValue:
    """Offer it on home no more. The line that leads to the page stays."""
    unanswered = [m for m in _adult_dependents() if not m.shows_children]
    _answer(current_user.account.member, unanswered, allowed=False)
    return redirect(url_for("home.home"), 303)


def _adult_dependents() -> list[Member]:
    me, day, guardian_age = (
        current_user.account.member,
        today(now()),
        current_app.config["GUARDIAN_AGE"],
    )
    family = me.family_on(day, guardian_age)
    return [m for m in family if not m.is_child_on(day, guardian_age)]


def _answer(me: Member, others: list[Member], *, allowed: bool) -> None:
    Member.update(shows_children=allowed, allowed_by=me.id).where(
        Member.id.in_([other.id for other in others])
    ).execute()


@pages.get("/help")
def help() -> ResponseReturnValue:
    """Help by symptom, for everybody alike: it says nothing of whoever reads it."""
    return render_template("home/help.html", mail_domain=own_mail_domain(), **home_screen())


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
