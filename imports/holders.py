"""Who holds a certificate before an import and after it, who loses it, and who is told by mail.

Withheld people are in no count, as in `flask stats`, and neither are people whose cover has ended.
"""

from __future__ import annotations

from collections import Counter

from imports.plan import Plan
from models import NONE, PAPER, WEB
from roster.certificates import birthday_before

TELLING = {"delivery", "expires_on", "lost_on", "withheld"}
"""The fields that decide who holds a certificate."""


def count_holders(plan: Plan) -> None:
    """Count who holds which certificate before and after, and who loses theirs."""
    before: Counter[str] = Counter()
    for delivery, withheld, people, valid in plan.rows(
        "SELECT delivery, withheld, count(*), sum(expires_on IS NULL OR expires_on >= ?1) FROM member"
        " WHERE lost_on IS NULL OR lost_on > ?1 GROUP BY 1, 2",
        plan.today.isoformat(),
    ):
        plan.running += people
        if not withheld:
            before[delivery] += people
            plan.holding += valid if delivery != NONE else 0
    after = before.copy()
    _count_changed(plan, after)
    if plan.ended:
        gone = "SELECT m.delivery, -count(*) FROM ending e JOIN member m ON m.id = e.id WHERE NOT m.withheld GROUP BY 1"
        after.update(dict(plan.rows(gone)))
    if plan.added:
        new = "line NOT IN (SELECT line FROM hit) AND withheld IS NOT 1"
        people = f"SELECT delivery, count(*) FROM staged WHERE {new} AND {_runs(plan, 'lost_on')} GROUP BY 1"
        after.update(dict(plan.rows(people)))
    plan.before, plan.after = ({d: c[d] for d in (WEB, PAPER, NONE)} for c in (before, after))


def _count_changed(plan: Plan, after: Counter[str]) -> None:
    """Move the people who change from one delivery to another, in one pass, and count those who
    lose what has not expired."""
    if not TELLING & set(plan.fields):
        return
    new, expires = _after(plan, "delivery"), _after(plan, "expires_on")
    shown = f"{_runs(plan, 'm.lost_on')} AND NOT m.withheld"
    shows = f"{_runs(plan, 'c.lost_on')} AND NOT coalesce(c.withheld, m.withheld)"
    lost = (
        f"m.delivery <> 'none' AND coalesce(m.expires_on, '9') >= {_today(plan)}"
        f" AND ({new} = 'none' OR coalesce({expires}, '9') < {_today(plan)})"
    )
    moves = [
        f"sum(({new} = '{d}' AND {shows}) - (m.delivery = '{d}' AND {shown}))"
        for d in (WEB, PAPER, NONE)
    ]
    (found,) = plan.rows(
        f"SELECT sum({shown} AND {shows} AND {lost}), {', '.join(moves)}"
        " FROM altered c JOIN member m ON m.id = c.id"
    )
    plan.withdrawn = found[0]
    after.update(dict(zip((WEB, PAPER, NONE), found[1:], strict=True)))


def note_turned(plan: Plan) -> None:
    """Note the registered people whose certificate turns to the web, where it is valid today or
    later, or from the web to paper. They are told by mail."""
    if "delivery" not in plan.fields:
        return
    new, today = _after(plan, "delivery"), _today(plan)
    usable = f"{_after(plan, 'expires_on')} >= {today} AND c.birth_date > '{birthday_before(plan.today, 75)}'"
    plan.work.execute(
        f"INSERT INTO turned SELECT c.id, {new} FROM altered c JOIN member m ON m.id = c.id"
        f" JOIN account a ON a.member_id = c.id WHERE {_runs(plan, 'c.lost_on')}"
        " AND NOT coalesce(c.withheld, m.withheld) AND NOT m.withheld"
        " AND a.email IS NOT NULL AND a.password_hash IS NOT NULL"
        f" AND ({new} = 'web' AND m.delivery <> 'web' AND {usable} OR {new} = 'paper' AND m.delivery = 'web')"
    )
    plan.mails = dict(plan.rows("SELECT delivery, count(*) FROM turned GROUP BY 1"))


def _today(plan: Plan) -> str:
    return f"'{plan.today}'"


def _after(plan: Plan, name: str) -> str:
    """Return SQL for a field of a changed person `c` after the import."""
    return f"m.{name}" if name in plan.kept else f"c.{name}"


def _runs(plan: Plan, lost_on: str) -> str:
    return f"({lost_on} IS NULL OR {lost_on} > {_today(plan)})"
