"""The plan by names: the people whom an import adds, changes and ends, each with the line and with
the old and new values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from imports.plan import Plan
from roster.findings import shown

WORDS: dict[str, dict[Any, str]] = {
    "delivery": {"web": "WEB", "paper": "紙", "none": "なし"},
    "sex": {1: "男", 2: "女", 3: "裏面参照"},
    "relation": {1: "本人", 2: "家族"},
    "copay": {10: "1割", 20: "2割", 30: "3割"},
}
HIDDEN = "不開示の人"
"""Shown in place of the name and the data of people who are withheld, before or after the
import."""


class Named(NamedTuple):
    """One person in a group. The line is None if no file names the person, and belongs to the list
    of `--targets` if `listed`."""

    listed: int
    line: int | None
    value: str
    text: str


class Group(NamedTuple):
    """People with the same kind of change: its 種別 and 列 in the report, and its heading on the
    screen."""

    kind: str
    column: str
    heading: str
    size: int
    people: Iterator[Named]


def groups(plan: Plan, most: int = -1) -> Iterator[Group]:
    """Yield the groups of people whom the plan changes, each with its first `most` people, or with
    all of them if `most` is -1."""
    title = plan.roster.title
    if plan.added:
        heading = f"追加: {plan.added}人"
        yield Group("追加", title("delivery"), heading, plan.added, _added(plan, most))
    for name, count in plan.fields.items():
        people = _changed(plan, name, most) if name != "withheld" else iter(())
        yield Group("変更", title(name), f"変更: {title(name)} {count}人", count, people)
    if plan.replaced:
        heading = f"別の人に替わる人 {plan.replaced}人（前の人の資格とログインは終わり、新しい人に通知を作ります）"
        yield Group("交代", title("name"), heading, plan.replaced, _replaced(plan, most))
    if plan.missing:
        heading = f"ファイルにいないので、資格が今日で終わる人 {plan.missing}人"
        yield Group("終了", title("lost_on"), heading, plan.missing, _ending(plan, most))
    if plan.hidden:
        heading = f"不開示になる人 {len(plan.hidden)}人（ログイン、メールアドレスを消します）"
        yield Group("不開示", title("withheld"), heading, len(plan.hidden), _hidden(plan, most))


def _word(name: str, value: Any) -> str:
    known = WORDS.get(name, {})
    return known.get(value) or ("空" if value in (None, "") else shown(value))


def _added(plan: Plan, most: int) -> Iterator[Named]:
    for line, name, delivery, withheld in plan.work.execute(
        "SELECT line, name, delivery, withheld IS 1 FROM staged WHERE line NOT IN (SELECT line FROM hit) ORDER BY 1 LIMIT ?",
        (most,),
    ):
        word = _word("delivery", delivery)
        yield (
            Named(0, line, "", HIDDEN)
            if withheld
            else Named(0, line, word, f"{shown(name)}（{word}）")
        )


def _changed(plan: Plan, field: str, most: int) -> Iterator[Named]:
    order = "1, 2" if plan.granted else "c.line"  # this one stops after `most` rows
    for listed, line, name, old, new, withheld in plan.work.execute(
        f"SELECT c.listed, c.line, c.name, m.{field}, c.{field}, m.withheld OR coalesce(c.withheld, 0)"
        f" FROM altered c JOIN member m ON m.id = c.id WHERE c.{field} IS NOT m.{field} ORDER BY {order} LIMIT ?",
        (min(most, plan.fields[field]) if most >= 0 else most,),
    ):
        before, after = _word(field, old), _word(field, new)
        yield (
            Named(listed, line, "", HIDDEN)
            if withheld
            else Named(listed, line, after, f"{shown(name)}: {before} → {after}")
        )


def _replaced(plan: Plan, most: int) -> Iterator[Named]:
    for line, old, new, withheld in plan.work.execute(
        "SELECT r.line, m.name, s.name, m.withheld OR s.withheld IS 1 FROM replaced r JOIN staged s ON s.line = r.line"
        " JOIN member m ON m.id = r.id ORDER BY 1 LIMIT ?",
        (most,),
    ):
        text = HIDDEN if withheld else f"{shown(old)} → {shown(new)}"
        yield Named(0, line, "" if withheld else shown(new), text)


def _ending(plan: Plan, most: int) -> Iterator[Named]:
    for name, number, branch, delivery, withheld in plan.work.execute(
        "SELECT m.name, m.number, m.branch, m.delivery, m.withheld FROM ending e JOIN member m ON m.id = e.id"
        " WHERE m.id NOT IN (SELECT id FROM replaced) ORDER BY m.household, m.branch, m.id LIMIT ?",
        (most,),
    ):
        text = f"{shown(name)}（番号 {shown(number)} 枝番 {branch or 'なし'}、資格確認書 {_word('delivery', delivery)}）"
        yield Named(0, None, str(plan.today), HIDDEN if withheld else text)


def _hidden(plan: Plan, most: int) -> Iterator[Named]:
    for listed, line in plan.work.execute(
        "SELECT c.listed, c.line FROM altered c JOIN member m ON m.id = c.id"
        " WHERE c.withheld AND NOT m.withheld ORDER BY 1, 2 LIMIT ?",
        (most,),
    ):
        yield Named(listed, line, "", HIDDEN)
