"""Measure what phones miss while PostgreSQL stands still: two machines share it, behind the proxy
of deploy/nginx.conf with TLS."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
import time
from pathlib import Path

from bench.live import line
from tests.support.crowd import VEIL, Outcome, Phone, hold
from tests.support.displays import open_displays
from tests.support.machines import Machine, Nginx, status
from tests.support.postgres import Cluster, free_port
from tests.support.servers import environment

PHONES = int(os.environ.get("STALL_PHONES", "1000"))
BEFORE, AFTER = 10, 12
"""Seconds that phones are held before the fault and after it."""


def stall(
    cluster: Cluster, port: int, phones: list[Phone], seconds: int, machine: Machine
) -> tuple[Outcome, list[tuple[int, float]]]:
    """Freeze PostgreSQL for so many seconds, with all its connections, while the phones are live.
    Return what they missed, and the status and seconds of /healthz amid the fault."""
    health: list[tuple[int, float]] = []

    def freeze() -> None:
        time.sleep(BEFORE)
        cluster.signal(signal.SIGSTOP)
        began = time.monotonic()
        time.sleep(seconds / 4)
        asked = time.monotonic()
        health.append((status(machine.port, "/healthz")[0], time.monotonic() - asked))
        time.sleep(max(0, began + seconds - time.monotonic()))
        cluster.signal(signal.SIGCONT)

    fault = threading.Thread(target=freeze)
    fault.start()
    outcome = hold(port, phones, BEFORE + seconds + AFTER, tls=True)
    fault.join()
    return outcome, health


def main() -> None:
    print("PostgreSQL stands still, under two machines")
    with tempfile.TemporaryDirectory() as folder, Cluster(options="") as cluster:
        env = environment(Path(folder)) | {"KAKUNIN_DATABASE_URL": cluster.url()}
        phones = open_displays(env, PHONES)
        machines = [Machine(env), Machine(env)]
        nginx = Nginx(Path(folder), port := free_port(), machines)
        try:
            time.sleep(1)
            hold(port, phones, 12, tls=True)  # everybody has a lease, of which some are young
            for seconds in (2, 4, 70):
                outcome, health = stall(cluster, port, phones, seconds, machines[0])
                due = PHONES * (BEFORE + seconds + AFTER)
                short = seconds < VEIL
                line(
                    f"{seconds} s: ticks missed",
                    f"{outcome.missed / due:.1%}",
                    f"{'1 %, ' if short else ''}{outcome.missed:,} of {due:,}",
                )
                line("  phones veiled", f"{len(outcome.veiled):,}", "none" if short else "")
                veil = max(0.0, outcome.longest_gap - VEIL)
                line("  longest veil", f"{veil:.1f} s", f"{seconds + 5} s")
                line(
                    "  /healthz",
                    ", ".join(f"{code} in {took:.1f} s" for code, took in health),
                    "2 s",
                )
        finally:
            nginx.end()
            for machine in machines:
                machine.end()


if __name__ == "__main__":
    main()
