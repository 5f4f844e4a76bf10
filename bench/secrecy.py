"""Whether the time of an answer tells that an ID or an address exists: several hundred tries of
each kind, in turn."""

from __future__ import annotations

import http.client
import random
import statistics
import tempfile
import time
import urllib.parse
from pathlib import Path

import models
from accounts import passwords
from accounts.keys import login_ids
from bench.live import line
from database import database
from tests.support.displays import open_displays
from tests.support.servers import environment, serving

TRIES = 300


def ask(port: int, path: str, fields: dict[str, str]) -> float:
    """Seconds until the answer to one form, from an address of its own."""
    body = urllib.parse.urlencode(fields)
    source = ".".join(str(random.randrange(1, 255)) for _ in range(4))
    headers = {
        "Content-Type": "application/x-www-form-urlencoded",
        "Sec-Fetch-Site": "same-origin",
        "X-Forwarded-For": source,
    }
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    link.connect()
    began = time.perf_counter()
    link.request("POST", path, body, headers)
    answer = link.getresponse()
    answer.read()
    took = time.perf_counter() - began
    link.close()
    if answer.status not in (200, 422):
        raise RuntimeError(f"{path} answered {answer.status}")
    return took


def main() -> None:
    print("What an answer's time tells (medians of each kind, asked in turn)")
    with tempfile.TemporaryDirectory() as folder:
        env = environment(Path(folder)) | {"KAKUNIN_PROXIES": "1"}
        open_displays(env, 2 * TRIES)
        hashed, known = (
            passwords.hash_password("correct horse battery 9"),
            list(login_ids(2 * TRIES)),
        )
        with database.atomic():
            for number, login_id in enumerate(known, 1):
                changes = {
                    "login_id": login_id,
                    "email": f"p{number}@example.jp",
                    "email_key": f"p{number}@example.jp",
                }
                if number <= TRIES:  # half have a password of their own, half the letter's
                    changes["password_hash"] = hashed
                else:
                    changes["temporary_hash"] = "0" * 64
                models.Account.update(**changes).where(models.Account.member == number).execute()
        database.close_all()
        unknown = list(login_ids(2 * TRIES))
        with serving("app:serve", **env) as (port, _):
            kinds: dict[str, list[float]] = {}
            for n in range(TRIES):
                tries = {
                    "login own": ("/login", {"username": known[n], "password": "wrong"}),
                    "login letter": ("/login", {"username": known[TRIES + n], "password": "wrong"}),
                    "login none": ("/login", {"username": unknown[n], "password": "wrong"}),
                    "forgot own": (
                        "/password/forgot",
                        {"username": known[n], "email": f"p{n + 1}@example.jp"},
                    ),
                    "forgot none": (
                        "/password/forgot",
                        {"username": unknown[n], "email": f"p{n + 1}@example.jp"},
                    ),
                }
                for kind in random.sample(sorted(tries), len(tries)):
                    kinds.setdefault(kind, []).append(ask(port, *tries[kind]) * 1000)
    for kind, times in sorted(kinds.items()):
        ordered = sorted(times)
        line(
            kind,
            f"{statistics.median(times):.2f} ms",
            f"middle half {ordered[TRIES // 4]:.2f} to {ordered[3 * TRIES // 4]:.2f}",
        )
    for kind, other in (
        ("login own", "login none"),
        ("login letter", "login none"),
        ("forgot own", "forgot none"),
    ):
        line(
            f"{kind} / {other}",
            f"{statistics.median(kinds[kind]) / statistics.median(kinds[other]):.3f}",
            "1, within the noise",
        )


if __name__ == "__main__":
    main()
