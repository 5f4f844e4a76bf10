"""For the browser's tests: the real server, a mail server, a Chromium and a WebKit."""

from __future__ import annotations

import contextlib
import email
import email.policy
import re
import signal
import socket
import subprocess
from time import sleep

import pytest
from aiosmtpd.controller import Controller
from playwright.sync_api import Page, sync_playwright

from tests.support.people import BORN, NAO, PASSWORD, settings_for
from tests.support.postgres import free_port
from tests.support.ready import path_of
from tests.support.sample import FLASK, ROOT, import_sample


class Postbox:
    """What the mail server took."""

    def __init__(self) -> None:
        self.mails = []

    async def handle_DATA(self, _server, _session, envelope):
        self.mails.append(email.message_from_bytes(envelope.content, policy=email.policy.default))
        return "250 OK"

    @property
    def codes(self) -> list[str]:
        """The codes of all mails that hold one."""
        found = [re.search(r"(?<!\d)\d{6}(?!\d)", mail.get_content()) for mail in self.mails]
        return [code.group() for code in found if code]

    def code(self, count: int = 1) -> str:
        """The newest code, once `count` have come."""
        for _ in range(100):
            if len(codes := self.codes) >= count:
                return codes[-1]
            sleep(0.1)
        raise AssertionError(f"no code number {count}")


@contextlib.contextmanager
def receiving(box, hostname="127.0.0.1", **options):
    """Run a mail server that gives `box` what comes, and tells it the `port`."""
    own_name = {"server_hostname": "mail.example"}  # else it is looked up for each connection
    server = Controller(box, hostname=hostname, port=free_port(), **own_name, **options)
    server.start()
    box.port = server.port
    try:
        yield box
    finally:
        server.stop()


@pytest.fixture(scope="module")
def postbox():
    with receiving(Postbox()) as box:
        yield box


@pytest.fixture
def site(fresh, tmp_path, monkeypatch, postbox):
    """make serve, without make: the real server with the sample roster. Yields (address, process,
    letters)."""
    settings_for(monkeypatch, fresh())
    port = free_port()
    monkeypatch.setenv("KAKUNIN_MAIL_URL", f"smtp://127.0.0.1:{postbox.port}")
    monkeypatch.setenv("KAKUNIN_BASE_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("HOST", "127.0.0.1")
    monkeypatch.setenv("PORT", str(port))
    letters = import_sample(tmp_path)
    process = subprocess.Popen(
        [*FLASK, "serve"], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        sleep(0.05)
    yield f"http://127.0.0.1:{port}", process, letters
    if process.poll() is None:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        process.wait(40)


@pytest.fixture(scope="module")
def chromium():
    arguments = [
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
    ]
    path = path_of("Chromium")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=arguments)
        yield opened
        opened.close()


@pytest.fixture
def page(chromium):
    """A phone that fails the test on a CSP violation or a script error."""
    context = chromium.new_context(
        viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True, locale="ja-JP"
    )
    page = context.new_page()
    faults = []
    page.on(
        "console",
        lambda message: faults.append(message.text) if "Security Policy" in message.text else None,
    )
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.set_default_timeout(10_000)
    yield page
    context.close()
    assert not faults


def first_use(page: Page, site, postbox: Postbox, name: str = NAO) -> None:
    """Through first use to home."""
    address, _, letters = site
    page.goto(f"{address}/login")
    page.fill("[name=username]", letters[name][0])
    page.fill("[name=password]", letters[name][1])
    submit(page)
    page.fill("[name=bday]", BORN[name])
    page.fill("[name=new-password]", PASSWORD)
    page.fill("[name=email]", "nao@example.jp")
    count = len(postbox.codes)
    submit(page)
    page.fill("[name=code]", postbox.code(count + 1))
    submit(page)
    page.wait_for_url(f"{address}/")


def log_in_again(page: Page, site, postbox: Postbox, name: str = NAO) -> None:
    """With the own password and a mailed code, from the login to home."""
    address, _, letters = site
    page.fill("[name=username]", letters[name][0])
    page.fill("[name=password]", PASSWORD)
    count = len(postbox.codes)
    submit(page)
    page.fill("[name=code]", postbox.code(count + 1))
    submit(page)
    page.wait_for_url(f"{address}/")


def submit(page: Page) -> None:
    page.locator("main form button[type=submit]").first.click()
