"""The home page with the member's own certificate and those of the household, and the help pages."""

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

from database import answers
from dates import today
from front.clock import date_and_time
from models import Audit, Display, Member
from settings import insurer_of
from views.certificate import qr
from views.forms import device, own_mail_domain
from views.passkeys import offered
from views.services import now

pages = Blueprint("home", __name__)

WELCOMED = 5 * 60
"""Seconds that suffice to read on, to change the language and to open the page anew."""


@pages.get("/")
def home() -> ResponseReturnValue:
    """Show the member and the listed people of the household, each with the state of the
    certificate and one action. After a login by code, offer a passkey, too.

    For WELCOMED seconds after the registration, or until a certificate is opened, say that this is
    done, and how to add an icon.
    """
    me, people = _household()
    adults = _may_be_allowed(people)
    return render_template(
        "home/home.html",
        me=me,
        people=people,
        may_allow=bool(adults),
        offer=any(person["url"] for person in [me, *people]) and offered(),
        offer_allowing=bool(adults) and not any(adult["answered"] for adult in adults),
        age=current_app.config["GUARDIAN_AGE"],
        registered=_just_registered(),
        qr_svg=qr(url_for("login.login")),
        **_home_screen(),
    )


def _just_registered() -> bool:
    since = session.get("registered", 0)
    if now() - since >= WELCOMED:
        return False
    opened = Display.viewer == current_user.account_id, Display.started_at >= since
    return not Display.select().where(*opened).exists()


def _household() -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the person who is logged in, and the others whom they see."""
    me, day = current_user.account.member, today(now())
    others = me.family_on(day, current_app.config["GUARDIAN_AGE"])
    return _person(me, me), [_person(me, other) for other in others]


def _may_be_allowed(people: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the listed adults if there are children, whose certificates they could show. Only a
    subscriber's list has adults."""
    adults = [person for person in people if person["adult"]]
    return adults if len(adults) < len(people) else []


def _home_screen() -> dict[str, Any]:
    """Return the kinds of phones for which a page explains the icon: this phone's, or both."""
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
    adults = _may_be_allowed(_household()[1])
    if not adults:
        return redirect(url_for("home.home"), 303)
    return render_template(
        "home/household.html", adults=adults, age=current_app.config["GUARDIAN_AGE"]
    )


@pages.post("/household/<public_id>/allow")
def allow(public_id: str) -> ResponseReturnValue:
    """Let the subscriber allow an adult dependent to show the children's certificates, or withdraw
    this."""
    other = next((m for m in _adult_dependents() if m.public_id == public_id), None)
    if other is None:
        abort(404)
    me, allowed = current_user.account.member, request.form.get("allow") == "yes"
    _answer(me, [other], allowed=allowed)
    Audit.note(now(), "guardian.allowed" if allowed else "guardian.refused", me.id, other.id)
    return redirect(url_for("home.household"), 303)


@pages.post("/household/later")
def later() -> ResponseReturnValue:
    """Stop offering the permission on home. The link to its page stays."""
    unanswered = [m for m in _adult_dependents() if not m.shows_children]
    _answer(current_user.account.member, unanswered, allowed=False)
    return redirect(url_for("home.home"), 303)


def _adult_dependents() -> list[Member]:
    """Return the adult dependents whom the member who is logged in may allow."""
    return [person["member"] for person in _household()[1] if person["adult"]]


def _answer(me: Member, others: list[Member], *, allowed: bool) -> None:
    """Store what the subscriber answered for these dependents."""
    Member.update(shows_children=allowed, allowed_by=me.id).where(
        Member.id.in_([other.id for other in others])
    ).execute()


@pages.get("/help")
def help() -> ResponseReturnValue:
    """Help by symptom, for everybody alike: it says nothing of whoever reads it."""
    return render_template("home/help.html", mail_domain=own_mail_domain(), **_home_screen())


@pages.get("/staff")
def staff() -> ResponseReturnValue:
    """Show the staff at a reception desk how to tell a live certificate from a picture.

    The page has a sample whose clock runs for ten minutes, and prints as one sheet.
    """
    moment, address = int(now()), url_for("home.staff", _external=True)
    return render_template(
        "home/staff.html",
        date=date_and_time(moment)[0],
        times="\n".join(date_and_time(moment + later)[1] for later in range(600)),
        address=address.partition("//")[2],
        qr_svg=qr(url_for("home.staff")),
    )


@pages.get("/healthz")
def healthz() -> ResponseReturnValue:
    """Answer 200 if the database answers, and 503 within two seconds if it does not."""
    if answers():
        return Response("ok\n", mimetype="text/plain")
    return Response("The database does not answer.\n", 503, mimetype="text/plain")
