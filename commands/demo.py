"""flask demo: the server with a fictional roster."""

from __future__ import annotations

import csv
import datetime as dt
import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from pathlib import Path

import click
import segno

import dates
import settings
from commands.server import start
from settings import own_addresses

DEMO = settings.INSTANCE / "demo"
OUTBOX = settings.INSTANCE / "outbox"
INSURER = {
    "name": "かくにん健康保険組合",
    "address": "東京都千代田区架空町1-2-3",
    "phone": "03-0000-1234",
    "hours": "平日9時から17時",
}


@click.command()
def demo() -> None:
    """Serve a fictional roster, begun anew; mails come to the terminal and to instance/outbox."""
    host, port = os.environ.get("HOST", "127.0.0.1"), os.environ.get("PORT", "8000")
    for folder in (DEMO, OUTBOX):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    letters = DEMO / "letters.csv"
    seen_as = host
    if host == "0.0.0.0":  # noqa: S104 - asked for
        seen_as = next((a for a in sorted(own_addresses()) if _is_outside(a)), "127.0.0.1")
    base = f"http://{seen_as}:{port}"
    for name in [name for name in os.environ if name.startswith("KAKUNIN_")]:
        del os.environ[name]
    os.environ |= {
        "KAKUNIN_SECRET_KEY": secrets.token_hex(32),
        "KAKUNIN_DATABASE_URL": f"sqlite:///{DEMO}/kakunin.db",
        "KAKUNIN_MAIL_URL": f"outbox://{OUTBOX}",
        "KAKUNIN_MAIL_FROM": "noreply@kakunin.example",
        "KAKUNIN_BASE_URL": base,
        "KAKUNIN_INSURERS": json.dumps({"06139463": INSURER}),
        "KAKUNIN_INSECURE_COOKIES": "1",
        "KAKUNIN_NOTICE": "これはデモです。人も保険者も架空のものです。",
        "WORKERS": "1",
    }
    roster = DEMO / "roster.csv"
    write_roster(roster, dates.today(time.time()))
    flask = [str(Path(sys.executable).parent / "flask"), "--app", "app"]
    for arguments in (
        ["db", "upgrade"],
        ["roster", "import", str(roster), "--credentials", str(letters)],
    ):
        command = [*flask, *arguments]
        done = subprocess.run(  # noqa: S603 - our own commands
            command, cwd=settings.ROOT, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise click.ClickException(f"{' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")
    click.echo(
        f"\n  Kakunin  {base}\n\n  First use asks the birth date. Mails appear below, and in instance/outbox.\n"
    )
    born = {row["氏名"]: row["生年月日"] for row in _rows(roster)}
    for letter in _rows(letters):
        name = letter["氏名"]
        click.echo(f"  {letter['ログインID']}   {letter['仮パスワード']}   {born[name]}   {name}")
    if host == "0.0.0.0":  # noqa: S104 - asked for
        click.echo("")
        segno.make(base).terminal(out=sys.stdout, compact=True)
    click.echo("")
    sys.stdout.flush()
    start(host, port)


def _is_outside(address: str) -> bool:
    return (
        address.count(".") == 3
        and address.replace(".", "").isdigit()
        and not address.startswith("127.")
    )


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def write_roster(path: Path, day: dt.date) -> None:
    """Write a roster of six households, with every state that a certificate can have on `day`."""
    issued, expires = day - dt.timedelta(days=30), (day + dt.timedelta(days=700)).isoformat()
    baby, child = (
        day.replace(day=1).replace(year=day.year - 3),
        day.replace(day=1).replace(year=day.year - 9),
    )
    soon, gone = (day + dt.timedelta(days=8)).isoformat(), (day - dt.timedelta(days=60)).isoformat()
    header = "保険者番号,記号,番号,枝番,氏名,氏名カナ,生年月日,性別,本人家族区分,資格取得年月日,資格喪失年月日,交付事由,交付方法,交付年月日,有効期限,一部負担金の割合,発効期日,備考,不開示"
    web = f"2,WEB,{issued},{expires}"
    people = [
        f"128,1024,00,青葉 直人,アオバ ナオト,1979-06-12,1,本人,2004-04-01,,{web},,,,",
        f"128,1024,01,青葉 美咲,アオバ ミサキ,1982-09-08,2,家族,2008-05-20,,{web},,,,",
        f"128,1024,02,青葉 陽葵,アオバ ヒマリ,{child},2,家族,{child},,{web},,,,",
        f"128,1024,03,青葉 蓮,アオバ レン,{baby},1,家族,{baby},,{web},,,,",
        f"128,1024,04,青葉 フミ,アオバ フミ,1953-02-11,2,家族,2015-04-01,,8,紙,{issued},{expires},2割,{issued},,",
        "128,2048,00,戸川 さくら,トガワ サクラ,1990-01-05,2,本人,2015-04-01,,,,,,,,,",
        f"れい,3072,00,李 明,リ メイ,1986-07-17,3,本人,2015-04-01,,{web},,,戸籍上の性別は裏面: 男,",
        f"256,4096,00,濵﨑 ●子,ハマサキ ●コ,1968-04-29,2,本人,2015-04-01,,4,WEB,{soon},{expires},,,,",
        f"630,5120,00,森田 剛,モリタ ツヨシ,1961-11-11,1,本人,2015-04-01,{gone},{web},,,,",
    ]
    path.write_text(
        "\n".join([header, *(f"06139463,{person}" for person in people)]) + "\n", "utf-8"
    )
