"""Measure how long after each cause an open certificate says that it has ended. The time runs from
when the cause was done."""

from __future__ import annotations

import csv
import http.client
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from collections.abc import Callable
from pathlib import Path

from flask import Flask
from flask.sessions import SecureCookieSessionInterface

import accounts
import dates
import models
from accounts import passwords, sessions
from accounts.keys import fold_typed
from bench.live import line
from database import connect, database
from tests.support.servers import ROOT, environment, serving

PASSWORD, NEW = "correct horse battery 9", "four silent otters 31"
CAUSES = ("loss", "paper", "withheld", "logout", "password", "reissue", "trust")
HEADER = "保険者番号,記号,番号,枝番,氏名,生年月日,性別,本人家族区分,資格取得年月日,資格喪失年月日,交付事由,交付方法,交付年月日,有効期限"


def roster(path: Path, **changed: tuple[str, str]) -> None:
    """Write a roster with a household of one person for each cause. `changed` gives the 資格喪失年月日 and
    交付方法 of a cause."""
    today = dates.today(time.time())
    since, until = (
        today.replace(day=1, year=today.year - 1),
        today.replace(day=1, year=today.year + 1),
    )
    rows = []
    for number, cause in enumerate(CAUSES, 1):
        lost, way = changed.get(cause, ("", "WEB"))
        rows.append(
            f"06139463,1,{number},00,{cause},1980-01-01,1,本人,2010-04-01,{lost},2,{way},{since},{until}"
        )
    path.write_text("\n".join([HEADER, *rows]) + "\n", "utf-8")


def main() -> None:
    print("How long an open certificate outlives its cause (15 s at the most)")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        env = environment(folder) | {"FLASK_APP": "app"}
        file = folder / "roster.csv"

        def flask(*arguments: str) -> None:
            command = [str(Path(sys.executable).parent / "flask"), *arguments]
            subprocess.run(command, cwd=ROOT, env=os.environ | env, check=True, capture_output=True)

        def change(cause: str, lost: str, way: str) -> Callable[[], object]:
            def run() -> None:
                path = folder / f"{cause}.csv"
                roster(path, **{cause: (lost, way)})
                flask("roster", "import", str(path))

            return run

        roster(file)
        flask("db", "upgrade")
        flask("roster", "import", str(file), "--credentials", str(folder / "letters.csv"))
        with (folder / "letters.csv").open(encoding="utf-8-sig") as letters:
            ids = {row["氏名"]: fold_typed(row["ログインID"]) for row in csv.DictReader(letters)}
        cookies = _log_in(env, ids)
        with serving("app:serve", **env) as (port, _):

            def post(cause: str, path: str, **fields: str) -> Callable[[], object]:
                other = cookies[f"{cause}2"]  # the same person on another phone
                return lambda: _request(
                    port, path, other, {k.replace("_", "-"): v for k, v in fields.items()}
                )

            today = dates.today(time.time()).isoformat()
            how = {
                "loss": change("loss", today, "WEB"),
                "paper": change("paper", "", "紙"),
                "withheld": lambda: flask("members", "withhold", ids["withheld"]),
                "logout": post("logout", "/account/sessions/end"),
                "password": post(
                    "password", "/account/password", password=PASSWORD, new_password=NEW
                ),
                "reissue": lambda: flask(
                    "members", "reissue", ids["reissue"], "--credentials", str(folder / "again.csv")
                ),
                "trust": post(
                    "trust", "/account/trusts/remove", trust=sessions.trust_id("secret-of-trust")
                ),
            }
            for cause in CAUSES:
                line(cause, f"{_outlives(port, cookies[cause], how[cause]):.1f} s")


def _log_in(env: dict[str, str], ids: dict[str, str]) -> dict[str, str]:
    """Register everybody and log them in on two phones. Return the session cookie of each phone."""
    connect(env["KAKUNIN_DATABASE_URL"])
    app, now = Flask(__name__), int(time.time())
    app.secret_key = env["KAKUNIN_SECRET_KEY"]
    serializer = SecureCookieSessionInterface().get_signing_serializer(app)
    assert serializer is not None
    hashed, cookies = passwords.hash_password(PASSWORD), {}
    for cause, login_id in ids.items():
        account = accounts.find(login_id)
        assert account is not None
        email = f"{cause}@example.jp"
        changes = {
            "password_hash": hashed,
            "temporary_hash": None,
            "email": email,
            "email_key": email,
        }
        models.Account.update(**changes).where(models.Account.member == account.member_id).execute()
        trust = sessions.trust_id(f"secret-of-{cause}")
        models.Trust.create(id=trust, account=account, created_at=now, expires_at=now + 86400)
        for phone, kept in ((cause, trust), (f"{cause}2", None)):
            models.Session.create(
                id=phone, account=account, trust=kept, created_at=now, seen_at=now
            )
            cookies[phone] = f"session={serializer.dumps({'_user_id': phone})}"
    database.close_all()
    return cookies


def _request(
    port: int, path: str, cookie: str, fields: dict[str, str] | None = None
) -> tuple[str, str]:
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    headers = {
        "Cookie": cookie,
        "Sec-Fetch-Site": "same-origin",
        "Content-Type": "application/x-www-form-urlencoded",
    }
    body = urllib.parse.urlencode(fields) if fields is not None else None
    link.request("GET" if fields is None else "POST", path, body, headers)
    answer = link.getresponse()
    text = answer.read().decode()
    if answer.status not in (200, 303):
        raise RuntimeError(f"{path} answered {answer.status}")
    return text, answer.headers.get("Set-Cookie", "")


def _outlives(port: int, cookie: str, cause: Callable[[], object]) -> float:
    """Return the seconds from the cause to the end of the display. The cause comes four seconds
    after the page was opened."""
    home, _ = _request(port, "/", cookie)
    page, _ = _request(port, re.findall(r'href="(/certificates/[^"]+)"', home)[0], cookie)
    clock = re.findall(r'hx-get="(/certificates/[^"]+)"', page)[0]
    done: list[float] = []

    def act() -> None:
        time.sleep(4)
        cause()
        done.append(time.monotonic())

    threading.Thread(target=act).start()
    lease, ended, began = "", 0.0, time.monotonic()
    while time.monotonic() < began + 60:
        tick, given = _request(port, clock, f"{cookie}; {lease}" if lease else cookie)
        if 'class="live' not in tick:
            ended = time.monotonic()
            break
        lease = given.split(";")[0] if "lease=" in given else lease
        time.sleep(1)
    while not done:
        time.sleep(0.01)
    return max(0.0, ended - done[0]) if ended else float("inf")


if __name__ == "__main__":
    main()
