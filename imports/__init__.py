"""Compare a checked roster with what is stored, and apply the differences: all of them or none."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

from imports import checks, holders
from imports.plan import Plan, compare, end_missing, match_keys, match_persons, stage
from imports.targets import give, stage_targets
from imports.workspace import Workspace
from roster import Roster
from roster.findings import Findings
from roster.targets import TargetList


def make_plan(
    work: Workspace,
    roster: Roster,
    findings: Findings,
    today: dt.date,
    listed: TargetList | None = None,
    *,
    full: bool = False,
    allow_ending: int | None = None,
    allow_changes: int | None = None,
    allow_withdrawals: int | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> Plan:
    """Read and check the whole roster, and the list of certificates if there is one, and compare
    them with what is stored. Raise Unreadable if a file cannot be read.

    Every fault is added to `findings`. If they contain an error, the plan must not be applied, and
    its counts mean nothing.
    """
    plan = Plan(work, roster, today, listed)
    roster.check_header(findings)
    plan.stored = plan.one("SELECT count(*) FROM member")
    stage(plan, findings, progress)
    stage_targets(plan, findings)
    match_persons(plan)
    work.execute("CREATE INDEX stage.staged_household ON staged (household, branch, relation)")
    checks.check_twice(plan, findings)
    match_keys(plan)
    give(plan, findings, full)
    compare(plan, holders.moves(plan))
    end_missing(plan, full)
    checks.check_households(plan, findings)
    checks.check_incomplete(plan, findings)
    checks.check_known(plan, findings)
    checks.check_replaced(plan, findings, allow_changes)
    checks.check_hidden(plan, findings)
    checks.check_silent(plan, findings)
    if not findings.errors:
        holders.count_holders(plan)
        checks.guard(plan, findings, allow_ending, allow_changes, allow_withdrawals)
        holders.note_turned(plan)
    return plan
