"""A window of WebKit, the engine of every iPhone. It is Debian's build, and driven by plain
WebDriver without a library."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.support.postgres import free_port
from tests.support.ready import path_of

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
"""The key under which WebDriver names an element (W3C WebDriver, section 12)."""


class Refused(Exception):
    """The browser answered a command with an error."""


class WebKit:
    """A window as wide as a phone, since pages show a notice for computers in wider ones. Use it in
    a `with` statement. Raise Missing if WebKit is not on this machine."""

    def __init__(self, width: int = 450, height: int = 844) -> None:
        browser = path_of("WebKit")
        self.port = free_port()
        self.driver = subprocess.Popen(
            ["xvfb-run", "-a", "WebKitWebDriver", f"--port={self.port}"],
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.session = ""
        options = {"binary": browser, "args": ["--automation"]}
        wanted = {"capabilities": {"alwaysMatch": {"webkitgtk:browserOptions": options}}}
        self.session = f"/{self._first_call(wanted)['sessionId']}"
        self.size = width, height
        self.call("/window/rect", width=width, height=height)

    def _first_call(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """Open the session once the driver listens. Raise RuntimeError if it does not within 20
        seconds."""
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
        """End the browser, its driver and its virtual screen."""
        os.killpg(self.driver.pid, signal.SIGTERM)
        self.driver.wait(10)

    def call(self, path: str, method: str = "POST", **data: Any) -> Any:
        """Send one command of WebDriver and return its value. Raise Refused, with the browser's
        message, after an error."""
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
        """Run the script in the page and return its result."""
        return self.call("/execute/sync", script=script, args=[])

    def go(self, address: str) -> None:
        self.call("/url", url=address)

    def click(self, selector: str) -> None:
        """Press the element with a real gesture, as a finger would, instead of a script's click()."""
        element = self.call("/element", using="css selector", value=selector)[ELEMENT]
        self.call(f"/element/{element}/click")

    def send(self, **fields: str) -> None:
        """Fill in the inputs with these names and send their form. An underscore in a name stands
        for a hyphen."""
        for name, value in fields.items():
            self.js(
                f"document.querySelector('[name={name.replace('_', '-')}]').value = {json.dumps(value)}"
            )
        self.click("form button.main")

    def hide(self) -> None:
        """Minimise the window, as if the phone showed another app."""
        self.call("/window/minimize")

    def show(self) -> None:
        self.call("/window/maximize")
        self.call("/window/rect", width=self.size[0], height=self.size[1])

    def picture(self, path: Path) -> None:
        """Write a screenshot to `path`, as PNG."""
        path.write_bytes(base64.b64decode(self.call("/screenshot", "GET")))
