"""Measure the memory of each worker: idle, and after a thousand logins, eighty of them at once."""

from __future__ import annotations

import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import Popen

from bench.live import line
from tests.support.browser import Browser
from tests.support.displays import give_passwords, open_displays
from tests.support.machines import workers
from tests.support.people import PASSWORD
from tests.support.servers import environment, serving

LOGINS, AT_ONCE = 1000, 80


def resident(process: Popen[bytes], name: str = "VmRSS") -> list[int]:
    """Return the memory of each worker in MB: what it holds now, or with VmHWM what it has held at
    most."""
    found = []
    for worker in workers(process):
        for row in Path(f"/proc/{worker}/status").read_text().splitlines():
            if row.startswith(f"{name}:"):
                found.append(int(row.split()[1]) * 1024 // 1_000_000)
    return sorted(found)


def log_in(port: int, number: int) -> int:
    """Log in with the right password, from an address of one's own, and look at the page that asks
    for the code. Return how often there was no place."""
    browser = Browser(port, f"10.{number >> 8}.{number & 255}.1", patience=60)
    status, _ = browser.ask("/login", username=f"K{number:09}", password=PASSWORD)
    assert status == 303, status
    browser.ask("/login/code")
    browser.link.close()
    return browser.again


def main() -> None:
    print("Memory")
    with tempfile.TemporaryDirectory() as folder:
        env = environment(Path(folder)) | {
            "KAKUNIN_PROXIES": "1",
            "KAKUNIN_MAIL_URL": f"outbox://{folder}/outbox",
        }
        open_displays(env, LOGINS)
        give_passwords(range(1, LOGINS + 1))
        with serving("app:serve", WORKERS="2", **env) as (port, process):
            line("MB of each worker, idle", f"{resident(process)}", "70")
            with ThreadPoolExecutor(AT_ONCE) as crowd:
                again = list(crowd.map(log_in, [port] * LOGINS, range(1, LOGINS + 1)))
            line(f"  after {LOGINS:,} logins", f"{resident(process)}", "150")
            line("  at most", f"{resident(process, 'VmHWM')}")
            line(f"  logins that found a place at once, {AT_ONCE} at a time", f"{again.count(0):,}")


if __name__ == "__main__":
    main()
