"""Measure ticks a second beside a bare callable and a plain Flask view, whole logins, and crowds of
phones held live."""

from __future__ import annotations

import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from accounts.keys import Keys
from database import database
from tests.support.browser import Browser
from tests.support.crowd import Outcome, Phone, hold
from tests.support.displays import give_passwords, log_in, open_displays
from tests.support.servers import ROOT, environment, serving, usage

CROWDS = tuple(int(n) for n in os.environ.get("CROWDS", "1000,4000,7000,10000,12000").split(","))
SECONDS = int(os.environ.get("CROWD_SECONDS", "60"))
SETTLE = 12  # more than a lease: from then on renewals come as they do all day
PICTURE = ROOT / "docs" / "latency.svg"


def rate(port: int, phone: Phone) -> float:
    """Return the requests a second that wrk counts over four seconds and 64 connections. Ticks use
    a lease taken just before."""
    url = f"http://127.0.0.1:{port}{phone.path}"
    request = urllib.request.Request(url, headers={"Cookie": f"session={phone.session}"})
    with urllib.request.urlopen(request) as answer:
        lease = re.search(r"lease=([^;]*)", answer.headers.get("Set-Cookie", ""))
    cookies = f"Cookie: session={phone.session}" + (f"; lease={lease.group(1)}" if lease else "")
    done = subprocess.run(
        ["wrk", "-t1", "-c64", "-d4s", "-H", cookies, url],
        capture_output=True,
        text=True,
        check=True,
    )
    if "Non-2xx" in done.stdout:
        raise RuntimeError(done.stdout)
    return float(re.findall(r"Requests/sec:\s+([\d.]+)", done.stdout)[0])


def ratios() -> None:
    """Measure the ticks a second of this program, a bare callable and the plain view. They take
    turns five times, so that a machine whose speed drifts affects all of them alike.
    """
    with tempfile.TemporaryDirectory() as folder:
        env = environment(Path(folder))
        (phone,) = open_displays(env, 1)
        with (
            serving("tests.support.servers:hello", **env) as (bare, _),
            serving("tests.support.servers:plain", **env) as (plain, _),
            serving("app:serve", **env) as (ours, _),
        ):
            rounds = [[rate(port, phone) for port in (bare, plain, ours)] for _ in range(5)]
    hello, slow, ticks = (statistics.median(column) for column in zip(*rounds, strict=True))
    line("ticks/s of the whole app", f"{ticks:,.0f}")
    line(
        "  / a bare callable",
        f"{statistics.median(r[2] / r[0] for r in rounds):.2f}",
        f"0.6 or more; bare {hello:,.0f}/s",
    )
    line(
        "  / the plain way",
        f"{statistics.median(r[2] / r[1] for r in rounds):.1f}",
        f"15 or more; plain {slow:,.0f}/s",
    )


def crowds() -> None:
    """Hold crowds of growing size live, by default for a minute each. The generator runs on the
    same machine."""
    results: list[Outcome] = []
    with tempfile.TemporaryDirectory() as folder:
        env = environment(Path(folder))
        phones = open_displays(env, max(CROWDS))
        with serving("app:serve", **env) as (port, process):
            print(
                "\n  phones   p50 ms   p95 ms   p99 ms   missed   renewals/s   server cores   server MB   generator cores"
            )
            for count in CROWDS:
                before, _ = usage(process)
                outcome = hold(port, phones[:count], SECONDS, SETTLE)
                after, memory = usage(process)
                results.append(outcome)
                print(
                    f"  {count:6,}   {outcome.percentile(0.5):6.1f}   {outcome.percentile(0.95):6.1f}"
                    f"   {outcome.percentile(0.99):6.1f}   {outcome.missed:6}   {outcome.renewed / SECONDS:10.0f}"
                    f"   {(after - before) / SECONDS:12.2f}   {memory:9.0f}   {outcome.cpu:15.2f}"
                )
                sys.stdout.flush()
            count = min(10_000, max(CROWDS))
            for phone in phones:
                phone.lease = ""
            outcome = hold(port, phones[:count], 20)
            print(
                f"  {count:,} that opened in one second, without a lease: p99 {outcome.percentile(0.99):.1f} ms, "
                f"missed {outcome.missed}; leases granted in that second {outcome.renewals[0]:,}, "
                f"later at most {max(outcome.renewals[1:]):,} a second"
            )
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(picture(results), "utf-8")


