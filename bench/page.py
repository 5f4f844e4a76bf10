"""What a phone loads: bytes over the wire of the first visit to the certificate, and Lighthouse's figures of three pages."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from bench.live import line, open_displays
from bench.servers import environment, serving
from tests.ready import browser

LIGHTHOUSE = "lighthouse@12.8.2"
PAGES = ("/login", "/", "/certificates/cert1")
FLAGS = "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"


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
            install = ["npm", "install", "--silent", "--ignore-scripts", "--prefix", folder, LIGHTHOUSE]
            subprocess.run(install, check=True, stdout=subprocess.DEVNULL)
            for path in PAGES:
                audit(base + path, phone.session, Path(folder))


def weigh(address: str, session: str) -> None:
    """The first visit's bytes, all resources, as they came over the wire."""
    sizes: dict[str, int] = {}
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=browser(), args=["--no-sandbox", "--disable-gpu"])
        context = opened.new_context(viewport={"width": 390, "height": 844}, is_mobile=True)
        context.add_cookies([{"name": "session", "value": session, "url": address}])
        page = context.new_page()
        wire = context.new_cdp_session(page)
        wire.send("Network.enable")
        wire.on("Network.loadingFinished", lambda event: sizes.update({event["requestId"]: int(event["encodedDataLength"])}))
        page.goto(address)
        page.wait_for_timeout(900)
        html = len(page.request.get(address).body())
        opened.close()
    line("first visit to the certificate", f"{sum(sizes.values()) / 1000:.1f} KB", "40 KB or less")
    line("  its HTML", f"{html / 1000:.1f} KB", "14 KB or less")


def audit(address: str, session: str, folder: Path) -> None:
    """Lighthouse, as on a phone."""
    headers, report = folder / "headers.json", folder / "report.json"
    headers.write_text(json.dumps({"Cookie": f"session={session}"}))
    command = [
        *(str(folder / "node_modules/.bin/lighthouse"), address, "--quiet", "--form-factor=mobile", "--output=json"),
        *(f"--output-path={report}", f"--chrome-flags={FLAGS}", f"--extra-headers={headers}"),
        "--only-categories=performance,accessibility,best-practices",
    ]
    env = os.environ | {"CHROME_PATH": browser() or ""}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=120)
    path = "/" + address.split("/", 3)[3]
    if done.returncode:
        line(f"Lighthouse {path}", "failed", done.stderr.strip()[-160:])
        return
    result = json.loads(report.read_text())
    scores = ", ".join(f"{round((part['score'] or 0) * 100)}" for part in result["categories"].values())
    lost = [a["title"] for a in result["audits"].values() if a.get("score") is not None and a["score"] < 0.9]
    line(f"Lighthouse {path}", scores, f"100, 100, 100{'; ' + '; '.join(lost[:4]) if lost else ''}")


if __name__ == "__main__":
    main()
