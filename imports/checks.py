"""What is wrong with a roster as a whole, seen beside what is stored: each finding by its line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roster.findings import Findings

if TYPE_CHECKING:
    from imports.plan import Plan

SHARE = 0.05  # the share of stored people who may end, or change birth date, name or sex, without being asked for
SENSITIVE = ("birth_date", "name", "sex")


def check_twice(plan: Plan, findings: Findings) -> None:
    """Two rows of one person: by 加入者ID, or by the natural key."""
    title = plan.roster.title
    if plan.roster.has("person_id"):
        plan.work.execute("CREATE INDEX stage.staged_person ON staged (person_id) WHERE person_id IS NOT NULL")
        twice = plan.rows(
            "SELECT s.line, s.person_id, d.first, s.delivery, f.delivery FROM"
            " (SELECT person_id, min(line) AS first FROM staged WHERE person_id IS NOT NULL GROUP BY 1 HAVING count(*) > 1) d"
            " JOIN staged s ON s.person_id = d.person_id JOIN staged f ON f.line = d.first WHERE s.line > d.first ORDER BY 1"
        )
        for line, value, first, delivery, before in twice:
            findings.error(line, title("person_id"), value, _twice(first, delivery, before))
    twice = plan.rows(
        "SELECT s.line, s.branch, d.first, s.delivery, f.delivery FROM"
        " (SELECT household, branch, min(line) AS first FROM staged WHERE household IS NOT NULL AND branch <> ''"
        " GROUP BY 1, 2 HAVING count(*) > 1) d"
        " JOIN staged s ON s.household = d.household AND s.branch = d.branch JOIN staged f ON f.line = d.first"
        " WHERE s.line > d.first AND (s.person_id IS NULL OR f.person_id IS NULL OR s.person_id <> f.person_id) ORDER BY 1"
    )
    for line, value, first, delivery, before in twice:
        findings.error(line, title("branch"), value, _twice(first, delivery, before))


def _twice(first: int, delivery: str, before: str) -> str:
    if {delivery, before} == {"web", "paper"}:
        return f"{first}行目と同じ人に、紙とWEBの両方があります。どちらか1行だけにしてください"
    return f"{first}行目と同じ人です。1人1行にしてください"


def check_households(plan: Plan, findings: Findings) -> None:
    """Each dependent has a subscriber, no household has two, and nobody without a branch and an id has company."""
    title = plan.roster.title
    moved = "(s.line NOT IN (SELECT line FROM hit) OR s.line IN (SELECT line FROM changed))"
    others = "SELECT 1 FROM member m WHERE m.household = s.household AND m.id NOT IN (SELECT id FROM hit)"
    active = f"(m.lost_on IS NULL OR m.lost_on > '{plan.today}')"
    for line, number in plan.rows(
        "SELECT s.line, s.number FROM staged s WHERE s.relation = 2 AND s.household IN (SELECT household FROM staged"
        " GROUP BY household HAVING NOT max(relation = 1))"
        f" AND NOT EXISTS ({others} AND m.relation = 1) ORDER BY 1"
    ):
        text = "この家族の本人（被保険者）の行がありません。保険者番号・記号・番号が同じ本人の行を加えるか、記号・番号を直してください"
        findings.error(line, title("number"), number, text)
    for line, first in plan.rows(
        "SELECT s.line, d.first FROM (SELECT household, min(line) AS first FROM staged WHERE relation = 1 AND household IN"
        " (SELECT household FROM staged WHERE household IS NOT NULL GROUP BY household HAVING sum(relation = 1) > 1)"
        " GROUP BY household) d JOIN staged s ON s.household = d.household WHERE s.relation = 1 AND s.line > d.first ORDER BY 1"
    ):
        text = f"同じ記号・番号の本人が{first}行目にもいます。本人は1人だけにしてください"
        findings.error(line, title("relation"), "本人", text)
    for (line,) in plan.rows(
        "SELECT s.line FROM staged s WHERE s.branch = '' AND s.person_id IS NULL AND s.household IS NOT NULL AND"
        " ((SELECT count(*) FROM (SELECT 1 FROM staged o WHERE o.household = s.household LIMIT 2)) > 1"
        f" OR ({moved} AND EXISTS ({others} AND {active}))) ORDER BY 1"
    ):
        text = "空です。2人以上いる世帯では、枝番か加入者IDを入力してください"
        findings.error(line, title("branch"), "", text)
    if not plan.stored:
        return
    for line, number in plan.rows(
        f"SELECT s.line, s.number FROM staged s WHERE s.relation = 1 AND {moved}"
        f" AND (s.lost_on IS NULL OR s.lost_on > '{plan.today}') AND EXISTS ({others} AND m.relation = 1 AND {active}) ORDER BY 1"
    ):
        text = "同じ記号・番号の別の本人がすでに登録されています。記号・番号を確かめるか、前の人の資格喪失も同じファイルに入れてください"
        findings.error(line, title("number"), number, text)
    for line, number, left in plan.rows(
        "SELECT s.line, s.number, (SELECT count(*) FROM member d WHERE d.household = m.household AND d.relation = 2"
        f" AND d.id NOT IN (SELECT id FROM hit) AND (d.lost_on IS NULL OR d.lost_on > '{plan.today}')) AS left"
        " FROM changed c JOIN staged s ON s.line = c.line JOIN member m ON m.id = c.id"
        " WHERE m.relation = 1 AND s.household <> m.household AND left > 0 ORDER BY 1"
    ):
        text = f"記号・番号が変わりましたが、前の記号・番号に家族が{left}人残ります。家族の行も同じファイルに入れてください"
        findings.warning(line, title("number"), number, text)


def check_incomplete(plan: Plan, findings: Findings) -> None:
    """Where the file lacks a date of the certificate, it must be stored already."""
    for name in {"issued_on", "expires_on"} & plan.roster.kept:
        for (line,) in plan.rows(
            "SELECT s.line FROM staged s LEFT JOIN hit h ON h.line = s.line LEFT JOIN member m ON m.id = h.id"
            f" WHERE s.delivery <> 'none' AND m.{name} IS NULL ORDER BY 1"
        ):
            text = "この列がなく、登録もありません。資格確認書を交付する人には日付が必要です"
            findings.error(line, plan.roster.title(name), "", text)


def guard(plan: Plan, findings: Findings, allow_ending: int | None, allow_changes: int | None) -> None:
    """Refuse what a damaged file does to many people at once, unless the clerk names the number."""
    running = plan.one("SELECT count(*) FROM member WHERE lost_on IS NULL OR lost_on > ?", plan.today.isoformat())
    if plan.ended > SHARE * running and plan.ended != allow_ending:
        findings.refuse(
            f"ファイルにいない{plan.ended}人の資格が今日で終わります（{running}人の5%を超えます）。"
            f"正しければ --allow-ending {plan.ended} を付けてもう一度実行してください。"
        )
    if not set(plan.fields) & set(SENSITIVE):
        return
    tests = " OR ".join(f"s.{name} IS NOT m.{name}" for name in SENSITIVE)
    altered = plan.one(
        f"SELECT count(*) FROM changed c JOIN staged s ON s.line = c.line JOIN member m ON m.id = c.id WHERE {tests}"
    )
    if altered > SHARE * plan.stored and altered != allow_changes:
        findings.refuse(
            f"{altered}人の生年月日・氏名・性別が変わります（{plan.stored}人の5%を超えます）。列だけを並べ替えていないか確かめ、"
            f"正しければ --allow-changes {altered} を付けてもう一度実行してください。"
        )
