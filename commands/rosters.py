"""flask roster: check or import a file, or begin one from a template."""

from __future__ import annotations

import contextlib
import csv
import datetime as dt
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
from commands.telling import tell_findings, tell_letters, tell_outcome, tell_plan
from commands.terminal import FILE, NEW_FILE, Day, Failed, insurers_served, keys, moment, store
from database import exclusive_lock
from dates import ERA_CODES
from imports import make_plan
from imports.apply import apply
from imports.letters import Letters
from imports.plan import Plan
from imports.workspace import Workspace, workspace
from roster import Roster
from roster.certificates import date_faults
from roster.columns import TITLES
from roster.findings import Findings
from roster.guess import Guess
from roster.reading import Unreadable
from roster.targets import TargetList

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
    """Raise Failed if the path exists, even as a broken symbolic link. It may be the roster, or the
    letters."""
    if path and os.path.lexists(path):
        raise Failed(f"{path} はすでにあります。上書きしないよう、別の名前を指定してください。")
    return path


CHOICES = (
    click.argument(
        "file", type=click.Path(exists=True, dir_okay=False, readable=True, path_type=Path)
    ),
    click.option(
        "--columns",
        type=FILE,
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
        "--allow-withdrawals",
        type=int,
        metavar="N",
        help="Let N people lose their certificate, though they are more than 5 % and 20.",
    ),
    click.option(
        "--targets",
        type=click.Path(exists=True, dir_okay=False, readable=True, path_type=Path),
        metavar="LIST",
        help="The list of who gets a certificate: keys and 交付事由. Others keep theirs.",
    ),
    click.option(
        "--targets-columns",
        type=FILE,
        metavar="MAP",
        help="A map of the list's own columns, as that of FILE.",
    ),
    click.option("--issued-on", type=Day(), help="交付年月日 of those in LIST."),
    click.option("--expires-on", type=Day(), help="有効期限 of those in LIST."),
    click.option(
        "--no-mail",
        is_flag=True,
        help="Tell nobody by mail that their certificate turned to the web or to paper.",
    ),
    click.option(
        "--era-codes",
        type=click.Choice(list(ERA_CODES)),
        default="pension",
        help="How a date such as 5550101 begins: 5 is 昭和 (pension, if not given) or 令和 (receipt).",
    ),
    click.option(
        "--report",
        type=NEW_FILE,
        callback=_new_file,
        help="Write all messages into this CSV file, which must not exist.",
    ),
)
"""The argument and the options that check and import have in common."""


def _choices(command: Any) -> Any:
    for choice in CHOICES:
        command = choice(command)
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
    type=NEW_FILE,
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
@click.argument("file", type=NEW_FILE, default="roster-template.csv")
def template(file: Path) -> None:
    """Write a roster to fill in, with two fictional people, for Excel."""
    try:
        with file.open("x", encoding="utf-8-sig", newline="") as out:
            names = [name for name in TITLES if name not in ("person_id", "address")]
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
    type=NEW_FILE,
    default="roster-columns.csv",
    callback=_new_file,
    help="Write the map here, into a file that must not exist.",
)
@click.option("--sheet", metavar="NAME", help="The sheet of a workbook, if not its first.")
def columns(file: Path, out: Path, sheet: str | None) -> None:
    """Guess which column of FILE is which, and write a map to correct in Excel."""
    try:
        guess = Guess(file, insurers_served(), dates.today(moment()), sheet)
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
    now, plan = moment(), None
    _check_days(choices)
    with store(), Findings(report) as findings, workspace() as work:
        try:
            plan = _plan(work, file, findings, dates.today(now), **choices)
            if not findings.errors:
                tell_plan(plan, findings, current_app.config["MAILS_PER_MINUTE"])
        except Unreadable as sentence:
            findings.refuse(str(sentence))
        if plan and not findings.errors and plan.letters_needed and not letters:
            text = f"新しい仮パスワードが{plan.letters_needed}人分あります。取り込むときは --credentials FILE で書き出し先を指定してください。"
            findings.refuse(text) if secret else click.echo(text)
        if plan and not findings.errors and secret:
            if letters and plan.letters_needed:
                letters.refuse_existing()
            apply(plan, secret, letters if plan.letters_needed else None, now)
            tell_letters(plan, letters)
    tell_findings(findings, report)
    tell_outcome(findings, imports=secret is not None)
    done = plan if plan and not findings.errors else None
    counts = (done.added, done.changed, done.ended, done.unchanged) if done else (0, 0, 0, 0)
    click.echo(
        "added={} changed={} ended={} unchanged={} ".format(*counts)
        + f"repaired={findings.repaired} warnings={findings.warnings} errors={findings.errors}"
    )
    if findings.errors:
        raise SystemExit(1)


def _plan(
    work: Workspace,
    file: Path,
    findings: Findings,
    today: dt.date,
    *,
    era_codes: str,
    columns: Path | None,
    sheet: str | None,
    targets: Path | None,
    targets_columns: Path | None,
    issued_on: dt.date | None,
    expires_on: dt.date | None,
    no_mail: bool,
    **choices: Any,
) -> Plan:
    """Return the plan of a file and, if there is one, of the list. Raise Unreadable."""
    insurers = insurers_served()
    source = Roster(file, insurers, today, era_codes, columns=columns, sheet=sheet)
    listed = None
    if targets:
        listed = TargetList(
            targets, insurers, today, era_codes, issued_on, expires_on, targets_columns
        )
    with _progress(file) as progress:
        plan = make_plan(work, source, findings, today, listed, progress=progress, **choices)
    plan.tells = not no_mail
    return plan


def _check_days(choices: dict[str, Any]) -> None:
    """Raise UsageError if the dates of the list contradict each other, or if they are given without a
    list."""
    days = choices["issued_on"], choices["expires_on"]
    if (any(days) or choices["targets_columns"]) and not choices["targets"]:
        raise click.UsageError(
            "--issued-on、--expires-on、--targets-columns は、--targets と一緒に使います。"
        )
    for _, text in date_faults(*(day.isoformat() if day else "" for day in days)):
        raise click.UsageError(f"--expires-on は、{text}。")


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
