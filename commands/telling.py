"""The output of a check or an import: the plan with its people, the findings, and the result."""

from __future__ import annotations

from pathlib import Path

import click

from imports.letters import Letters
from imports.names import groups
from imports.plan import Plan
from models import NONE, PAPER, WEB
from roster.findings import Findings

NAMED = 20
"""The most people of each group that are named on the screen. The report names all of them."""


def tell_plan(plan: Plan, findings: Findings, mails_per_minute: int) -> None:
    """Print the changes of the plan, and write them into the report if there is one."""
    roster = plan.roster
    click.echo(f"{roster.about}、{roster.rows}行を読みました。")
    if roster.skipped:
        click.echo(f"対応表の「読まない行」は{roster.skipped}行ありました。")
    if example := roster.example:
        click.echo(f"元号コードの日付の読み方: {example}")
    click.echo(
        f"追加 {plan.added}人、変更 {plan.changed}人、終了 {plan.ended}人、変更なし {plan.unchanged}人"
    )
    _tell_people(plan)
    for _, line in plan.lifted:
        click.echo(f"  不開示の解除: {line}行目の人がWebに表示されるようになります")
    if findings.reported:
        _report_people(plan, findings)
    for sentence in (*roster.doubts, *(plan.listed.doubts if plan.listed else ())):
        click.echo(sentence)
    if sentence := _mails(plan, mails_per_minute):
        click.echo(sentence)
    after, before = (
        f"WEB {counts[WEB]}人 紙 {counts[PAPER]}人 なし {counts[NONE]}人"
        for counts in (plan.after, plan.before)
    )
    click.echo(f"資格確認書: {after}（いまの登録: {before}）")


def _tell_people(plan: Plan) -> None:
    for group in groups(plan, NAMED):
        click.echo(f"  {group.heading}")
        told = 0
        for person in group.people:
            told += 1
            if told <= NAMED:
                file = f"{_list_name(plan)} " if person.listed else ""
                line = f"{file}{person.line}行目 " if person.line else ""
                click.echo(f"    {line}{person.text}")
        if told and group.size > NAMED:
            click.echo(f"    ほかに{group.size - NAMED}人（--report FILE に全員を書き出します）")


def _report_people(plan: Plan, findings: Findings) -> None:
    for group in groups(plan):
        for listed, line, value, text in group.people:
            with findings.about(_list_name(plan) if listed else ""):
                findings.change(line, group.column, value, group.kind, text)


def _list_name(plan: Plan) -> str:
    return plan.listed.path.name if plan.listed else ""


def _mails(plan: Plan, per_minute: int) -> str:
    """Return the sentence about the mails that the import sends to members."""
    web, paper = plan.mails.get(WEB, 0), plan.mails.get(PAPER, 0)
    if not web + paper:
        return ""
    if not plan.tells:
        return f"お知らせメール: 登録済みの{web + paper}人には送りません（--no-mail）"
    hours = (web + paper) / per_minute / 60 if per_minute else 0
    pace = f"、1分に{per_minute}通まで" if per_minute else ""
    pace += f"、およそ{hours:.0f}時間かけて" if hours >= 1 else ""
    return f"お知らせメール: 「使えるようになりました」{web}人、「紙に変わりました」{paper}人（取り込んだあとに送ります{pace}）"


def tell_outcome(findings: Findings, imports: bool) -> None:
    """Print whether the file was imported, only checked, or refused."""
    wrong = f"（エラー{findings.errors}件）" if findings.errors else ""
    if not imports:
        click.echo(f"確認だけです。何も変えていません{wrong}")
    elif wrong:
        click.echo(f"取り込んでいません{wrong}")
    else:
        click.echo("取り込みました")


def tell_letters(plan: Plan, letters: Letters | None) -> None:
    if letters and plan.letters_needed:
        click.echo(
            f"{letters.path} に{plan.letters_needed - plan.left_out}人分の仮パスワードを書きました。印刷したら消してください。"
        )
    if plan.left_out:
        click.echo(
            f"不開示の本人あてになる家族{plan.left_out}人分は書いていません。flask members reissue で宛名を決めて作れます。"
        )


def tell_findings(findings: Findings, report: Path | None) -> None:
    for message in findings.messages:
        click.echo(message)
    more = findings.errors + findings.warnings - len(findings.messages)
    if more > 0:
        where = (
            f"{report} にすべてあります" if report else "--report FILE を付けるとすべて書き出します"
        )
        click.echo(f"ほかに{more}件あります。{where}。")
    for column, (count, example) in findings.repairs.items():
        click.echo(f"補正: {column} {count}件（例: {example}）")
