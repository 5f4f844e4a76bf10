"""Watch the clock as a phone shows it. Count its steps over a minute, in Chromium and WebKit, at
several latencies."""

from __future__ import annotations

import os
import tempfile
import time
from collections import Counter
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.support import ready, webkit
from tests.support.beat import WATCH, line, steps
from tests.support.displays import open_displays
from tests.support.servers import environment, serving

LATENCIES = (0, 80, 150, 300, 600, 800)  # milliseconds, there and back
SECONDS = int(os.environ.get("BEAT_SECONDS", "60"))
SETTLE = 4  # seconds for the page, its first tick and the move into the middle of a second


def in_chromium(base: str, session: str) -> tuple[list[str], int]:
    """Return the times that the clock showed during SECONDS in Chromium, and how often the veil
    covered it."""
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=ready.path_of("Chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        context = opened.new_context(
            viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True
        )
        context.add_cookies([{"name": "session", "value": session, "url": base}])
        page = context.new_page()
        page.goto(f"{base}/certificates/cert1")
        page.wait_for_timeout(SETTLE * 1000)
        page.evaluate(f"() => {{ {WATCH} }}")
        page.wait_for_timeout(SECONDS * 1000)
        seen, veils = page.evaluate("[seen, veils]")
        opened.close()
    return seen, veils


def in_webkit(base: str, session: str) -> tuple[list[str], int]:
    """Return the same for WebKit."""
    with webkit.WebKit() as window:
        window.go(f"{base}/login")
        window.call("/cookie", cookie={"name": "session", "value": session, "path": "/"})
        window.go(f"{base}/certificates/cert1")
        time.sleep(SETTLE)
        window.js(WATCH)
        time.sleep(SECONDS)
        seen, veils = window.js("return [seen, veils]")
    return seen, veils


def main() -> None:
    print(f"The clock's steps in {SECONDS} seconds")
    print("  engine      latency   steps of 1 s   of 0 s   of 2 s or more   looks at a veil")
    engines = {"Chromium": in_chromium} | ({"WebKit": in_webkit} if ready.webkit() else {})
    if len(engines) == 1:
        print(
            "  WebKit      not run: it is not here (Debian's packages: webkit2gtk-driver, xvfb, xauth)"
        )
    with tempfile.TemporaryDirectory() as folder:
        env = environment(Path(folder))
        (phone,) = open_displays(env, 1)
        with serving("app:serve", **env) as (port, _):
            for name, watch in engines.items():
                for latency in LATENCIES:
                    with line(port, latency, latency) as far:
                        seen, veils = watch(f"http://127.0.0.1:{far}", phone.session)
                    counts = Counter(steps(seen))
                    more = sum(count for step, count in counts.items() if step > 1)
                    print(
                        f"  {name:9}  {latency:5} ms   {counts[1]:12}   {counts[0]:6}   {more:14}   {veils:15}",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
