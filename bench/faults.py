"""Break what a server stands on, one thing after the other, while phones are live behind nginx with
TLS and people log in. Print what they missed, how soon all was well again, and what was lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import LiteralString

import psycopg

import models
from accounts.keys import Keys
from database import AWAY, connect, database
from tests.support.browser import Browser
from tests.support.crowd import Outcome, hold
from tests.support.displays import give_passwords, log_in, open_displays
from tests.support.machines import Machine, Nginx, workers
from tests.support.postgres import Cluster, free_port
from tests.support.servers import environment
from tests.support.volumes import Volume

PHONES = int(os.environ.get("FAULT_PHONES", "200"))
PEOPLE = 600
BEFORE, AFTER = 5, 15
"""Seconds before a fault, and after it was mended."""


@dataclass
class Fault:
    """What is broken, for how many seconds, and how it is mended."""

    name: str
    hit: Callable[[], object]
    seconds: float = 0
    mend: Callable[[], object] = lambda: None


class People:
    """Log one member after the other in, twice a second, and look at home and the certificate.
    `answers` has when each was done and whether all was well, `begun` the sessions that started."""

    def __init__(self, port: int, keys: Keys) -> None:
        self.port, self.keys, self.begun = port, keys, 0
        self.members = cycle(range(1, PEOPLE + 1))
        self.answers: list[tuple[float, bool]] = []
        self.refused, self.longest = Counter[int](), 0.0

    def visit(self) -> None:
        """Go all the way once, and stop where an answer is not as it should be."""
        number = next(self.members)
        browser = Browser(self.port, f"10.{number >> 8}.{number & 255}.1")
        status = 303
        with suppress(*AWAY):  # this bench's own query met the fault too
            status = log_in(browser, number, self.keys)
            self.begun += status == 303
            for path in ("/", f"/certificates/cert{number}"):
                if status in (200, 303):
                    status, _ = browser.ask(path)
        self.longest = max(self.longest, browser.longest)
        browser.link.close()
        well = status == 200
        self.answers.append((time.monotonic(), well))
        if not well:
            self.refused[status] += 1

    def come(self, over: threading.Event) -> None:
        self.answers, self.refused, self.longest = [], Counter(), 0.0
        while not over.wait(0.5):
            self.visit()


class Scene:
    """A machine with two workers behind nginx, on the given database."""

    def __init__(self, stack: ExitStack, folder: Path, url: str = "") -> None:
        env = environment(folder) | {
            "KAKUNIN_PROXIES": "1",
            "KAKUNIN_MAIL_URL": f"outbox://{folder}/outbox",
        }
        env["KAKUNIN_DATABASE_URL"] = url or env["KAKUNIN_DATABASE_URL"]
        self.phones = open_displays(env, PHONES + PEOPLE)[PEOPLE:]
        give_passwords(range(1, PEOPLE + 1))
        connect(env["KAKUNIN_DATABASE_URL"])
        stack.callback(database.close_all)
        self.machine = Machine(env, workers="2")
        stack.callback(lambda: self.machine.end())
        self.nginx = Nginx(folder, port := free_port(), [self.machine])
        stack.callback(self.nginx.end)
        self.port, self.people = port, People(self.machine.port, Keys(env["KAKUNIN_SECRET_KEY"]))
        self.before = self.sessions()
        time.sleep(1)
        hold(port, self.phones, 12, tls=True)

    def sessions(self) -> int:
        with database.connection_context():
            return models.Session.select().count()

    def worker(self, number: int, signum: int) -> None:
        os.kill(workers(self.machine.process)[number], signum)

    def show(self, fault: Fault) -> None:
        """Let it happen, and print a line of the table."""
        over, mended = threading.Event(), [0.0]

        def happen() -> None:
            time.sleep(BEFORE)
            fault.hit()
            time.sleep(fault.seconds)
            fault.mend()
            mended[0] = time.monotonic()

        threads = [
            threading.Thread(target=happen),
            threading.Thread(target=self.people.come, args=(over,)),
        ]
        for thread in threads:
            thread.start()
        seconds = int(BEFORE + fault.seconds + AFTER)
        outcome = hold(self.port, self.phones, seconds, tls=True)
        over.set()
        for thread in threads:
            thread.join()
        self.tell(fault.name, outcome, mended[0])

    def tell(self, name: str, outcome: Outcome, mended: float) -> None:
        people = self.people
        due = PHONES * int(outcome.seconds)
        back = max([0.0, *(moment - mended for moment, well in people.answers if not well)])
        lost = people.begun - (self.sessions() - self.before)
        refused = [f"{count} × {status or 'none'}" for status, count in people.refused.items()]
        print(
            f"  {name:32}   {outcome.missed:6,} of {due:6,}   {len(outcome.veiled):6}"
            f"   {outcome.longest_gap:7.1f} s   {people.longest:6.1f} s   {back:4.1f} s   {lost:4}"
            f"   {', '.join(refused)}",
            flush=True,
        )


def of_the_server(machine: Machine) -> Iterator[Fault]:
    def send(signum: int, count: int) -> None:
        for pid in sorted(workers(machine.process))[:count]:
            os.kill(pid, signum)

    def restart() -> None:
        machine.end()
        machine.start()

    def kill_all() -> None:
        machine.kill()
        time.sleep(2)
        machine.start()

    yield Fault("one of two workers killed", lambda: send(signal.SIGKILL, 1))
    yield Fault("both workers killed", lambda: send(signal.SIGKILL, 2))
    yield Fault(
        "one worker stopped", lambda: send(signal.SIGSTOP, 1), 10, lambda: send(signal.SIGCONT, 2)
    )
    yield Fault("reload (SIGHUP)", lambda: machine.process.send_signal(signal.SIGHUP))
    yield Fault("restart (SIGTERM)", restart)
    yield Fault("all killed, started 2 s later", kill_all)


def of_postgresql(cluster: Cluster) -> Iterator[Fault]:
    links: list[psycopg.Connection] = []

    def ask(statement: LiteralString) -> None:
        links.append(psycopg.connect(cluster.url()))
        links[-1].execute(statement)

    def let_go() -> None:
        links.pop().close()

    def restart() -> None:
        cluster.stop()
        cluster.start()

    yield Fault("PostgreSQL restarted", restart)
    yield Fault("its connections cut", lambda: ask(CUT), 1, let_go)
    yield Fault("stopped", cluster.stop, 20, cluster.start)
    for seconds in (4, 30):
        yield Fault(
            f"frozen for {seconds} s",
            lambda: cluster.signal(signal.SIGSTOP),
            seconds,
            lambda: cluster.signal(signal.SIGCONT),
        )
    yield Fault("LOCK TABLE session, 3 s", lambda: ask("LOCK TABLE session"), 3, let_go)
    yield Fault("LOCK TABLE member, 20 s", lambda: ask("LOCK TABLE member"), 20, let_go)


CUT: LiteralString = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
)
TESTED = (
    *("tests/faults/test_clock.py", "tests/faults/test_mail.py", "tests/faults/test_disk.py"),
    *("tests/test_imports.py", "tests/test_upgrades.py", "tests/test_backup.py"),
)


def main() -> None:
    print(f"Faults under {PHONES} live phones")
    print(
        "  fault                              ticks missed         veiled   longest gap"
        "   people     back   lost   people who were refused"
    )
    with ExitStack() as stack:
        volume = stack.enter_context(Volume(64))
        scene = Scene(stack, volume.path)
        for fault in of_the_server(scene.machine):
            scene.show(fault)
        filler: list[Path] = []
        scene.show(
            Fault(
                "SQLite's disk full, 20 s",
                lambda: filler.append(volume.fill()),
                20,
                lambda: filler.pop().unlink(),
            )
        )
    with ExitStack() as stack:
        cluster = stack.enter_context(Cluster(options=""))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        scene = Scene(stack, folder, cluster.url())
        for fault in of_postgresql(cluster):
            scene.show(fault)
    print("  Clocks that step, mail that fails, other disks, and what is killed amid writing:")
    subprocess.run([sys.executable, "-m", "pytest", "-k", "faults or killed", *TESTED], check=False)


if __name__ == "__main__":
    main()
