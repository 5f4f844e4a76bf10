"""Checks of the roster as a whole, alone and together with what is stored. Each finding names a
line."""

from __future__ import annotations

import re

from imports.plan import BARE, Plan
from roster.findings import Findings, shown

SHARE, FEW = 0.05, 20
"""No more than this share of the people, and no more than this number, may end, change or lose
their certificate at once, unless the clerk gives the number."""

LEFT = "m.id NOT IN (SELECT id FROM hit) AND m.id NOT IN (SELECT id FROM ending)"
OTHERS = f"SELECT 1 FROM member m WHERE m.household = s.household AND {LEFT}"
"""SQL for the stored people of a row's household (the row is `s`) whom the file does not change."""
MOVED = "(s.line NOT IN (SELECT line FROM hit) OR s.line IN (SELECT line FROM changed))"


def check_twice(plan: Plan, findings: Findings) -> None:
    """Refuse two rows of the same person, found by 加入者ID or by the natural key. People with
    different 加入者ID may have the same natural key one after the other."""
    title = plan.roster.title
    if plan.roster.has("person_id"):
        plan.work.execute(
            "CREATE INDEX stage.staged_person ON staged (person_id) WHERE person_id IS NOT NULL"
        )
        twice = plan.rows(
            "SELECT s.line, s.person_id, d.first, s.delivery, f.delivery FROM"
            " (SELECT person_id, min(line) AS first FROM staged WHERE person_id IS NOT NULL GROUP BY 1 HAVING count(*) > 1) d"
            " JOIN staged s ON s.person_id = d.person_id JOIN staged f ON f.line = d.first WHERE s.line > d.first ORDER BY 1"
        )
        for line, value, first, delivery, before in twice:
            findings.error(line, title("person_id"), value, _twice(first, delivery, before))
    for line, value, first, delivery, before, ids in plan.rows(
        "SELECT s.line, s.branch, min(o.line), s.delivery, o.delivery, s.person_id <> o.person_id FROM"
        " (SELECT household, branch FROM staged WHERE household IS NOT NULL AND branch <> '' GROUP BY 1, 2 HAVING count(*) > 1) d"
        " JOIN staged s ON s.household = d.household AND s.branch = d.branch"
        " JOIN staged o ON o.household = d.household AND o.branch = d.branch AND o.line < s.line"
        f" WHERE s.person_id IS NULL OR o.person_id IS NULL OR (s.person_id <> o.person_id AND {_together('s', 'o')})"
        " GROUP BY s.line ORDER BY 1"
    ):
        text = f"{first}行目と枝番が同じで、資格の期間が重なります。枝番か資格喪失年月日を直してください"
        findings.error(
            line, title("branch"), value, text if ids else _twice(first, delivery, before)
        )


def _twice(first: int, delivery: str, before: str) -> str:
    if {delivery, before} == {"web", "paper"}:
        return f"{first}行目と同じ人に、紙とWEBの両方があります。どちらか1行だけにしてください"
    return f"{first}行目と同じ人です。1人1行にしてください"


def check_households(plan: Plan, findings: Findings) -> None:
    """Check that each dependent has a subscriber, that no household has two at a time, and that
    members of a multi-person household have a branch or an ID.
    """
    title, active = plan.roster.title, f"(m.lost_on IS NULL OR m.lost_on > '{plan.today}')"
    for line, number in plan.rows(
        "SELECT s.line, s.number FROM staged s WHERE s.relation = 2 AND s.household IN (SELECT household FROM staged"
        f" GROUP BY household HAVING NOT max(relation = 1)) AND NOT EXISTS ({OTHERS} AND m.relation = 1) ORDER BY 1"
    ):
        text = "この家族の本人（被保険者）の行がありません。保険者番号・記号・番号が同じ本人の行を加えるか、記号・番号を直してください"
        findings.error(line, title("number"), number, text)
    for line, first in plan.rows(
        "SELECT s.line, min(o.line) FROM (SELECT household FROM staged WHERE relation = 1 AND household IS NOT NULL"
        " GROUP BY household HAVING count(*) > 1) d JOIN staged s ON s.household = d.household AND s.relation = 1"
        " JOIN staged o ON o.household = d.household AND o.relation = 1 AND o.line < s.line"
        f" WHERE {_together('s', 'o')} GROUP BY s.line ORDER BY 1"
    ):
        text = f"同じ記号・番号の本人が{first}行目にもいて、資格の期間が重なります。本人を1人だけにするか、前の人の資格喪失年月日を入れてください"
        findings.error(line, title("relation"), "本人", text)
    for (line,) in plan.rows(
        "SELECT s.line FROM staged s WHERE s.branch = '' AND s.person_id IS NULL AND s.household IS NOT NULL AND"
        " ((SELECT count(*) FROM (SELECT 1 FROM staged o WHERE o.household = s.household LIMIT 2)) > 1"
        f" OR ({MOVED} AND EXISTS ({OTHERS} AND {active}))) ORDER BY 1"
    ):
        text = "空です。2人以上いる世帯では、枝番か加入者IDを入力してください"
        findings.error(line, title("branch"), "", text)
    _warn_of_ends(plan, findings)
    if plan.stored:
        _check_stored_households(plan, findings)


