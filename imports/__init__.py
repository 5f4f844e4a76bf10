"""A checked roster against what is stored: compared into a plan, which is applied all or nothing."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

from imports import checks
from imports.plan import Plan, compare, end_missing, match_keys, match_persons, stage
from imports.workspace import Workspace
from roster import Roster
from roster.findings import Findings


def make_plan(
    work: Workspace,
    roster: Roster,
    findings: Findings,
    today: dt.date,
    *,
    full: bool = False,
    allow_ending: int | None = None,
    allow_changes: int | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> Plan:
    """Read and check the whole roster, and compare it with what is stored. Raise roster.Unreadable
    if the file is none.

    Everything that is wrong goes into `findings`; the counts are those of a roster without errors.
    """
    plan = Plan(work, roster, today)
    roster.check_header(findings)
    plan.stored = plan.one("SELECT count(*) FROM member")
    stage(plan, findings, progress)
    match_persons(plan)
    work.execute("CREATE INDEX stage.staged_household ON staged (household, branch, relation)")
    checks.check_twice(plan, findings)
    match_keys(plan)
    compare(plan)
    end_missing(plan, full)
    checks.check_households(plan, findings)
    checks.check_incomplete(plan, findings)
    checks.check_replaced(plan, findings, allow_changes)
    if not findings.errors:
        checks.guard(plan, findings, allow_ending, allow_changes)
    if findings.errors:
        plan.added = plan.changed = plan.ended = plan.unchanged = 0
    return plan
