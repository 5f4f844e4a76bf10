"""flask members | audit: one person's account, and the audit trail."""

from __future__ import annotations

import csv
import datetime as dt
import io
import re
from pathlib import Path
from typing import Any

import click
import peewee
from flask.cli import AppGroup

import accounts
import dates
import models
from accounts import limits, sessions
from accounts.keys import grouped, temporary_passwords
from commands.terminal import NEW_FILE, Day, Failed, keys, moment, store
from database import exclusive_lock, transaction
from imports.letters import CELL_END, Letters
from models import Account, Audit, Display, Member, Passkey, Session, Trust
from roster.cells import fold_width
from roster.findings import plain_cell

members = AppGroup("members", help="One person's account.")


STATES = {
    "valid": "有効",
    "not_yet": "まだ使えません",
    "expired": "期限切れ",
    "ended": "資格終了",
    "paper": "紙",
    "none": "なし",
}
"""Member.state_on in the clerk's words."""


def _account(login_id: str) -> Account:
    found = accounts.find(login_id)
    if found is None:
        raise Failed(f"ログインID {login_id} のアカウントはありません。")
    return found


@members.command()
@click.argument("login_id")
def show(login_id: str) -> None:
    """Say what is stored about one person."""
    with store():
        account, now = _account(login_id), moment()
        member: Member = account.member
        running = [
            s
            for s in Session.select().where(Session.account == account.member_id)
            if s.runs_at(now)
        ]
        trusts = (
            Trust.select()
            .where(Trust.account == account.member_id, Trust.expires_at > int(now))
            .count()
        )
        for title, value in (
            ("ログインID", grouped(account.login_id)),
            ("氏名", member.name),
            (
                "保険者番号・記号・番号・枝番",
                " ".join(
                    (member.insurer_number, member.symbol, member.number, member.branch or "なし")
                ),
            ),
            ("資格取得年月日", member.qualified_on),
            ("資格喪失年月日", member.lost_on or "なし"),
            ("資格確認書", STATES[member.state_on(dates.today(now))]),
            ("最後の有効な日", member.last_day or "なし"),
            ("登録", "済み" if account.password_hash else "まだ（仮パスワード）"),
            ("メールアドレス", accounts.mask(account.email) if account.email else "なし"),
            ("ログイン中の端末", len(running)),
            ("信頼している端末", trusts),
            ("パスキー", Passkey.select().where(Passkey.account == account.member_id).count()),
        ):
            click.echo(f"{title}: {value}")


@members.command()
@click.option("--number", required=True, help="番号, in either width.")
@click.option("--symbol", help="記号; any, if not given.")
@click.option("--birth", type=Day(), help="生年月日.")
@click.option(
    "--name",
    metavar="[NAME]",
    prompt="氏名",
    prompt_required=False,
    help="Part of 氏名 or 氏名カナ. Without a NAME it is asked for, so that no ps shows it.",
)
def find(number: str, symbol: str | None, birth: dt.date | None, name: str | None) -> None:
    """Name the login IDs of those who have this 記号 and 番号, for whoever lost their letter."""
    part = _plain(name or "")
    with store():
        accounts_of = Account.select(Account, Member).join(Member)
        household = (
            "\t" + fold_width(number)
            if symbol is None
            else f"\t{fold_width(symbol)}\t{fold_width(number)}"
        )
        rows = accounts_of.where(Member.household.endswith(household))
        found = [
            account
            for account in rows.order_by(Member.household, Member.branch, Member.id)
            if account.member.household.endswith(household)  # LIKE ignores capitals
            and birth in (None, account.member.birth_date)
            and part in _plain(f"{account.member.name}\n{account.member.kana}")
        ]
        for account in found:
            _print_found(account, dates.today(moment()))
            Audit.note(moment(), "member.found", None, account.member_id)
    if not found:
        raise Failed("この条件に合うログインIDはありません。")


def _plain(text: str) -> str:
    """Return a name for a search, without differences of width and spaces."""
    return re.sub(r"[^\S\n]", "", fold_width(text))


def _print_found(account: Account, day: dt.date) -> None:
    member: Member = account.member
    click.echo(
        f"{grouped(account.login_id)}: {member.name} {member.birth_date}"
        f" 記号 {member.symbol or 'なし'} 番号 {member.number} 枝番 {member.branch or 'なし'}"
        f" 資格確認書 {STATES[member.state_on(day)]} 登録 {'済み' if account.password_hash else 'まだ'}"
    )