def _together(one: str, other: str, since: str = "''") -> str:
    """Return SQL for whether two people are covered on the same day, on or after the day `since`.
    Nobody is covered on their day of loss."""
    ends = ", ".join(f"coalesce({person}.lost_on, '9999')" for person in (one, other))
    return f"max({one}.qualified_on, {other}.qualified_on, {since}) < min({ends})"


def _check_stored_households(plan: Plan, findings: Findings) -> None:
    """Check the households together with what is stored: no two subscribers at a time, and no
    dependents who are left without their subscriber or come under a new one unnoticed."""
    title, today = plan.roster.title, f"'{plan.today}'"
    for line, number in plan.rows(
        f"SELECT s.line, s.number FROM staged s WHERE s.relation = 1 AND {MOVED}"
        f" AND EXISTS ({OTHERS} AND m.relation = 1 AND {_together('s', 'm', today)}) ORDER BY 1"
    ):
        text = "同じ記号・番号の別の本人がすでに登録されています。記号・番号を確かめるか、前の人の資格喪失も同じファイルに入れてください"
        findings.error(line, title("number"), number, text)
    for line, number, left in plan.rows(
        "SELECT s.line, s.number, (SELECT count(*) FROM member d WHERE d.household = m.household AND d.relation = 2"
        f" AND d.id NOT IN (SELECT id FROM hit) AND (d.lost_on IS NULL OR d.lost_on > {today})) AS left"
        " FROM changed c JOIN staged s ON s.line = c.line JOIN member m ON m.id = c.id"
        " WHERE m.relation = 1 AND s.household <> m.household AND left > 0 ORDER BY 1"
    ):
        text = f"記号・番号が変わりましたが、前の記号・番号に家族が{left}人残ります。家族の行も同じファイルに入れてください"
        findings.warning(line, title("number"), number, text)
    for line, found in plan.rows(
        "WITH new AS MATERIALIZED (SELECT s.* FROM staged s LEFT JOIN hit h ON h.line = s.line LEFT JOIN member m ON m.id = h.id"
        f" WHERE s.relation = 1 AND {MOVED} AND (m.household IS NOT s.household OR m.relation <> 1))"
        " SELECT s.line, (SELECT count(*) FROM member d LEFT JOIN hit t ON t.id = d.id LEFT JOIN staged f ON f.line = t.line"
        " WHERE d.household = s.household AND d.relation = 2 AND d.id NOT IN (SELECT id FROM ending)"
        f" AND coalesce(f.household, d.household) = d.household AND max(s.qualified_on, {today}) <"
        " CASE WHEN t.id THEN coalesce(f.lost_on, '9999') ELSE coalesce(d.lost_on, '9999') END) AS found"
        " FROM new s WHERE found > 0 ORDER BY 1"
    ):
        text = f"新しい本人ですが、同じ記号・番号に、前からいる家族が{found}人います。この人の家族か確かめ、違うときは家族の資格喪失も入れてください"
        findings.warning(line, title("relation"), "本人", text)


