"""Count who has a certificate before and after an import and who loses it, and note who is told by
mail.

Withheld people, and people whose cover has ended, are not counted, as in `flask stats`.
"""

from __future__ import annotations

from collections import Counter

from imports.plan import Plan
from models import NONE, PAPER, WEB
from roster.certificates import birthday_before

KINDS = (WEB, PAPER, NONE)


def moves(plan: Plan) -> list[str]:
    """Return SQL for sums over the people who change, `s` in the file and `m` as stored: how many
    lose a certificate that has not expired, and by how many each of KINDS grows."""
    new, expires = _after(plan, "delivery"), _after(plan, "expires_on")
    shown = f"{_runs(plan, 'm.lost_on')} AND NOT m.withheld"
    shows = f"{_runs(plan, 's.lost_on')} AND NOT coalesce(s.withheld, m.withheld)"
    lost = (
        f"m.delivery <> 'none' AND ({new} = 'none' OR coalesce({expires}, '9') < {_today(plan)})"
        f" AND coalesce(m.expires_on, '9') >= {_today(plan)}"
    )
    return [
        f"sum({lost} AND {shown} AND {shows})",
        *(f"sum(({new} = '{d}' AND {shows}) - (m.delivery = '{d}' AND {shown}))" for d in KINDS),
    ]


def count_holders(plan: Plan) -> None:
    """Count who holds which certificate before and after, and who loses theirs."""
    sums = ", ".join(f"sum(delivery = '{d}' AND NOT withheld)" for d in KINDS)
    valid = "delivery <> 'none' AND NOT withheld AND (expires_on IS NULL OR expires_on >= ?1)"
    (found,) = plan.rows(
        f"SELECT count(*), sum({valid}), {sums} FROM member WHERE lost_on IS NULL OR lost_on > ?1",
        plan.today.isoformat(),
    )
    plan.running, plan.holding = found[0], found[1] or 0
    plan.before = {d: count or 0 for d, count in zip(KINDS, found[2:], strict=True)}
    after = Counter(plan.before)
    if plan.moved:
        plan.withdrawn = plan.moved[0]
        after.update(dict(zip(KINDS, plan.moved[1:], strict=True)))
    if plan.ended:
        gone = "SELECT m.delivery, -count(*) FROM ending e JOIN member m ON m.id = e.id WHERE NOT m.withheld GROUP BY 1"
        after.update(dict(plan.rows(gone)))
    if plan.added:
        new = "line NOT IN (SELECT line FROM hit) AND withheld IS NOT 1"
        people = f"SELECT delivery, count(*) FROM staged WHERE {new} AND {_runs(plan, 'lost_on')} GROUP BY 1"
        after.update(dict(plan.rows(people)))
    plan.after = {d: after[d] for d in KINDS}


def note_turned(plan: Plan) -> None:
    """Note the registered people whose certificate moves to the web and is valid today or later,
    and those whose certificate moves from the web to paper. They get a mail."""
    if "delivery" not in plan.fields:
        return
    new, today = _after(plan, "delivery"), _today(plan)
    usable = f"{_after(plan, 'expires_on')} >= {today} AND s.birth_date > '{birthday_before(plan.today, 75)}'"
    plan.work.execute(
        f"INSERT INTO turned SELECT s.id, {new} FROM altered s JOIN member m ON m.id = s.id"
        f" JOIN account a ON a.member_id = s.id WHERE {_runs(plan, 's.lost_on')}"
        " AND NOT coalesce(s.withheld, m.withheld) AND NOT m.withheld"
        " AND a.email IS NOT NULL AND a.password_hash IS NOT NULL"
        f" AND ({new} = 'web' AND m.delivery <> 'web' AND {usable} OR {new} = 'paper' AND m.delivery = 'web')"
    )
    plan.mails = dict(plan.rows("SELECT delivery, count(*) FROM turned GROUP BY 1"))


def _today(plan: Plan) -> str:
    return f"'{plan.today}'"


def _after(plan: Plan, name: str) -> str:
    """Return SQL for a field of a changed person after the import."""
    return f"m.{name}" if name in plan.kept else f"s.{name}"


def _runs(plan: Plan, lost_on: str) -> str:
    return f"({lost_on} IS NULL OR {lost_on} > {_today(plan)})"
