"""Measure how a flood of forms affects live clocks, and people who are logged in or enter their
code."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import models
from accounts.keys import Keys
from bench.live import line
from database import database
from tests.support.browser import Browser
from tests.support.crowd import hold
from tests.support.displays import give_passwords, open_displays
from tests.support.people import PASSWORD
from tests.support.servers import environment, serving

SECONDS = 20
PHONES = 100
COSTLY = '4@8({[<369&#!1/|0$5+7%2"*3+"4@8'
"""Of the passwords that were tried, the one whose strength took longest to estimate."""
TEMPORARY = "KAAAAAAAAAAAAA"


ROUND_TRIP = 0.05
"""Seconds between an answer and the next form of one connection: senders are elsewhere."""


@contextlib.contextmanager
def sending(port: int, path: str, senders: list[tuple[Browser, dict[str, str]]]) -> Iterator[Any]:
    """Send each sender's form over and over in another process. Yield an object whose `value` is
    the number of answers so far."""
    context = multiprocessing.get_context("spawn")
    over, answers = context.Event(), context.Value("i", 0)
    people = [(browser.address, browser.cookies, fields) for browser, fields in senders]
    process = context.Process(target=_send, args=(port, path, people, over, answers), daemon=True)
    process.start()
    try:
        yield answers
    finally:
        over.set()
        process.join(60)


def _send(
    port: int,
    path: str,
    people: list[tuple[str, dict[str, str], dict[str, str]]],
    over: Any,
    answers: Any,
) -> None:
    os.nice(5)

    def send(address: str, cookies: dict[str, str], fields: dict[str, str]) -> None:
        browser = Browser(port, address)
        browser.cookies = cookies
        while not over.is_set():
            browser.ask(path, **fields)
            with answers.get_lock():
                answers.value += 1
            time.sleep(ROUND_TRIP)

    with ThreadPoolExecutor(len(people)) as pool:
        list(pool.map(send, *zip(*people, strict=True)))


def costly_forms() -> None:
    """Send 64 forms of first use at once, with the right birth date and the costliest password,
    while phones are live."""
    with tempfile.TemporaryDirectory() as folder:
        env = environment(Path(folder)) | {"KAKUNIN_PROXIES": "1"}
        phones = open_displays(env, PHONES)
        keys = Keys(env["KAKUNIN_SECRET_KEY"])
        hashed = keys.hash_temporary([TEMPORARY])[0]
        models.Account.update(temporary_hash=hashed, login_id="K234567892").where(
            models.Account.member == 1
        ).execute()
        born = models.Member.get_by_id(1).birth_date.isoformat()
        database.close_all()
        with serving("app:serve", **env) as (port, _):
            letters = [Browser(port, f"10.0.0.{number}") for number in range(64)]
            for browser in letters:
                status, _ = browser.ask("/login", username="K234567892", password=TEMPORARY)
                assert status == 303
            form = {"bday": born, "new_password": COSTLY, "email": "x"}
            with sending(port, "/welcome", [(browser, form) for browser in letters]) as answers:
                time.sleep(3)
                outcome = hold(port, phones, SECONDS)
    line("64 costly forms at once: p99 of a tick", f"{outcome.percentile(0.99):.0f} ms", "100 ms")
    line("  the longest without a live fragment", f"{outcome.longest_gap:.1f} s", "2 s")
    line(
        "  ticks missed",
        f"{outcome.missed}",
        f"of {PHONES * SECONDS:,}; {answers.value:,} forms answered",
    )


def wrong_passwords() -> None:
    """Send wrong passwords over 100 connections from 100 addresses, while people open home and
    certificates and enter codes."""
    with tempfile.TemporaryDirectory() as folder:
        env = environment(Path(folder)) | {
            "KAKUNIN_PROXIES": "1",
            "KAKUNIN_MAIL_URL": f"outbox://{folder}/outbox",
        }
        open_displays(env, 60)
        give_passwords(range(1, 61))
        keys = Keys(env["KAKUNIN_SECRET_KEY"])
        with serving("app:serve", **env) as (port, _):
            waiting = [Browser(port, f"10.1.{number}.1") for number in range(1, 41)]
            # they know their password; the mail is on its way
            for number, browser in enumerate(waiting, 1):
                assert browser.ask("/login", username=f"K{number:09}", password=PASSWORD)[0] == 303
            guess = [
                (
                    Browser(port, f"10.2.{number}.1"),
                    {"username": f"Z{number:09}", "password": "wrong"},
                )
                for number in range(100)
            ]
            answers: dict[str, list[tuple[int, float]]] = {
                "home": [],
                "certificate": [],
                "code": [],
                "login": [],
            }

            def ask(kind: str, browser: Browser, path: str, **fields: str) -> None:
                status, _ = browser.ask(path, **fields)
                answers[kind].append((status, browser.took))

            with sending(port, "/login", guess):
                time.sleep(3)
                for number, browser in enumerate(waiting, 1):
                    with database.connection_context():
                        challenge = models.Challenge.get(models.Challenge.account == number)
                    ask("code", browser, "/login/code", code=keys.code(challenge))
                    for _ in range(3):
                        ask("home", browser, "/")
                        ask("certificate", browser, f"/certificates/cert{number}")
                for number in range(41, 61):
                    ask(
                        "login",
                        Browser(port, f"10.3.{number}.1"),
                        "/login",
                        username=f"K{number:09}",
                        password=PASSWORD,
                    )
        database.close_all()
    for kind, found in answers.items():
        answered = sum(status in (200, 303) for status, _ in found) / len(found)
        slowest = sorted(took for _, took in found)[int(len(found) * 0.99)]
        line(f"100 guess: {kind} answered, p99", f"{answered:.0%}, {slowest:.1f} s", "99 %, 2 s")


def main() -> None:
    print("A flood of forms")
    costly_forms()
    wrong_passwords()


if __name__ == "__main__":
    main()
