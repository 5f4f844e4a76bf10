"""The query that decides whether a display may stay live."""

from __future__ import annotations

import datetime as dt
from typing import Any

from peewee import JOIN

from database import ticks
from dates import today
from models import AHEAD, DISPLAY_LIFE, Display, Member, Session, newest_subscriber

_Viewer, _Subscriber, _Newest = (Member.alias(name) for name in ("viewer", "subscriber", "newest"))
_PERSON = ["id", "household", "relation", "birth_date", "qualified_on", "lost_on", "delivery"]
_PERSON += ["issued_on", "expires_on", "withheld", "shows_children", "allowed_by"]
_RUNS = ["trusted", "created_at", "seen_at", "ended_at"]
_COLUMNS = [
    Display.started_at,
    *(getattr(Session, name) for name in _RUNS),
    *(getattr(person, name) for person in (Member, _Viewer, _Subscriber) for name in _PERSON),
]
_DISPLAY, _SESSION, _CERTIFICATE, _DAY = "display", "session", "certificate", dt.date.min
"""Placeholders in the parameters of the cached SQL, which each call replaces by its own values."""
_sql: dict[type, tuple[str, list[Any]]] = {}


def _query() -> Any:
    newest = newest_subscriber(_Newest, _Viewer.household, _DAY).select(_Newest.id)
    return (
        Display.select(*_COLUMNS)
        .join(Session, on=(Display.session == Session.id))
        .switch(Display)
        .join(Member, on=(Display.member == Member.id))
        .switch(Display)
        .join(_Viewer, on=(Display.viewer == _Viewer.id))
        .switch(Display)
        .join(_Subscriber, JOIN.LEFT_OUTER, on=(_Subscriber.id == newest))
        .where(
            Display.id == _DISPLAY, Display.session == _SESSION, Member.public_id == _CERTIFICATE
        )
    )


def live_display(
    display_id: str, session_id: str, public_id: str, now: float, guardian_age: int
) -> bool:
    """Return whether this display may be live at the moment `now` (seconds since 1970).

    It may if the session still runs, the display is younger than 15 minutes, the certificate is
    valid today, and its viewer may show it. This takes one indexed query and writes nothing. The
    SQL is built once and cached, since at a thousand renewals a second most of the time would go
    into building it.
    """
    kind, day = type(ticks.obj), today(now)
    if kind not in _sql:
        _sql[kind] = _query().sql()
    sql, parameters = _sql[kind]
    given: dict[Any, Any] = {
        _DISPLAY: display_id,
        _SESSION: session_id,
        _CERTIFICATE: public_id,
        _DAY: day,
    }
    row = ticks.execute_sql(sql, tuple(given.get(value, value) for value in parameters)).fetchone()
    if row is None:
        return False
    values = iter([column.python_value(value) for column, value in zip(_COLUMNS, row, strict=True)])
    started_at = next(values)
    session = Session(**{name: next(values) for name in _RUNS})
    if not -AHEAD <= now - started_at < DISPLAY_LIFE or not session.runs_at(now):
        return False
    member, viewer, subscriber = (
        Member(**{name: next(values) for name in _PERSON}) for _ in range(3)
    )
    return viewer.can_show(member, day, guardian_age, subscriber)