def _warn_of_ends(plan: Plan, findings: Findings) -> None:
    """Warn of subscribers whose cover ends before that of their dependents, if no other subscriber
    follows."""
    after = "coalesce({0}.lost_on, '9999') > s.lost_on"
    follows = f"relation = 1 AND {{0}}.qualified_on <= s.lost_on AND {after}"
    for line, lost_on, left in plan.rows(
        "SELECT s.line, s.lost_on, (SELECT count(*) FROM staged d WHERE d.household = s.household AND d.relation = 2"
        f" AND {after.format('d')}) + (SELECT count(*) FROM ({OTHERS} AND m.relation = 2 AND {after.format('m')})) AS left"
        f" FROM staged s WHERE s.lost_on IS NOT NULL AND s.relation = 1 AND {MOVED} AND left > 0"
        f" AND NOT EXISTS (SELECT 1 FROM staged o WHERE o.household = s.household AND o.{follows.format('o')})"
        f" AND NOT EXISTS ({OTHERS} AND m.{follows.format('m')}) ORDER BY 1"
    ):
        text = f"本人の資格が終わりますが、同じ記号・番号に資格の続く家族が{left}人います。家族の資格喪失か、次の本人も入れてください"
        findings.warning(line, plan.roster.title("lost_on"), lost_on, text)


def check_incomplete(plan: Plan, findings: Findings) -> None:
    """Check that the dates of certificates are stored if the file has no column for them."""
    for name in {"issued_on", "expires_on"} & plan.kept:
        for (line,) in plan.rows(
            "SELECT s.line FROM staged s LEFT JOIN hit h ON h.line = s.line LEFT JOIN member m ON m.id = h.id"
            f" WHERE s.delivery <> 'none' AND m.{name} IS NULL ORDER BY 1"
        ):
            text = "この列がなく、登録もありません。資格確認書を交付する人には日付が必要です"
            findings.error(line, plan.roster.title(name), "", text)


def check_known(plan: Plan, findings: Findings) -> None:
    """Find new people who are already stored under another key, by name and birth date. Each would
    become a second person with a second login.

    Refuse those whose key differs only by leading zeros, which Excel drops, or by the kind of
    hyphen. Warn of the others.
    """
    if not (plan.added and plan.stored):
        return
    together = _together("s", "m", f"'{plan.today}'")
    plan.work.executescript(
        "CREATE TABLE stage.newcomer AS SELECT line, person_id, household, symbol, number, branch, birth_date, qualified_on, lost_on,"
        f" insurer_number, sex, {BARE.format('s')} AS name FROM staged s WHERE line NOT IN (SELECT line FROM hit);"
        "CREATE INDEX stage.newcomer_born ON newcomer (birth_date, name);"
    )
    for line, number, known, symbol, new, old, stays in plan.rows(
        f"SELECT s.line, s.number, m.number, m.symbol, s.household || s.branch, m.household || m.branch, {LEFT}"
        f" FROM member m CROSS JOIN newcomer s ON s.birth_date = m.birth_date AND s.name = {BARE.format('m')} AND s.sex = m.sex"
        " AND s.insurer_number = m.insurer_number WHERE m.id NOT IN (SELECT id FROM hit)"
        " AND (s.person_id IS NULL OR m.person_id IS NULL)"
        f" AND m.id NOT IN (SELECT id FROM replaced) AND NOT m.withheld AND {together} ORDER BY 1"
    ):
        key = f"記号 {shown(symbol) or 'なし'} 番号 {shown(known)}"
        if new != old and _bare_key(new) == _bare_key(old):
            text = (
                f"先頭の0やハイフンだけがちがう人（{key}）が登録されています。登録と同じに直してください（0はExcelが消します）。"
                "番号を改めたのであれば、前の番号の資格喪失も同じファイルに入れてください"
            )
            findings.error(line, plan.roster.title("number"), number, text)
        elif stays:
            text = f"氏名・生年月日・性別が同じ人（{key}）が登録されていて、資格が続いています。同じ人であれば、記号・番号を直すか、前の番号の資格喪失も入れてください"
            findings.warning(line, plan.roster.title("number"), number, text)


def _bare_key(household: str) -> list[str]:
    """Return a folded key without the parts that programs change: leading zeros and hyphens."""
    return [re.sub(r"[-‐‑–—−ー\s]", "", part).lstrip("0") for part in household.split("\t")]


