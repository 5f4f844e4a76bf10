"""flask demo: the server with a fictional roster."""

from __future__ import annotations

import contextlib
import csv
import datetime as dt
import ipaddress
import json
import os
import secrets
import shutil
import subprocess
import sys
import time
import unicodedata
from pathlib import Path

import click
import segno

import accounts
import dates
import models
import settings
from accounts import passwords
from commands.server import listening, start
from database import connect, database
from settings import own_addresses

DEMO = settings.INSTANCE / "demo"
OUTBOX = settings.INSTANCE / "outbox"
INSURER = {
    "name": "かくにん健康保険組合",
    "address": "東京都千代田区架空町1-2-3",
    "phone": "03-0000-1234",
    "hours": "平日9時から17時",
}


REGISTERED = "青葉 直人"
SHOWS = {
    REGISTERED: "certificates: own, and two children's",
    "青葉 美咲": "first use, then the certificate",
    "青葉 陽葵": "the same, by a child's own ID",
    "青葉 蓮": "the same",
    "青葉 フミ": "the certificate is on paper",
    "戸川 さくら": "none: uses the My Number card",
    "李 明": "a note on the certificate",
    "濵﨑 ●子": "the certificate begins in 8 days",
    "森田 剛": "the cover ended 60 days ago",
}
"""The people in the roster, and what each of them sees."""


@click.command()
def demo() -> None:
    """Serve a fictional roster, begun anew; mails come to the terminal and to instance/outbox."""
    host, port = listening("demo")
    base = f"http://{_seen_as(host)}:{port}"
    for folder in (DEMO, OUTBOX):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
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
        # granian's own lines would separate the people above from the mails below
        "GRANIAN_LOG_LEVEL": "error",
    }
    letters = _import()
    _register(*letters[REGISTERED])
    click.echo("\n".join(_welcome(base, letters)))
    if not settings.is_loopback(base):
        segno.make(base).terminal(out=sys.stdout, compact=True)
    sys.stdout.flush()
    start(host, port)


def _seen_as(host: str) -> str:
    """Return the host of the address to open. It is localhost if possible, since browsers have no
    passkeys under IP addresses."""
    address = ipaddress.ip_address(host)
    if address.is_unspecified:
        return next((a for a in sorted(own_addresses()) if _is_outside(a)), "localhost")
    if address.is_loopback:
        return "localhost"
    return f"[{host}]" if address.version == 6 else host


def _is_outside(name: str) -> bool:
    """Return whether this is an IPv4 address that other machines can reach."""
    with contextlib.suppress(ValueError):
        return not ipaddress.IPv4Address(name).is_loopback
    return False


def _import() -> dict[str, tuple[str, str]]:
    """Import the roster, and return the login ID and the temporary password of each name. Raise
    ClickException if a command fails."""
    roster, letters = DEMO / "roster.csv", DEMO / "letters.csv"
    write_roster(roster, dates.today(time.time()))
    for arguments in (
        ["db", "upgrade"],
        ["roster", "import", str(roster), "--credentials", str(letters)],
    ):
        command = [sys.executable, "-m", "flask", "--app", "app", *arguments]
        done = subprocess.run(  # noqa: S603 - our own commands
            command, cwd=settings.ROOT, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise click.ClickException(f"{' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")
    return {row["氏名"]: (row["ログインID"], row["仮パスワード"]) for row in _rows(letters)}


def _register(login_id: str, password: str) -> None:
    """Register the person as if it was long ago. The password is the one in the letter."""
    database.close_all() if database.obj else None
    connect(os.environ["KAKUNIN_DATABASE_URL"])
    account = accounts.find(login_id)
    assert account is not None
    hashed = passwords.hash_password(password)
    entered = models.Challenge(account=account, email="nao@kakunin.example", password_hash=hashed)
    accounts.finish_registration(entered, time.time())
    models.Mail.delete().execute()  # otherwise the welcome would be the first mail that the demo prints
    database.close_all()


def _welcome(base: str, letters: dict[str, tuple[str, str]]) -> list[str]:
    """Return the lines that say what to do, with a table of the people."""
    login_id, password = letters[REGISTERED]
    scan, narrow = ("", ""), ("", "")
    if settings.is_loopback(base):
        narrow = (
            " On a computer, make the window narrower than 600 px,\n"
            "     or stop, run `make demo HOST=0.0.0.0`, and scan the code that it prints.",
            "パソコンでは、ウィンドウの幅を600ピクセルより\n"
            "     狭くします。make demo HOST=0.0.0.0 なら、スマートフォンでも試せます。",
        )
    else:
        scan = (
            "\n     On a phone, scan the code below to open it.",
            "\n     スマートフォンでは、下のコードを読み取ると開きます。",
        )
    born = {row["氏名"]: row["生年月日"] for row in _rows(DEMO / "roster.csv")}
    titles = "login ID", "password", "birth date", "who", "what to see"
    table = [titles, *((*letters[name], born[name], name, SHOWS[name]) for name in letters)]
    wide = [max(map(_width, column)) for column in zip(*table, strict=True)]
    return [
        "",
        f"  Kakunin  {base}",
        "",
        f"  1  Open {base} and log in as {REGISTERED}: {login_id}, {password}{scan[0]}",
        "  2  Type the six digits of the mail that appears below.",
        f"  3  Press 資格確認書を表示する.{narrow[0]}",
        "",
        f"  1  {base} を開き、{REGISTERED}さんのIDとパスワードでログインします。{scan[1]}",
        "  2  この下に出るメールの、6桁の数字を入力します。",
        f"  3  「資格確認書を表示する」を押します。{narrow[1]}",
        "",
        *("  " + "  ".join(map(_padded, row, wide)).rstrip() for row in table),
        "",
        "  All but the first are asked for the birth date once. Mails are kept in instance/outbox.",
        "",
    ]


def _width(text: str) -> int:
    """Return the width of the text in columns of a terminal."""
    return len(text) + sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)


def _padded(text: str, width: int) -> str:
    return text + " " * (width - _width(text))


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def write_roster(path: Path, day: dt.date) -> None:
    """Write a roster of six households, with every state of a certificate on `day`."""
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
