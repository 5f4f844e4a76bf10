"""Measure crowds of phones through nginx with TLS, by deploy/nginx.conf, in front of one machine. The
phones, nginx and the program share the cores."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from tests.support.crowd import Phone, hold
from tests.support.displays import open_displays
from tests.support.machines import Machine, Nginx
from tests.support.postgres import free_port
from tests.support.servers import environment, usage

CROWDS = tuple(int(n) for n in os.environ.get("PROXY_CROWDS", "2000,6000,8000,10000").split(","))
SECONDS = int(os.environ.get("PROXY_SECONDS", "40"))
"""How long each crowd is held once it has come."""
A_SECOND = 400
"""Phones that arrive each second, each with a TLS handshake and without a lease."""


def crowd(phones: list[Phone], port: int, machine: Machine, nginx: Nginx) -> None:
    arrive = len(phones) / A_SECOND
    settle = int(arrive) + 2
    for phone in phones:
        phone.lease = ""
    before = usage(machine.process)[0], usage(nginx.process)[0]
    outcome = hold(port, phones, settle + SECONDS, settle, tls=True, arrive=arrive)
    program, proxy = usage(machine.process)[0] - before[0], usage(nginx.process)[0] - before[1]
    late, lasted = sum(outcome.misses[settle:]), settle + SECONDS
    print(
        f"  {len(phones):6,}   {outcome.percentile(0.5):6.1f}   {outcome.percentile(0.95):6.1f}"
        f"   {outcome.percentile(0.99):6.1f}   {late:6}   {outcome.missed - late:15}"
        f"   {len(outcome.veiled):6}   {outcome.longest_gap:9.1f}   {program / lasted:13.2f}"
        f"   {proxy / lasted:11.2f}   {outcome.cpu:15.2f}"
    )
    sys.stdout.flush()


def main() -> None:
    print("Through nginx with TLS")
    print(
        "  phones   p50 ms   p95 ms   p99 ms   missed   while they come   veiled   longest s"
        "   program cores   nginx cores   generator cores"
    )
    with tempfile.TemporaryDirectory() as folder:
        env = environment(Path(folder))
        phones = open_displays(env, max(CROWDS))
        machine = Machine(env, workers=str(os.cpu_count() or 1))
        # as ACME clients make it; an RSA key would cost several times as much at each handshake
        key = "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"
        nginx = Nginx(Path(folder), port := free_port(), [machine], key)
        try:
            for count in CROWDS:
                crowd(phones[:count], port, machine, nginx)
        finally:
            nginx.end()
            machine.end()


if __name__ == "__main__":
    main()
