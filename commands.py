"""flask db | roster | members | audit | mail: what the operator and the clerk type."""

from __future__ import annotations

import contextlib
import csv
import datetime as dt
import io
import smtplib
import sqlite3
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import peewee
from flask import Flask, current_app
from playhouse.migrations import Runner

import accounts
import imports
import models
import stores
from codes import Keys, grouped, temporary_passwords
from columns import TITLES
from eras import ERA_CODES, BadDate, parse_date
from findings import Findings, plain_cell
from letters import CannotWrite, Letter, Letters
from models import Account, Audit, Display, Mail, Member, Session, Trust
from roster import Roster, Unreadable

MIGRATIONS = Path(__file__).parent / "migrations"
PLAIN_EVERY = 200_000
TEMPLATE_ROWS = (
    ("06139463", "128", "1024", "00", "見本 太郎", "ミホン タロウ", "昭和55年1月1日", "男", "本人", "平成16年4月1日"),
    ("06139463", "128", "1024", "01", "見本 花子", "ミホン ハナコ", "1982-09-08", "女", "家族", "2008-05-20"),
)


def register(app: Flask) -> None:
    for group in (db, roster, members, audit, mail):
        app.cli.add_command(group)


class Failed(click.ClickException):
    """One sentence on stderr, exit status 1."""

    def show(self, file: Any = None) -> None:
        click.echo(self.message, err=True)


class Day(click.ParamType):
    """A day in any form of the roster."""

    name = "date"

    def convert(self, value: Any, param: Any, ctx: Any) -> dt.date:
        try:
            return value if isinstance(value, dt.date) else parse_date(value)
        except BadDate as wrong:
            self.fail(f"{value}: {wrong}", param, ctx)


def moment() -> float:
    return time.time()


def keys() -> Keys:
    if not current_app.config["SECRET_KEY"]:
        raise Failed("KAKUNIN_SECRET_KEY がありません。仮パスワードはこの鍵で守られます。設定してからもう一度実行してください。")
    return Keys(current_app.config["SECRET_KEY"], current_app.config["SECRET_KEY_FALLBACKS"])


@contextlib.contextmanager
def _store() -> Iterator[None]:
    """The database, with its troubles told in a sentence."""
    try:
        with models.database.connection_context():
            if not Member.table_exists():
                raise Failed("データベースがまだありません。先に flask db upgrade を実行してください。")
            yield
    except (stores.Busy, CannotWrite) as refused:
        raise Failed(str(refused)) from refused
    except (sqlite3.Error, peewee.DatabaseError, OSError) as broken:
        raise Failed(f"保存できませんでした。データベースは元のままです（{broken}）。空き容量などを確かめてください。") from broken


@click.group()
def db() -> None:
    """The database's schema."""


@db.command()
def upgrade() -> None:
    """Create or upgrade the schema; safe to repeat."""
    if stores.is_sqlite():
        Path(models.database.database).parent.mkdir(parents=True, exist_ok=True)
    try:
        with models.database.connection_context(), stores.alone(seconds=60):
            done = Runner(models.database.obj, str(MIGRATIONS)).up()
    except stores.Busy as busy:
        raise Failed(str(busy)) from busy
    click.echo("\n".join(done) or "The schema is up to date.")


@click.group()
def roster() -> None:
    """The roster (加入者CSV)."""