@members.command()
@click.argument("login_id")
@click.option(
    "--credentials",
    type=NEW_FILE,
    required=True,
    help="Write the new password here.",
)
@click.option("--keep-email", is_flag=True, help="Keep the e-mail address.")
@click.option(
    "--addressee",
    metavar="[NAME]",
    prompt="宛名",
    prompt_required=False,
    help="To whom the letter goes; the subscriber, if not given. Without a NAME it is asked for, so that no ps shows it.",
)
def reissue(login_id: str, credentials: Path, keep_email: bool, addressee: str | None) -> None:
    """Give a new temporary password. Ends every session, trusted phone and passkey, and the
    present password."""
    secret, letters = keys(), Letters(credentials)
    with store(), exclusive_lock(seconds=60):
        if told := letters.leftover(secret):
            click.echo(told)
        letters.refuse_existing()
        account, now = _account(login_id), moment()
        member: Member = account.member
        password = next(iter(temporary_passwords(1)))
        number = member.insurer_number, member.symbol, member.number, member.branch
        to = " ".join((addressee or "").split()) or _addressee(member, dates.today(now))
        cells = (
            grouped(account.login_id),
            grouped(password),
            *number,
            member.person_id or "",
            member.name,
            to,
            member.workplace,
        )
        changes: dict[str, Any] = {
            "temporary_hash": secret.hash_temporary([password])[0],
            "password_hash": None,
        }
        changes |= {"registered_at": None} | (
            {} if keep_email else {"email": None, "email_key": None}
        )
        try:
            letters.write([CELL_END.join(cells).encode()])
            with transaction():
                sessions.end_everything(account, now)
                accounts.drop_mails(Account.member == account.member_id, address_too=not keep_email)
                Account.update(**changes).where(Account.member == account.member_id).execute()
                # whoever guessed with the letter before must not keep its owner from the new one
                guessed = (limits.BIRTH_DATE, limits.CODE)
                limits.forget(
                    secret, *(limits.Try(limit, str(account.member_id)) for limit in guessed)
                )
                Audit.note(now, "account.reissued", None, account.member_id)
        except BaseException:
            letters.discard()
            raise
        letters.publish()
    click.echo(f"{credentials} に新しい仮パスワードを書きました。印刷したら消してください。")


def _addressee(member: Member, day: dt.date) -> str:
    """Return the addressee of the letter: the subscriber. Raise Failed if there is none, or if
    nothing may be sent to them."""
    if member.relation == models.SUBSCRIBER:
        return member.name
    subscriber = member.subscriber_on(max(day, member.qualified_on))
    if subscriber is None or subscriber.withheld:
        raise Failed(
            "この人のお手紙を本人（被保険者）あてには出せません。--addressee で宛名を指定してください。"
        )
    return subscriber.name


@members.command()
@click.argument("login_id")
def withhold(login_id: str) -> None:
    """Protect a person at once: their account, address, sessions and trusts are deleted, nobody
    sees them."""
    with store(), exclusive_lock(seconds=60):
        account = _account(login_id)
        with transaction():
            Member.update(withheld=True).where(Member.id == account.member_id).execute()
            Member.update(shows_children=False, allowed_by=None).where(
                Member.allowed_by == account.member_id
            ).execute()
            accounts.withhold([account.member_id])
            Audit.note(moment(), "member.withheld", None, account.member_id, "command")
    click.echo(
        "不開示にしました。ログイン、メールアドレスを消しました。戻すには名簿の不開示を 0 にして取り込みます。"
    )


@members.command()
@click.option(
    "--left-before", type=Day(), required=True, help="Those whose cover ended before this day."
)
def purge(left_before: dt.date) -> None:
    """Delete the people who left before a day, with all that is stored of them."""
    now = moment()
    if left_before > dates.today(now):
        raise click.BadParameter("今日より後の日は指定できません。", param_hint="--left-before")
    with store(), exclusive_lock(seconds=60), transaction():
        gone = Member.delete().where(Member.lost_on < left_before).execute()
        unknown = Member.allowed_by.is_null(False) & Member.allowed_by.not_in(
            Member.select(Member.id)
        )
        Member.update(shows_children=False, allowed_by=None).where(unknown).execute()
        Audit.note(now, "members.purged", None, None, f"left_before={left_before} count={gone}")
    click.echo(f"{left_before} より前に資格を喪失した{gone}人を消しました。")


audit = AppGroup("audit", help="What happened, to whom, by whom.")


@audit.command()
@click.option("--since", type=Day(), help="From this day on.")
def export(since: dt.date | None) -> None:
    """Write the audit trail and the displays of certificates as CSV, oldest first."""
    start = int(dt.datetime.combine(since, dt.time(), dates.JST).timestamp()) if since else 0
    shown = Display.select(
        Display.started_at,
        peewee.Value("certificate.shown"),
        Display.viewer,
        Display.member,
        peewee.Value(""),
    )
    noted = Audit.select(Audit.at, Audit.action, Audit.actor, Audit.member, Audit.detail)
    rows = noted.where(Audit.at >= start).union_all(shown.where(Display.started_at >= start))
    click.echo("\ufeff", nl=False)
    with store():
        _print_csv([("日時", "操作", "実行者", "対象", "詳細")])
        for at, *rest in rows.order_by(peewee.SQL("1")).tuples().iterator():
            _print_csv([(f"{dt.datetime.fromtimestamp(at, dates.JST):%Y-%m-%d %H:%M:%S}", *rest)])


def _print_csv(rows: list[tuple[Any, ...]]) -> None:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(
        [plain_cell(value) for value in row] for row in rows
    )
    click.echo(out.getvalue(), nl=False)
