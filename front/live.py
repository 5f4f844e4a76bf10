"""The one query that says whether a display may stay live."""

from __future__ import annotations

from database import ticks
from dates import today
from models import AHEAD, DISPLAY_LIFE, Display, Member, Session

_Viewer = Member.alias("viewer")
_SHOWN = ["id", "household", "relation", "birth_date", "qualified_on", "lost_on", "delivery"]
_SHOWN += ["issued_on", "expires_on", "withheld", "shows_children"]
_RUNS = ["trusted", "created_at", "seen_at", "ended_at"]
_LIVE_COLUMNS = [
    Display.started_at,
    *(getattr(Session, name) for name in _RUNS),
    *(getattr(Member, name) for name in _SHOWN),
    *(getattr(_Viewer, name) for name in _SHOWN),
]
_LIVE = (
    Display.select(*_LIVE_COLUMNS)
    .join(Session, on=(Display.session == Session.id))
    .switch(Display)
    .join(Member, on=(Display.member == Member.id))
    .switch(Display)
    .join(_Viewer, on=(Display.viewer == _Viewer.id))
)
_live_sql: dict[type, str] = {}


def live_display(display_id: str, session_id: str, public_id: str, now: float, guardian_age: int) -> bool:
    """Whether everything still allows this display to be live at the moment `now`.

    One indexed query, no write: the session runs, the 15 minutes are not over, the certificate is valid today, and its viewer
    may show it. Its SQL is put together once: a thousand renewals a second would spend most of their time on that.
    """
    kind = type(ticks.obj)
    if kind not in _live_sql:
        _live_sql[kind] = _LIVE.where(Display.id == "", Display.session == "", Member.public_id == "").sql()[0]
    row = ticks.execute_sql(_live_sql[kind], (display_id, session_id, public_id)).fetchone()
    if row is None:
        return False
    values = [column.python_value(value) for column, value in zip(_LIVE_COLUMNS, row, strict=True)]
    runs, shown = len(_RUNS) + 1, len(_RUNS) + 1 + len(_SHOWN)
    session = Session(**dict(zip(_RUNS, values[1:runs], strict=True)))
    if not -AHEAD <= now - values[0] < DISPLAY_LIFE or not session.runs_at(now):
        return False
    member = Member(**dict(zip(_SHOWN, values[runs:shown], strict=True)))
    viewer = Member(**dict(zip(_SHOWN, values[shown:], strict=True)))
    day = today(now)
    return member.state_on(day) == "valid" and viewer.may_show(member, day, guardian_age)