def _choices(command: Any) -> Any:
    """What check and import have in common."""
    for option in (
        click.argument("file", type=click.Path(exists=True, dir_okay=False, readable=True, path_type=Path)),
        click.option("--full", is_flag=True, help="The file is the whole roster: who is missing ends as of today."),
        click.option("--allow-ending", type=int, metavar="N", help="Let N people end, though they are more than 5 %."),
        click.option("--allow-changes", type=int, metavar="N", help="Let N people change birth date, name or sex."),
        click.option("--era-codes", type=click.Choice(list(ERA_CODES)), default="pension", help="Whose era digits dates have."),
        click.option("--report", type=click.Path(dir_okay=False, path_type=Path), help="Write all messages into this CSV file."),
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
@click.option("--credentials", type=click.Path(dir_okay=False, path_type=Path), help="Write new IDs and temporary passwords here.")
def import_(file: Path, report: Path | None, credentials: Path | None, **choices: Any) -> None:
    """Check FILE, then apply it: all or nothing."""
    secret = keys()
    with _store(), stores.alone():
        letters = Letters(credentials) if credentials else None
        if letters:
            resumed = letters.leftover(secret)
            click.echo(resumed) if resumed else None
            if not (resumed and letters.path.exists()):
                letters.refuse_existing()
        _run(file, report, choices, secret, letters)


@roster.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), default="roster-template.csv")
def template(file: Path) -> None:
    """Write a roster to fill in, with two fictional people, for Excel."""
    try:
        with file.open("x", encoding="utf-8-sig", newline="") as out:
            names = [name for name in TITLES if name != "person_id"]
            writer = csv.writer(out)
            writer.writerow([TITLES[name].japanese for name in names])
            writer.writerows([*row, *[""] * (len(names) - len(row))] for row in TEMPLATE_ROWS)
    except OSError as broken:
        raise Failed(f"{file} を作れません。同じ名前のファイルがないか確かめてください（{broken.strerror}）。") from broken
    click.echo(f"{file} を作りました。見本の2行を消して、加入者を入力してください。")


def _run(file: Path, report: Path | None, choices: dict[str, Any], secret: Keys | None = None, letters: Letters | None = None) -> None:
    """Check, and where `secret` is given apply. The last line of stdout has the counts; exit status 1 with errors."""
    now = moment()
    today = models.today(now)
    era_codes = choices.pop("era_codes")
    made = None
    with _store(), Findings(report) as findings, imports.planning() as work:
        try:
            source = Roster(file, current_app.config["INSURERS"], today, era_codes)
            with _progress(file) as progress:
                made = imports.plan(work, source, findings, today, progress=progress, **choices)
            if not findings.errors:
                _tell_plan(made)
        except Unreadable as sentence:
            findings.refuse(str(sentence))
        if made and not findings.errors and made.letters_needed and not letters:
            text = f"新しい仮パスワードが{made.letters_needed}人分あります。取り込むときは --credentials FILE で書き出し先を指定してください。"
            findings.refuse(text) if secret else click.echo(text)
        if made and not findings.errors and secret:
            if letters and made.letters_needed:
                letters.refuse_existing()
            imports.apply(made, secret, letters if made.letters_needed else None, now)
            _tell_letters(made, letters)
    _tell_findings(findings, report)
    counts = (made.added, made.changed, made.ended, made.unchanged) if made else (0, 0, 0, 0)
    click.echo(
        "added={} changed={} ended={} unchanged={} ".format(*counts)
        + f"repaired={findings.repaired} warnings={findings.warnings} errors={findings.errors}"
    )
    if findings.errors:
        raise SystemExit(1)


@contextlib.contextmanager
def _progress(file: Path) -> Iterator[Any]:
    """A bar on a terminal; a line now and then in a pipe."""
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


def _tell_plan(made: imports.Plan) -> None:
    title = made.roster.title
    click.echo(f"文字コード {made.roster.encoding}、{made.roster.rows}行を読みました。")
    if made.roster.delimiter != ",":
        click.echo("タブ区切りとして読みました。" if made.roster.delimiter == "\t" else "セミコロン区切りとして読みました。")
    if example := made.roster.era_example():
        click.echo(f"元号コードの日付の読み方: {example}")
    click.echo(f"追加 {made.added}人、変更 {made.changed}人、終了 {made.ended}人、変更なし {made.unchanged}人")
    for name, count in made.fields.items():
        click.echo(f"  変更: {title(name)} {count}人")
    if made.hidden:
        click.echo(f"  不開示になる人 {len(made.hidden)}人（ログイン、メールアドレスを消します）")
    for _, line in made.lifted:
        click.echo(f"  不開示の解除: {line}行目の人がWebに表示されるようになります")


