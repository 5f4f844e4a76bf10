"""The list of people who get a certificate (`--targets`), used together with a roster and with what
is stored.

People in the list get what it says. All others keep what is stored, whatever the roster says about
certificates. The roster's 交付事由 7 and 不開示 still count.
"""

from __future__ import annotations

from imports.plan import ALTERED, Plan
from roster.columns import FIELDS
from roster.findings import Findings
from roster.reading import Unreadable

GIVEN = ("delivery", "issued_on", "expires_on")
KEYS = ("person_id", "household", "branch", "birth_date")
TABLES = f"""
CREATE TABLE stage.target (line INTEGER PRIMARY KEY, {", ".join((*KEYS, *GIVEN))}, withheld, row, id);
CREATE TABLE stage.granted (line INTEGER PRIMARY KEY, id INTEGER NOT NULL, {", ".join(FIELDS)});
"""
"""`row` is the person's line in the roster. `id` is set for a person who is stored but not in the
roster. `granted` holds that person's new values."""


def stage_targets(plan: Plan, findings: Findings) -> None:
    """Read the list, if there is one, into a table. Raise Unreadable."""
    if not plan.listed:
        return
    names = (*KEYS, *GIVEN, "withheld")
    at = [0, *(1 + FIELDS.index(name) for name in names)]
    plan.work.executescript(TABLES)
    plan.kept -= set(GIVEN)
    with findings.about(plan.listed.path.name):
        plan.listed.check_header(findings)
        try:
            for columns in plan.listed.checked(findings):
                plan.work.executemany(
                    f"INSERT INTO target VALUES (?{', ?' * len(names)}, NULL, NULL)",
                    zip(*(columns[i] for i in at), strict=True),
                )
        except Unreadable as sentence:
            raise Unreadable(f"{plan.listed.path.name}: {sentence}") from None


def give(plan: Plan, findings: Findings, full: bool) -> None:
    """Set the certificates of the people in the list, and restore the stored ones of all others."""
    if not plan.listed:
        return
    _find(plan)
    with findings.about(plan.listed.path.name):
        _check(plan, findings)
        if full:
            _check_missing(plan, findings)
    given, withheld = ", ".join(GIVEN), "staged.withheld IS 1 AND staged.delivery = 'paper'"
    work = plan.work
    work.execute(
        f"UPDATE staged SET ({given}) = ('none', NULL, NULL) WHERE NOT ({withheld})"
        " AND line NOT IN (SELECT line FROM hit)"
    )
    work.execute(
        f"UPDATE staged SET {', '.join(f'{name} = m.{name}' for name in GIVEN)}"
        f" FROM hit h JOIN member m ON m.id = h.id WHERE h.line = staged.line AND NOT ({withheld})"
    )
    work.execute(
        f"UPDATE staged SET {', '.join(f'{name} = t.{name}' for name in GIVEN)},"
        " withheld = coalesce(t.withheld, staged.withheld) FROM target t WHERE t.row = staged.line"
    )
    # withheld people have no certificate on the web
    work.execute(
        "UPDATE staged SET delivery = 'paper' FROM target t LEFT JOIN hit h ON h.line = t.row"
        " LEFT JOIN member m ON m.id = h.id"
        " WHERE t.row = staged.line AND coalesce(staged.withheld, m.withheld)"
    )
    _grant(plan)


def _find(plan: Plan) -> None:
    """Find the people of the list in the roster, and then among the people who are only stored: by
    加入者ID, or else by the natural key. If two have the same key, take the one who is covered, or
    else the newer one."""
    work, today = plan.work, f"'{plan.today}'"
    work.executescript(
        "CREATE INDEX stage.staged_id ON staged (person_id);"
        "CREATE INDEX stage.target_row ON target (row); CREATE INDEX stage.target_id ON target (id);"
    )
    runs = f"({{0}}.lost_on IS NULL OR {{0}}.lost_on > {today})"
    alone = "m.id NOT IN (SELECT id FROM hit) AND m.id NOT IN (SELECT id FROM replaced)"
    same_key = "{0}.household = target.household AND {0}.branch = target.branch AND (target.person_id IS NULL OR {0}.person_id IS NULL)"
    for column, who, source, last in (
        ("row", "s", "SELECT s.line FROM staged s WHERE", "line"),
        ("id", "m", f"SELECT m.id FROM member m WHERE {alone} AND", "id"),
    ):
        order = (
            f"ORDER BY {runs.format(who)} DESC, {who}.qualified_on DESC, {who}.{last} DESC LIMIT 1"
        )
        for same in (f"{who}.person_id = target.person_id", same_key.format(who)):
            work.execute(
                f"UPDATE target SET {column} = ({source} {same} {order}) WHERE row IS NULL AND id IS NULL"
            )


