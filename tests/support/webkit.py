"""One window of WebKit, the engine of every iPhone: Debian's own build, driven by plain WebDriver
without a library."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.support.postgres import free_port

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
"""The key under which WebDriver names an element (W3C WebDriver, section 12)."""


def browser() -> str | None:
    """Return the path of WebKitGTK's small browser, if it and what drives it are here: Debian's
    webkit2gtk-driver, xvfb and xauth."""
    found = next(Path("/usr/lib").glob("*/webkit2gtk-4.1/MiniBrowser"), None)
    tools = ("WebKitWebDriver", "xvfb-run", "xauth")
    return str(found) if found and all(shutil.which(tool) for tool in tools) else None


class Refused(Exception):
    """The browser did not do what it was told."""


class WebKit:
    """A window as wide as a phone; a wider one would get the notice for computers. Use it in a
    `with` statement."""

    def __init__(self, width: int = 450, height: int = 844) -> None:
        self.port = free_port()
        self.driver = subprocess.Popen(
            ["xvfb-run", "-a", "WebKitWebDriver", f"--port={self.port}"],
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.session = ""
        options = {"binary": browser(), "args": ["--automation"]}
        wanted = {"capabilities": {"alwaysMatch": {"webkitgtk:browserOptions": options}}}
        self.session = f"/{self._first_call(wanted)['sessionId']}"
        self.size = width, height
        self.call("/window/rect", width=width, height=height)

    def _first_call(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """Open the session as soon as the driver listens, within 20 seconds."""
        for _ in range(200):
            try:
                return self.call("", **wanted)
            except (ConnectionError, urllib.error.URLError):
                time.sleep(0.1)
        self.close()
        raise RuntimeError("WebKitWebDriver did not start.")

    def __enter__(self) -> WebKit:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the browser, its driver and its screen."""
        os.killpg(self.driver.pid, signal.SIGTERM)
        self.driver.wait(10)

    def call(self, path: str, method: str = "POST", **data: Any) -> Any:
        """Send one command of WebDriver and return its value. Raise Refused with the browser's
        words."""
        address = f"http://127.0.0.1:{self.port}/session{self.session}{path}"
        body = json.dumps(data).encode() if method == "POST" else None
        try:
            with urllib.request.urlopen(
                urllib.request.Request(address, body, method=method), timeout=60
            ) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise Refused(error.read().decode()) from error

    def js(self, script: str) -> Any:
        """Return what the script returns in the page."""
        return self.call("/execute/sync", script=script, args=[])

    def go(self, address: str) -> None:
        self.call("/url", url=address)

    def click(self, selector: str) -> None:
        """Press the element as a finger would: a gesture, not a script's click()."""
        element = self.call("/element", using="css selector", value=selector)[ELEMENT]
        self.call(f"/element/{element}/click")

    def send(self, **fields: str) -> None:
        """Fill the inputs of these names (an underscore stands for a hyphen) and send their form."""
        for name, value in fields.items():
            self.js(
                f"document.querySelector('[name={name.replace('_', '-')}]').value = {json.dumps(value)}"
            )
        self.click("form button.main")

    def hide(self) -> None:
        """Put the window away, as a phone does with a page behind another app."""
        self.call("/window/minimize")

    def show(self) -> None:
        self.call("/window/maximize")
        self.call("/window/rect", width=self.size[0], height=self.size[1])

    def picture(self, path: Path) -> None:
        """Write what is seen as PNG."""
        path.write_bytes(base64.b64decode(self.call("/screenshot", "GET")))