def _tell_letters(made: imports.Plan, letters: Letters | None) -> None:
    if letters and letters.written:
        click.echo(f"{letters.path} に{letters.written}人分の仮パスワードを書きました。印刷したら消してください。")
    if made.left_out:
        click.echo(f"不開示の本人あてになる家族{made.left_out}人分は書いていません。flask members reissue で宛名を決めて作れます。")


def _tell_findings(findings: Findings, report: Path | None) -> None:
    for message in findings.messages:
        click.echo(message)
    more = findings.errors + findings.warnings - len(findings.messages)
    if more > 0:
        where = f"{report} にすべてあります" if report else "--report FILE を付けるとすべて書き出します"
        click.echo(f"ほかに{more}件あります。{where}。")
    for column, (count, example) in findings.repairs.items():
        click.echo(f"補正: {column} {count}件（例: {example}）")


@click.group()
def members() -> None:
    """One person's account."""


def _account(login_id: str) -> Account:
    found = accounts.find(login_id)
    if found is None:
        raise Failed(f"ログインID {login_id} のアカウントはありません。")
    return found


@members.command()
@click.argument("login_id")
def show(login_id: str) -> None:
    """Say what is stored about one person."""
    with _store():
        account, now = _account(login_id), moment()
        member: Member = account.member
        running = [s for s in Session.select().where(Session.account == account.member_id) if s.runs_at(now)]
        trusts = Trust.select().where(Trust.account == account.member_id, Trust.expires_at > int(now)).count()
        for title, value in (
            ("ログインID", grouped(account.login_id)),
            ("氏名", member.name),
            ("保険者番号・記号・番号・枝番", " ".join((member.insurer_number, member.symbol, member.number, member.branch or "なし"))),
            ("資格取得年月日", member.qualified_on),
            ("資格喪失年月日", member.lost_on or "なし"),
            ("資格確認書", member.state_on(models.today(now))),
            ("最後の有効な日", member.last_day or "なし"),
            ("登録", "済み" if account.password_hash else "まだ（仮パスワード）"),
            ("メールアドレス", accounts.mask(account.email) if account.email else "なし"),
            ("ログイン中の端末", len(running)),
            ("信頼している端末", trusts),
        ):
            click.echo(f"{title}: {value}")


@members.command()
@click.argument("login_id")
@click.option("--credentials", type=click.Path(dir_okay=False, path_type=Path), required=True, help="Write the new password here.")
@click.option("--keep-email", is_flag=True, help="Keep the e-mail address.")
@click.option("--addressee", help="To whom the letter goes; the subscriber, if not given.")
def reissue(login_id: str, credentials: Path, keep_email: bool, addressee: str | None) -> None:
    """Give a new temporary password. Ends every session and trust, and the present password."""
    secret, letters = keys(), Letters(credentials)
    with _store(), stores.alone(seconds=60):
        if told := letters.leftover(secret):
            click.echo(told)
        letters.refuse_existing()
        account, now = _account(login_id), moment()
        member: Member = account.member
        password = next(iter(temporary_passwords(1)))
        number = member.insurer_number, member.symbol, member.number, member.branch
        who = member.person_id, member.name, addressee or _addressee(member), member.workplace
        changes: dict[str, Any] = {"temporary_hash": secret.hash_temporary([password])[0], "password_hash": None}
        changes |= {"registered_at": None} | ({} if keep_email else {"email": None, "email_key": None})
        try:
            letters.write([Letter(account.login_id, password, *number, *who)])
            letters.sync()
            with models.transaction():
                accounts.end_everything(account, now)
                Mail.delete().where(Mail.account == account.member_id, Mail.state.in_(("waiting", "sending"))).execute()
                Account.update(**changes).where(Account.member == account.member_id).execute()
                accounts.note(now, "account.reissued", None, account.member_id)
        except BaseException:
            letters.discard()
            raise
        letters.publish()
    click.echo(f"{credentials} に新しい仮パスワードを書きました。印刷したら消してください。")


