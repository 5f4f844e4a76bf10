"""Import a million rows into a database that is being served, and measure how phones and logins are
affected."""

from __future__ import annotations

import http.client
import math
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from pathlib import Path

from bench import roster_file
from bench.live import line
from tests.support.crowd import hold
from tests.support.displays import give_passwords, open_displays
from tests.support.people import PASSWORD
from tests.support.servers import ROOT, environment, serving

PHONES = 200
SECONDS = 75
"""Longer than the import takes."""


def log_in(port: int, number: int) -> tuple[int, float]:
    """Log in with the right password. Return the status and the seconds that it took."""
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    body = urllib.parse.urlencode({"username": f"K{number:09}", "password": PASSWORD})
    headers = {
        "Content-Type": "application/x-www-form-urlencoded",
        "Sec-Fetch-Site": "same-origin",
        "X-Forwarded-For": f"10.{number >> 8}.{number & 255}.1",
    }
    began = time.perf_counter()
    link.request("POST", "/login", body, headers)
    status = link.getresponse().status
    link.close()
    return status, time.perf_counter() - began


def main(rows: int = 1_000_000) -> None:
    print(f"{PHONES} phones held live and a login a second, while {rows:,} rows are imported")
    with tempfile.TemporaryDirectory(prefix="kakunin-bench-") as folder:
        env = environment(Path(folder)) | {
            "KAKUNIN_MAIL_URL": f"outbox://{folder}/outbox",
            "KAKUNIN_PROXIES": "1",
        }
        phones = open_displays(env, PHONES + SECONDS)
        give_passwords(range(PHONES + 1, PHONES + SECONDS + 1))
        source, letters = Path(folder, "roster.csv"), Path(folder, "letters.csv")
        roster_file.write(source, rows)
        answers: list[tuple[int, float]] = []
        took: list[float] = []
        over, threads = threading.Event(), []

        def work(port: int) -> None:
            time.sleep(5)  # first every phone takes a lease, as those that were open before have
            began = time.perf_counter()
            command = [
                sys.executable,
                "-m",
                "flask",
                "roster",
                "import",
                str(source),
                "--credentials",
                str(letters),
            ]
            done = subprocess.run(
                command, cwd=ROOT, env=os.environ | env, capture_output=True, text=True, check=False
            )
            took.append(time.perf_counter() - began)
            if done.returncode:
                print(done.stdout[-500:], done.stderr[-500:])
            time.sleep(5)
            over.set()

        def people(port: int) -> None:
            for number in range(PHONES + 1, PHONES + SECONDS + 1):
                one = threading.Thread(target=lambda n=number: answers.append(log_in(port, n)))
                one.start()
                threads.append(one)
                if over.wait(1):
                    break

        with serving("app:serve", **env) as (port, _):
            for target in (work, people):
                thread = threading.Thread(target=target, args=(port,))
                thread.start()
                threads.append(thread)
            crowd = hold(port, phones[:PHONES], SECONDS)
            for thread in list(threads):
                thread.join()
    line("the import, beside all this", f"{took[0]:.1f} s")
    line("ticks missed", f"{crowd.missed}", f"0; of {math.floor(PHONES * crowd.seconds):,}")
    line("ticks, p99", f"{crowd.percentile(0.99):.0f} ms")
    failed = sum(status != 303 for status, _ in answers)
    line("logins that failed", f"{failed}", f"0; of {len(answers)}")
    line("longest login", f"{max(seconds for _, seconds in answers):.1f} s", "15 s or less")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
