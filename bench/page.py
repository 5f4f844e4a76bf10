"""Measure how many bytes a phone loads on its first visit to the certificate, and Lighthouse's
scores of three pages."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from bench.live import line
from tests.support.displays import open_displays
from tests.support.postgres import free_port
from tests.support.ready import path_of
from tests.support.servers import environment, serving

LIGHTHOUSE = "lighthouse@12.8.2"
PAGES = ("/login", "/", "/certificates/cert1")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--accept-lang=ja",
]


def main() -> None:
    print("What a phone loads")
    with tempfile.TemporaryDirectory() as folder:
        env = environment(Path(folder))
        (phone,) = open_displays(env, 1)
        with serving("app:serve", **env) as (port, _):
            base = f"http://127.0.0.1:{port}"
            weigh(f"{base}/certificates/cert1", phone.session)
            if shutil.which("npm") is None:
                line("Lighthouse", "not run", "it needs Node, which is not here")
                return
            install = [
                "npm",
                "install",
                "--silent",
                "--ignore-scripts",
                "--prefix",
                folder,
                LIGHTHOUSE,
            ]
            if subprocess.run(install, check=False, stdout=subprocess.DEVNULL).returncode:
                line("Lighthouse", "not run", "npm could not install it")
                return
            audit(base, phone.session, Path(folder))


def weigh(address: str, session: str) -> None:
    """Print how many bytes the first visit transfers, over all resources and as compressed, and how
    long its HTML is."""
    sizes: dict[str, int] = {}
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=path_of("Chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        context = opened.new_context(viewport={"width": 390, "height": 844}, is_mobile=True)
        context.add_cookies([{"name": "session", "value": session, "url": address}])
        page = context.new_page()
        wire = context.new_cdp_session(page)
        wire.send("Network.enable")
        wire.on(
            "Network.loadingFinished",
            lambda event: sizes.update({event["requestId"]: int(event["encodedDataLength"])}),
        )
        page.goto(address)
        page.wait_for_timeout(900)
        html = len(page.request.get(address).body())
        opened.close()
    line("first visit to the certificate", f"{sum(sizes.values()) / 1000:.1f} KB", "40 KB or less")
    line("  its HTML", f"{html / 1000:.1f} KB", "14 KB or less")


def audit(base: str, session: str, folder: Path) -> None:
    """Run Lighthouse for a phone. The browser's own store holds the session cookie, since a Cookie
    header set by Lighthouse would replace the lease.
    """
    port = free_port()
    with sync_playwright() as playwright:
        phone = playwright.chromium.launch_persistent_context(
            folder / "profile",
            executable_path=path_of("Chromium"),
            args=[*FLAGS, f"--remote-debugging-port={port}"],
            no_viewport=True,
        )
        for path in PAGES:
            if path != "/login":
                phone.add_cookies([{"name": "session", "value": session, "url": base}])
            report = folder / "report.json"
            command = [
                *(
                    str(folder / "node_modules/.bin/lighthouse"),
                    base + path,
                    "--quiet",
                    "--form-factor=mobile",
                ),
                *(
                    f"--port={port}",
                    "--disable-storage-reset",
                    "--output=json",
                    f"--output-path={report}",
                ),
                "--only-categories=performance,accessibility,best-practices",
            ]
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
            if done.returncode:
                line(f"Lighthouse {path}", "failed", done.stderr.strip()[-160:])
                continue
            result = json.loads(report.read_text())
            scores = ", ".join(
                f"{round((part['score'] or 0) * 100)}" for part in result["categories"].values()
            )
            scored = [part for part in result["audits"].values() if part.get("score") is not None]
            lost = [part["title"] for part in scored if part["score"] < 0.9]
            line(f"Lighthouse {path}", scores, "; ".join(["100, 100, 100", *lost[:4]]))
        phone.close()


if __name__ == "__main__":
    main()