def _addressee(member: Member) -> str:
    """Who gets the letter: the subscriber, unless nothing may go to them."""
    if member.relation == models.SUBSCRIBER:
        return member.name
    heads = Member.select().where(Member.household == member.household, Member.relation == models.SUBSCRIBER)
    head = heads.order_by(Member.id.desc()).first()
    if head is None or head.withheld:
        raise Failed("この人のお手紙を本人（被保険者）あてには出せません。--addressee で宛名を指定してください。")
    return head.name


@members.command()
@click.argument("login_id")
def withhold(login_id: str) -> None:
    """Protect a person at once: their account, address, sessions and trusts are deleted, nobody sees them."""
    with _store(), stores.alone(seconds=60):
        account = _account(login_id)
        with models.transaction():
            Member.update(withheld=True).where(Member.id == account.member_id).execute()
            accounts.withhold([account.member_id])
            accounts.note(moment(), "member.withheld", None, account.member_id, "command")
    click.echo("不開示にしました。ログイン、メールアドレスを消しました。戻すには名簿の不開示を 0 にして取り込みます。")


@members.command()
@click.option("--left-before", type=Day(), required=True, help="Those whose cover ended before this day.")
def purge(left_before: dt.date) -> None:
    """Delete the people who left before a day, with all that is stored of them."""
    now = moment()
    if left_before > models.today(now):
        raise click.BadParameter("今日より後の日は指定できません。", param_hint="--left-before")
    with _store(), stores.alone(seconds=60), models.transaction():
        gone = Member.delete().where(Member.lost_on < left_before).execute()
        accounts.note(now, "members.purged", None, None, f"left_before={left_before} count={gone}")
    click.echo(f"{left_before} より前に資格を喪失した{gone}人を消しました。")


@click.group()
def audit() -> None:
    """What happened, to whom, by whom."""


@audit.command()
@click.option("--since", type=Day(), help="From this day on.")
def export(since: dt.date | None) -> None:
    """Write the audit trail and the displays of certificates as CSV, oldest first."""
    start = int(dt.datetime.combine(since, dt.time(), models.JST).timestamp()) if since else 0
    shown = Display.select(Display.started_at, peewee.Value("certificate.shown"), Display.viewer, Display.member, peewee.Value(""))
    noted = Audit.select(Audit.at, Audit.action, Audit.actor, Audit.member, Audit.detail)
    rows = noted.where(Audit.at >= start).union_all(shown.where(Display.started_at >= start))
    click.echo("\ufeff", nl=False)
    with _store():
        _print_csv([("日時", "操作", "実行者", "対象", "詳細")])
        for at, *rest in rows.order_by(peewee.SQL("1")).tuples().iterator():
            _print_csv([(f"{dt.datetime.fromtimestamp(at, models.JST):%Y-%m-%d %H:%M:%S}", *rest)])


def _print_csv(rows: list[tuple[Any, ...]]) -> None:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([plain_cell(value) for value in row] for row in rows)
    click.echo(out.getvalue(), nl=False)


@click.group()
def mail() -> None:
    """The mail settings."""


@mail.command()
@click.argument("address")
def test(address: str) -> None:
    """Send one mail to ADDRESS."""
    import mailer

    to = accounts.clean_email(address)
    if to is None:
        raise click.BadParameter(f"{address} はメールアドレスではありません。", param_hint="ADDRESS")
    if not (current_app.config["MAIL_URL"] and current_app.config["MAIL_FROM"]):
        raise Failed("KAKUNIN_MAIL_URL と KAKUNIN_MAIL_FROM を設定してください。")
    try:
        mailer.send_test(current_app.config, to)
    except (OSError, smtplib.SMTPException) as broken:
        raise Failed(f"メールを送れませんでした（{broken}）。KAKUNIN_MAIL_URL と KAKUNIN_MAIL_FROM を確かめてください。") from broken
    click.echo(f"{address} へ送りました。届いたか確かめてください。")
