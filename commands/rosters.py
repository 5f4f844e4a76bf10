"""flask roster: a file is checked, imported, or begun from a template."""

from __future__ import annotations

import contextlib
import csv
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from flask import current_app
from flask.cli import AppGroup

import dates
from accounts.keys import Keys
from commands.terminal import Failed, keys, moment, store
from database import exclusive_lock
from dates import ERA_CODES
from imports import make_plan
from imports.apply import apply
from imports.letters import Letters
from imports.plan import Plan
from imports.workspace import workspace
from roster import Roster
from roster.columns import TITLES
from roster.findings import Findings
from roster.guess import Guess
from roster.reading import Unreadable

TEMPLATE_ROWS = (
    (
        "06139463",
        "128",
        "1024",
        "00",
        "見本 太郎",
        "ミホン タロウ",
        "昭和55年1月1日",
        "男",
        "本人",
        "平成16年4月1日",
    ),
    (
        "06139463",
        "128",
        "1024",
        "01",
        "見本 花子",
        "ミホン ハナコ",
        "1982-09-08",
        "女",
        "家族",
        "2008-05-20",
    ),
)


roster = AppGroup("roster", help="The roster (加入者CSV).")


def _new_file(_context: click.Context, _option: click.Parameter, path: Path | None) -> Path | None:
    """Raise Failed if the path is there already, be it as a symbolic link to nothing: it may be the
    roster, or the letters."""
    if path and os.path.lexists(path):
        raise Failed(f"{path} はすでにあります。上書きしないよう、別の名前を指定してください。")
    return path


def _choices(command: Any) -> Any:
    """Add the options that check and import have in common."""
    for option in (
        click.argument(
            "file", type=click.Path(exists=True, dir_okay=False, readable=True, path_type=Path)
        ),
        click.option(
            "--columns",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            metavar="MAP",
            help="A map of the file's own columns, as `flask roster columns` begins it.",
        ),
        click.option("--sheet", metavar="NAME", help="The sheet of a workbook, if not its first."),
        click.option(
            "--full",
            is_flag=True,
            help="The file is the whole roster: who is missing ends as of today.",
        ),
        click.option(
            "--allow-ending",
            type=int,
            metavar="N",
            help="Let N people end, though they are more than 5 % and 20.",
        ),
        click.option(
            "--allow-changes",
            type=int,
            metavar="N",
            help="Let N people change birth date, name or sex, or be replaced.",
        ),
        click.option(
            "--era-codes",
            type=click.Choice(list(ERA_CODES)),
            default="pension",
            help="Whose era digits dates have.",
        ),
        click.option(
            "--report",
            type=click.Path(dir_okay=False, path_type=Path),
            callback=_new_file,
            help="Write all messages into this CSV file, which must not exist.",
        ),
    ):
        command = option(command)
    return command


@roster.command()
@_choices
def check(file: Path, report: Path | None, **choices: Any) -> None:
    """Read FILE, say what is wrong and what an import would change. Changes nothing."""
    _run(file, report, choices)


@roster.command(name="import")
@_choices
@click.option(
    "--credentials",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write new IDs and temporary passwords here.",
)
def import_(file: Path, report: Path | None, credentials: Path | None, **choices: Any) -> None:
    """Check FILE, then apply it: all or nothing."""
    secret = keys()
    with store(), exclusive_lock():
        letters = Letters(credentials) if credentials else None
        if letters:
            resumed = letters.leftover(secret)
            click.echo(resumed) if resumed else None
            if not (resumed and letters.path.exists()):
                letters.refuse_existing()
        _run(file, report, choices, secret, letters)


@roster.command()
@click.argument(
    "file", type=click.Path(dir_okay=False, path_type=Path), default="roster-template.csv"
)
def template(file: Path) -> None:
    """Write a roster to fill in, with two fictional people, for Excel."""
    try:
        with file.open("x", encoding="utf-8-sig", newline="") as out:
            names = [name for name in TITLES if name != "person_id"]
            writer = csv.writer(out)
            writer.writerow([TITLES[name].japanese for name in names])
            writer.writerows([*row, *[""] * (len(names) - len(row))] for row in TEMPLATE_ROWS)
    except OSError as broken:
        raise Failed(
            f"{file} を作れません。同じ名前のファイルがないか確かめてください（{broken.strerror}）。"
        ) from broken
    click.echo(f"{file} を作りました。見本の2行を消して、加入者を入力してください。")


