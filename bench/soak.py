"""Hold phones live for ten minutes, while people log in and register, and while in each minute a
roster with newcomers is imported and PostgreSQL restarts. Then do the same on SQLite, which has
nothing to restart. What grows has to be data."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen
from typing import Any

import models
from accounts.keys import Keys, fold_typed
from bench import roster_file
from bench.live import line
from bench.memory import resident
from database import AWAY, connect, database
from tests.support.browser import Browser
from tests.support.crowd import hold
from tests.support.displays import give_passwords, log_in, open_displays
from tests.support.machines import workers
from tests.support.people import PASSWORD
from tests.support.postgres import Cluster
from tests.support.servers import ROOT, environment, serving

PHONES = int(os.environ.get("SOAK_PHONES", "2000"))
MINUTES = int(os.environ.get("SOAK_MINUTES", "10"))  # a card lives for fifteen
LOGINS = 2  # a second
NEWCOMERS = 20  # a minute
PATIENCE = 10  # seconds in which people ask again if there is no place or no database


class Soak:
    """One server, its database, and all that is done to both. `done` and `failed` count it."""

    def __init__(self, folder: Path, cluster: Cluster | None) -> None:
        self.folder, self.cluster = folder, cluster
        self.env = environment(folder) | {
            "WORKERS": "2",
            "KAKUNIN_PROXIES": "1",
            "KAKUNIN_MAIL_URL": f"outbox://{folder}/outbox",
        }
        if cluster:
            self.env["KAKUNIN_DATABASE_URL"] = cluster.url()
        self.keys = Keys(self.env["KAKUNIN_SECRET_KEY"])
        self.done, self.failed, self.over = Counter[str](), Counter[str](), threading.Event()

    def run(self) -> None:
        phones = open_displays(self.env, PHONES)
        give_passwords(range(1, PHONES + 1))
        connect(self.env["KAKUNIN_DATABASE_URL"])
        with serving("app:serve", **self.env) as (port, process):
            work = [
                threading.Thread(target=self.log_in, args=(port,)),
                threading.Thread(target=self.each_minute, args=(port, process)),
            ]
            for thread in work:
                thread.start()
            outcome = hold(port, phones, MINUTES * 60 + 5)
            self.over.set()
            for thread in work:
                thread.join()
        with database.connection_context():
            kept = models.Session.select().count() - PHONES
        database.close_all()
        line("ticks missed", f"{outcome.missed:,}", f"of {PHONES * int(outcome.seconds):,}")
        line("  phones veiled", f"{len(outcome.veiled):,}")
        for name in self.done | self.failed:
            line(name, f"{self.done[name]:,}", f"{self.failed[name]:,} failed")
        begun = self.done["logins"] + self.done["first uses"]
        line("sessions begun, and stored", f"{begun:,}, {kept:,}", "the same")

    def log_in(self, port: int) -> None:
        """Log one member after the other in, and open home and the certificate."""
        for number in range(1, PHONES + 1):
            if self.over.wait(1 / LOGINS):
                return
            browser = visitor(port, number)
            self.count("logins", 303, log_in, browser, number, self.keys)
            for name, path in (("homes", "/"), ("certificates", f"/certificates/cert{number}")):
                self.count(name, 200, opened, browser, path)
            browser.link.close()

    def each_minute(self, port: int, process: Popen[bytes]) -> None:
        """Import, register the newcomers, restart the database, and print what is held."""
        print(
            "  minute   MB of each worker     files   threads   connections   log MB   MB      rows"
        )
        began = time.monotonic()
        for minute in range(1, MINUTES + 1):
            self.count("imports", 0, self.bring, minute)
            self.register(port, minute)
            if self.cluster:
                self.cluster.stop()
                self.cluster.start()
                self.done["restarts of the database"] += 1
            time.sleep(max(0, began + minute * 60 - time.monotonic()))
            print(f"  {minute:6}   {self.held(process)}", flush=True)

    def count(self, name: str, right: int, act: Callable[..., int], *args: Any) -> None:
        """Do something and count whether it returns the right status. If this bench's own query met
        a restart, do it again."""
        for _ in range(PATIENCE):
            try:
                (self.done if act(*args) == right else self.failed)[name] += 1
                return
            except AWAY:
                time.sleep(1)
        self.failed[name] += 1

    def bring(self, minute: int) -> int:
        """Import the roster of this minute, which holds the newcomers of all earlier ones too.
        Return the exit status."""
        roster_file.write(self.folder / f"roster{minute}.csv", minute * NEWCOMERS)
        program = [sys.executable, "-m", "flask", "roster", "import"]
        files = [f"roster{minute}.csv", "--credentials", f"letters{minute}.csv"]
        done = subprocess.run(
            [*program, *(str(self.folder / file) if "." in file else file for file in files)],
            cwd=ROOT,
            env=os.environ | self.env,
            capture_output=True,
            check=False,
        )
        return done.returncode

    def register(self, port: int, minute: int) -> None:
        """Let each newcomer of this minute use their letter."""
        born = {row[0]: row[7] for row in roster_file.rows(minute * NEWCOMERS)}
        with (self.folder / f"letters{minute}.csv").open(encoding="utf-8-sig") as file:
            for number, letter in enumerate(csv.DictReader(file)):
                browser = visitor(port, minute * NEWCOMERS + number)
                self.count("first uses", 303, self.use, browser, letter, born[letter["加入者ID"]])
                browser.link.close()

    def use(self, browser: Browser, letter: dict[str, str], birthday: str) -> int:
        """Register with a letter, and return the status of the last form that was answered."""
        login_id, temporary = letter["ログインID"], letter["仮パスワード"]
        email = f"{fold_typed(login_id)}@example.jp"
        browser.ask("/login", username=login_id, password=temporary)
        status, _ = browser.ask("/welcome", bday=birthday, new_password=PASSWORD, email=email)
        if status != 303:
            return status
        with database.connection_context():
            code = self.keys.code(models.Challenge.get(models.Challenge.email == email))
        return browser.ask("/welcome/code", code=code)[0]

    def held(self, process: Popen[bytes]) -> str:
        """Return what the workers and the database hold: memory, open files, threads, connections,
        the database's log, its size, and its rows."""
        of_each = [Path(f"/proc/{worker}") for worker in workers(process)]
        files, threads = (
            sum(len(list((worker / part).iterdir())) for worker in of_each)
            for part in ("fd", "task")
        )
        with database.connection_context():
            rows = sum(table.select().count() for table in models.TABLES)
            if self.cluster:
                connections, log, size = (
                    database.execute_sql(query).fetchone()[0] for query in QUERIES
                )
            else:
                connections, file = 0, self.folder / "kakunin.db"
                log, size = (self.folder / "kakunin.db-wal").stat().st_size, file.stat().st_size
        return (
            f"{resident(process)!s:19}   {files:5}   {threads:7}   {connections:11}"
            f"   {log / 1e6:6.0f}   {size / 1e6:4.0f}   {rows:7,}"
        )


QUERIES = (
    "SELECT count(*) - 1 FROM pg_stat_activity WHERE backend_type = 'client backend'",
    "SELECT sum(size)::float FROM pg_ls_waldir()",
    "SELECT pg_database_size(current_database())",
)


def visitor(port: int, number: int) -> Browser:
    """Return the browser of somebody at an address of their own."""
    return Browser(port, f"10.{number >> 8}.{number & 255}.1", patience=PATIENCE)


def opened(browser: Browser, path: str) -> int:
    return browser.ask(path)[0]


def main() -> None:
    for cluster in (Cluster(options=""), None):
        name = "PostgreSQL, which restarts each minute" if cluster else "SQLite"
        print(f"{MINUTES} minutes with {PHONES:,} phones on {name}")
        with tempfile.TemporaryDirectory() as folder:
            if cluster:
                with cluster:
                    Soak(Path(folder), cluster).run()
            else:
                Soak(Path(folder), None).run()


if __name__ == "__main__":
    main()