def check_replaced(plan: Plan, findings: Findings, allow_changes: int | None) -> None:
    """Refuse each row that has the natural key of another person, unless `allow_changes` is
    `plan.altered`, the number of people who change.

    Warn of each row that has another person's 加入者ID. Since that identifies a person, the earlier
    person's login remains, and shows the data of the new one.
    """
    title = plan.roster.title("birth_date")
    other = "登録されている人とは、生年月日も、氏名か性別も違います。"
    if plan.replaced and plan.altered != allow_changes:
        for line, born in plan.rows(
            "SELECT line, birth_date FROM replaced JOIN staged USING (line) ORDER BY 1"
        ):
            text = (
                f"{other}記号・番号・枝番を確かめてください。別の人に替わったのであれば"
                f" --allow-changes {plan.altered}（生年月日・氏名・性別のどれかが違う人の数）を付けてもう一度実行してください"
            )
            findings.error(line, title, born, text)
    if "birth_date" in plan.fields:
        for line, born in plan.rows(
            "SELECT s.line, s.birth_date FROM changed c JOIN staged s ON s.line = c.line JOIN member m ON m.id = c.id"
            " WHERE s.person_id = m.person_id AND s.birth_date <> m.birth_date"
            " AND (s.name <> m.name OR s.sex <> m.sex) ORDER BY 1"
        ):
            text = (
                f"{other}加入者IDが同じなので、同じ人の訂正とみなし、ログインもそのままです。"
                "別の人であれば、新しい加入者IDにしてください"
            )
            findings.warning(line, title, born, text)


def check_hidden(plan: Plan, findings: Findings) -> None:
    """Warn of new people who stay withheld, since they are withheld under another key."""
    text = (
        "登録されている不開示の人と、氏名と生年月日が同じです。同じ人とみなし、不開示のままにしました。"
        "不開示にしないときは 0 を入力してください"
    )
    for line in plan.recognized:
        findings.warning(line, plan.roster.title("withheld"), "", text)


def check_silent(plan: Plan, findings: Findings) -> None:
    """Refuse a file that has dates of certificates but does not say who gets one. Everybody would
    lose theirs without a word. Warn of each row with such a date that loses a certificate."""
    if plan.listed or {"issued_on", "expires_on"} <= plan.kept:
        return
    title, day = plan.roster.title, "coalesce(s.issued_on, s.expires_on)"
    column = title("expires_on" if "issued_on" in plan.kept else "issued_on")
    if not plan.roster.says_delivery:
        found = f"SELECT min(s.line), count(*), {day} FROM staged s WHERE {day} IS NOT NULL"
        for line, count, value in plan.rows(f"{found} HAVING count(*) > 0"):
            text = (
                f"資格確認書の日付が{count}人にありますが、交付方法も交付事由も空なので、だれに交付するのか分かりません。"
                "「交付方法」（WEBか紙）か「交付事由」を入力するか、交付する人の一覧を --targets 一覧.csv で指定してください"
            )
            findings.error(line, column, value, text)
    elif "delivery" in plan.fields:
        for line, value in plan.rows(
            f"SELECT s.line, {day} FROM changed c JOIN staged s ON s.line = c.line JOIN member m ON m.id = c.id"
            f" WHERE s.delivery = 'none' AND m.delivery <> 'none' AND {day} IS NOT NULL ORDER BY 1"
        ):
            text = "日付がありますが、交付事由が空なので、資格確認書がなくなります。交付を続ける人には交付事由を入力してください"
            findings.warning(line, column, value, text)


def guard(
    plan: Plan,
    findings: Findings,
    allow_ending: int | None,
    allow_changes: int | None,
    allow_withdrawals: int | None,
) -> None:
    """Refuse changes to many people at once, as a damaged file would make, unless the clerk gives
    the exact number."""
    again = "を付けてもう一度実行してください。"
    if _too_many(plan.missing, plan.running) and plan.missing != allow_ending:
        findings.refuse(
            f"ファイルにいない{plan.missing}人の資格が今日で終わります（{plan.running}人の5%を超えます）。"
            f"正しければ --allow-ending {plan.missing} {again}"
        )
    if _too_many(plan.altered, plan.stored) and plan.altered != allow_changes:
        findings.refuse(
            f"{plan.altered}人の生年月日・氏名・性別のどれかが変わります（{plan.stored}人の5%を超えます）。列だけを並べ替えていないか"
            f"確かめ、正しければ --allow-changes {plan.altered} {again}"
        )
    if _too_many(plan.withdrawn, plan.holding) and plan.withdrawn != allow_withdrawals:
        findings.refuse(
            f"{plan.withdrawn}人の資格確認書がなくなります（いま資格確認書のある{plan.holding}人の5%を超えます）。交付事由、交付方法、"
            f"有効期限の列を確かめ、正しければ --allow-withdrawals {plan.withdrawn} {again}"
        )


def _too_many(count: int, of: int) -> bool:
    return count > SHARE * of and count > FEW
