"""Who holds a certificate before an import and after it, who loses it, and who is told by mail.

Withheld people are in no count, as in `flask stats`, and neither are people whose cover has ended.
"""

from __future__ import annotations

from collections import Counter

from imports.plan import Plan
from models import NONE, PAPER, WEB
from roster.certificates import birthday_before


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
    after.update(_moves(plan))
    plan.before, plan.after = ({d: c[d] for d in (WEB, PAPER, NONE)} for c in (before, after))
    if plan.changed:
        plan.withdrawn = plan.one(
            f"SELECT count(*) FROM {_turning(plan)} WHERE ran AND old <> 'none'"
            f" AND coalesce(expired, '9') >= {_today(plan)} AND (new = 'none' OR expires < {_today(plan)})"
        )


def note_turned(plan: Plan) -> None:
    """Note the registered people whose certificate turns to the web, where it is valid today or
    later, or from the web to paper. They are told by mail."""
    if "delivery" not in plan.fields:
        return
    usable = f"expires >= {_today(plan)} AND birth_date > '{birthday_before(plan.today, 75)}'"
    plan.work.execute(
        f"INSERT INTO turned SELECT id, new FROM {_turning(plan)} JOIN account a ON a.member_id = id"
        " WHERE a.email IS NOT NULL AND a.password_hash IS NOT NULL"
        f" AND (new = 'web' AND old <> 'web' AND {usable} OR new = 'paper' AND old = 'web')"
    )
    plan.mails = dict(plan.rows("SELECT delivery, count(*) FROM turned GROUP BY 1"))


def _today(plan: Plan) -> str:
    return f"'{plan.today}'"


def _after(plan: Plan, name: str) -> str:
    """Return SQL for a field of a changed person `c` after the import."""
    return f"m.{name}" if name in plan.kept else f"c.{name}"


def _runs(plan: Plan, lost_on: str) -> str:
    return f"({lost_on} IS NULL OR {lost_on} > {_today(plan)})"


def _turning(plan: Plan) -> str:
    """Return SQL for the changed people whose cover runs after the import, and who were not and
    will not be withheld: `old` and `new` is their delivery, and `ran` is whether their cover runs
    before, too."""
    return (
        f"(SELECT c.id, c.birth_date, m.delivery AS old, {_after(plan, 'delivery')} AS new,"
        f" m.expires_on AS expired, {_after(plan, 'expires_on')} AS expires, {_runs(plan, 'm.lost_on')} AS ran"
        " FROM altered c JOIN member m ON m.id = c.id WHERE NOT coalesce(c.withheld, m.withheld) AND NOT m.withheld"
        f" AND {_runs(plan, 'c.lost_on')})"
    )


def _moves(plan: Plan) -> Counter[str]:
    """Return by how many people each delivery grows; a number below 0 if it shrinks."""
    parts = []
    if plan.changed:
        both = "FROM altered c JOIN member m ON m.id = c.id WHERE"
        parts += [
            f"SELECT m.delivery, -1 AS n {both} {_runs(plan, 'm.lost_on')} AND NOT m.withheld",
            f"SELECT {_after(plan, 'delivery')}, 1 {both} {_runs(plan, 'c.lost_on')} AND NOT coalesce(c.withheld, m.withheld)",
        ]
    if plan.ended:
        parts.append(
            "SELECT m.delivery, -1 FROM ending e JOIN member m ON m.id = e.id WHERE NOT m.withheld"
        )
    if plan.added:
        new = "line NOT IN (SELECT line FROM hit) AND withheld IS NOT 1"
        parts.append(f"SELECT delivery, 1 FROM staged WHERE {new} AND {_runs(plan, 'lost_on')}")
    if not parts:
        return Counter()
    union = " UNION ALL ".join(parts)
    return Counter(
        dict(
            plan.rows(
                f"WITH moves (delivery, n) AS ({union}) SELECT delivery, sum(n) FROM moves GROUP BY 1"
            )
        )
    )