def journeys(people: int = 400, at_once: int = 24) -> None:
    """Measure whole logins: the password, the code, home, and the certificate's page. Mails go into
    a folder."""
    with tempfile.TemporaryDirectory() as folder:
        env = environment(Path(folder)) | {
            "KAKUNIN_MAIL_URL": f"outbox://{folder}/outbox",
            "KAKUNIN_PROXIES": "1",
        }
        open_displays(env, people)
        give_passwords(range(1, people + 1))
        keys = Keys(env["KAKUNIN_SECRET_KEY"])

        def journey(port: int, number: int) -> None:
            browser = Browser(port, f"10.{number >> 8}.{number & 255}.1")
            found = [log_in(browser, number, keys)]
            found += [browser.ask(path)[0] for path in ("/", f"/certificates/cert{number}")]
            if found != [303, 200, 200]:
                raise RuntimeError(f"login, home and certificate answered {found}")
            browser.link.close()

        with serving("app:serve", **env) as (port, process):
            before, _ = usage(process)
            began = time.perf_counter()
            with ThreadPoolExecutor(at_once) as pool:
                list(pool.map(journey, [port] * people, range(1, people + 1)))
            took = time.perf_counter() - began
            after, _ = usage(process)
        database.close_all()
    line(
        "whole logins a second",
        f"{people / took:.0f}",
        f"{(after - before) / people * 1000:.0f} ms of a core each",
    )


def picture(results: list[Outcome]) -> str:
    """Return a chart of latency by number of phones, as SVG."""
    width, height, left, bottom = 640, 300, 56, 44
    top_phones = max(r.phones for r in results)
    top = max(20.0, max(r.percentile(0.99) for r in results) * 1.15)

    def x(phones: float) -> float:
        return left + phones / top_phones * (width - left - 70)

    def y(ms: float) -> float:
        return height - bottom - ms / top * (height - bottom - 20)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="13">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
    ]
    for step in range(5):
        value = top * step / 4
        parts.append(f'<path d="M{left} {y(value):.1f}H{width - 70}" stroke="#ddd"/>')
        parts.append(
            f'<text x="{left - 8}" y="{y(value) + 4:.1f}" text-anchor="end" fill="#555">{value:.0f} ms</text>'
        )
    for result in results:
        parts.append(
            f'<text x="{x(result.phones):.1f}" y="{height - 24}" text-anchor="middle" fill="#555">{result.phones:,}</text>'
        )
    for share, colour, name in (
        (0.5, "#0b6e4f", "p50"),
        (0.95, "#a05a00", "p95"),
        (0.99, "#8a1c3b", "p99"),
    ):
        points = [(x(r.phones), y(r.percentile(share))) for r in results]
        path = "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in points)
        parts.append(f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="2.5"/>')
        parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3.5" fill="{colour}"/>' for a, b in points]
        parts.append(
            f'<text x="{points[-1][0] + 10:.1f}" y="{points[-1][1] + 4:.1f}" fill="{colour}">{name}</text>'
        )
    parts.append(
        f'<text x="{(left + width - 70) / 2}" y="{height - 6}" text-anchor="middle" fill="#333">phones held live, one tick a second each</text>'
    )
    return "\n".join([*parts, "</svg>"]) + "\n"


def line(name: str, value: str, target: str = "") -> None:
    print(f"  {name:34} {value:>12}   {target}")
    sys.stdout.flush()


def main() -> None:
    if shutil.which("wrk") is None:
        if not shutil.which("apt-get") or os.geteuid():
            sys.exit("The bench needs wrk: install it, then run make bench again.")
        subprocess.run(
            ["apt-get", "install", "-y", "-qq", "wrk"], check=True, stdout=subprocess.DEVNULL
        )
    print("The live clock")
    ratios()
    journeys()
    crowds()


if __name__ == "__main__":
    main()