@roster.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, readable=True, path_type=Path))
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    default="roster-columns.csv",
    callback=_new_file,
    help="Write the map here, into a file that must not exist.",
)
@click.option("--sheet", metavar="NAME", help="The sheet of a workbook, if not its first.")
def columns(file: Path, out: Path, sheet: str | None) -> None:
    """Guess which column of FILE is which, and write a map to correct in Excel."""
    try:
        guess = Guess(file, current_app.config["INSURERS"], dates.today(moment()), sheet)
        guess.write(out)
    except Unreadable as sentence:
        raise Failed(str(sentence)) from None
    except OSError as broken:
        raise Failed(f"{out} を作れません（{broken.strerror}）。") from broken
    click.echo(f"見出しは{guess.line}行目です。" if guess.line else "見出しの行は見つかりません。")
    if guess.missing:
        names = "、".join(TITLES[name].japanese for name in guess.missing)
        click.echo(f"どの列か分からない必須の項目: {names}")
    click.echo(
        f"{out} を作りました。Excelで開いて「項目」と「読み替え」を確かめて直し、--columns {out} を付けて flask roster check を実行してください。"
    )


def _run(
    file: Path,
    report: Path | None,
    choices: dict[str, Any],
    secret: Keys | None = None,
    letters: Letters | None = None,
) -> None:
    """Check the file and, if `secret` is given, apply it. The last line of stdout has the counts;
    exit with 1 if there are errors."""
    now = moment()
    today = dates.today(now)
    reading = {name: choices.pop(name) for name in ("era_codes", "columns", "sheet")}
    plan = None
    with store(), Findings(report) as findings, workspace() as work:
        try:
            source = Roster(file, current_app.config["INSURERS"], today, **reading)
            with _progress(file) as progress:
                plan = make_plan(work, source, findings, today, progress=progress, **choices)
            if not findings.errors:
                _tell_plan(plan)
        except Unreadable as sentence:
            findings.refuse(str(sentence))
        if plan and not findings.errors and plan.letters_needed and not letters:
            text = f"新しい仮パスワードが{plan.letters_needed}人分あります。取り込むときは --credentials FILE で書き出し先を指定してください。"
            findings.refuse(text) if secret else click.echo(text)
        if plan and not findings.errors and secret:
            if letters and plan.letters_needed:
                letters.refuse_existing()
            apply(plan, secret, letters if plan.letters_needed else None, now)
            _tell_letters(plan, letters)
    _tell_findings(findings, report)
    counts = (plan.added, plan.changed, plan.ended, plan.unchanged) if plan else (0, 0, 0, 0)
    click.echo(
        "added={} changed={} ended={} unchanged={} ".format(*counts)
        + f"repaired={findings.repaired} warnings={findings.warnings} errors={findings.errors}"
    )
    if findings.errors:
        raise SystemExit(1)


@contextlib.contextmanager
def _progress(file: Path) -> Iterator[Any]:
    """Show progress: a bar on a terminal, a line now and then in a pipe."""
    if sys.stdout.isatty():
        with click.progressbar(length=file.stat().st_size, label="読み込み中") as bar:
            yield lambda done: bar.update(done - bar.pos)
        return
    size, last = file.stat().st_size, 0

    def line(done: int) -> None:
        nonlocal last
        if done * 10 // size > last and size > 1 << 24:
            last = done * 10 // size
            click.echo(f"読み込み中 {last * 10}%")

    yield line


def _tell_plan(plan: Plan) -> None:
    title = plan.roster.title
    click.echo(f"{plan.roster.about}、{plan.roster.rows}行を読みました。")
    if plan.roster.skipped:
        click.echo(f"対応表の「読まない行」は{plan.roster.skipped}行ありました。")
    if example := plan.roster.example:
        click.echo(f"元号コードの日付の読み方: {example}")
    click.echo(
        f"追加 {plan.added}人、変更 {plan.changed}人、終了 {plan.ended}人、変更なし {plan.unchanged}人"
    )
    for name, count in plan.fields.items():
        click.echo(f"  変更: {title(name)} {count}人")
    if plan.replaced:
        click.echo(
            f"  別の人に替わる人 {plan.replaced}人（前の人の資格とログインは終わり、新しい人に通知を作ります）"
        )
    if plan.hidden:
        click.echo(f"  不開示になる人 {len(plan.hidden)}人（ログイン、メールアドレスを消します）")
    for _, line in plan.lifted:
        click.echo(f"  不開示の解除: {line}行目の人がWebに表示されるようになります")


def _tell_letters(plan: Plan, letters: Letters | None) -> None:
    if letters and plan.letters_needed:
        click.echo(
            f"{letters.path} に{plan.letters_needed - plan.left_out}人分の仮パスワードを書きました。印刷したら消してください。"
        )
    if plan.left_out:
        click.echo(
            f"不開示の本人あてになる家族{plan.left_out}人分は書いていません。flask members reissue で宛名を決めて作れます。"
        )


def _tell_findings(findings: Findings, report: Path | None) -> None:
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