def _check(plan: Plan, findings: Findings) -> None:
    """Check that each row of the list belongs to exactly one person, in the roster or stored."""
    assert plan.listed
    title = plan.listed.title
    key = "number" if plan.listed.has("number") else "person_id"
    column = "substr(household, 10)" if key == "number" else "person_id"
    for line, value in plan.rows(
        f"SELECT line, {column} FROM target WHERE row IS NULL AND id IS NULL AND (household IS NOT NULL AND branch IS NOT NULL OR person_id IS NOT NULL) ORDER BY 1"
    ):
        text = "この人は、加入者の名簿にも、登録されている人にもいません。記号・番号・枝番か加入者IDを直してください"
        findings.error(line, title(key), (value or "").rpartition("\t")[2], text)
    for line, value, first in plan.rows(
        f"SELECT t.line, t.{'branch' if key == 'number' else key}, min(o.line) FROM target t"
        " JOIN target o ON (o.row = t.row OR o.id = t.id) AND o.line < t.line GROUP BY t.line ORDER BY 1"
    ):
        text = f"{first}行目と同じ人です。1人1行にしてください"
        findings.error(line, title("branch" if key == "number" else key), value, text)
    for line, value, born in plan.rows(
        "SELECT t.line, t.birth_date, coalesce(s.birth_date, m.birth_date) AS born FROM target t"
        " LEFT JOIN staged s ON s.line = t.row LEFT JOIN member m ON m.id = t.id"
        " WHERE t.birth_date <> '' AND t.birth_date <> born ORDER BY 1"
    ):
        text = f"同じ記号・番号・枝番の人の生年月日は {born} です。別の人でないか確かめてください"
        findings.error(line, title("birth_date"), value, text)
    for line, lost in plan.rows(
        "SELECT t.line, coalesce(s.lost_on, m.lost_on) AS lost FROM target t"
        f" LEFT JOIN staged s ON s.line = t.row LEFT JOIN member m ON m.id = t.id WHERE lost <= '{plan.today}' ORDER BY 1"
    ):
        text = "この人の資格は終わっています。資格確認書を交付しても使えません"
        findings.warning(line, title(key), lost, text)


def _check_missing(plan: Plan, findings: Findings) -> None:
    """Refuse people of the list who are not in a roster that is complete, since their cover ends
    today."""
    assert plan.listed
    for line, number in plan.rows(
        "SELECT t.line, m.number FROM target t JOIN member m ON m.id = t.id ORDER BY 1"
    ):
        text = "この人は加入者の名簿にいないので、--full では資格が今日で終わります。名簿か一覧を直してください"
        findings.error(line, plan.listed.title("number"), number, text)


def _grant(plan: Plan) -> None:
    """Note the people who are not in the roster and whose certificate the list changes."""
    withheld = "coalesce(t.withheld, m.withheld)"
    new = {name: f"t.{name}" for name in GIVEN} | {
        "delivery": f"CASE WHEN {withheld} THEN 'paper' ELSE t.delivery END",
        "withheld": withheld,
    }
    plan.work.execute(
        f"INSERT INTO granted SELECT t.line, m.id, {', '.join(new.get(n, f'm.{n}') for n in FIELDS)}"
        " FROM target t JOIN member m ON m.id = t.id"
        f" WHERE {' OR '.join(f'({value}) IS NOT m.{name}' for name, value in new.items())}"
    )
    plan.granted = plan.one("SELECT count(*) FROM granted")
    if plan.granted:
        fields = ", ".join(FIELDS)
        plan.work.executescript(
            f"DROP VIEW stage.altered; CREATE VIEW stage.altered AS {ALTERED}"
            f" UNION ALL SELECT line, 1, id, {fields} FROM granted"
        )
