"""Tests of `make demo`: the everyday path that it prints ends at a ticking card, and an address that
cannot be served is told in a sentence."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import signal
import socket
import subprocess
import sys

import pytest

from commands.server import listening
from settings import BadSetting
from tests.support.browser import Browser
from tests.support.machines import until
from tests.support.postgres import free_port
from tests.support.sample import ROOT

RUN = "import pathlib, settings; settings.INSTANCE = pathlib.Path({!r}); import app; app.create_app().cli.main(['demo'])"
CODE = r"(?<!\d)\d{6}(?!\d)"
ROW = r"^  (\w-\d{3}-\d{3}-\d{3})  ([\w-]{16})  (\d{4}-\d\d-\d\d)  (\S+ \S+)  +(\S.*)$"


@pytest.fixture
def demo(tmp_path, monkeypatch):
    """demo(host) starts the demo with its files in the test's folder, and returns its port and a
    function that returns what it has printed."""
    port, running = free_port(), []
    monkeypatch.setenv("PORT", str(port))
    printed = tmp_path / "printed"

    def start(host: str):
        monkeypatch.setenv("HOST", host)
        command = [sys.executable, "-c", RUN.format(str(tmp_path))]
        with printed.open("w") as out:
            running.append(subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=out))

        def serves() -> bool:
            assert running[0].poll() is None, printed.read_text("utf-8")
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        until(serves)
        return port, lambda: printed.read_text("utf-8")

    yield start
    for process in running:
        process.send_signal(signal.SIGINT)
        process.wait(40)


@pytest.mark.slow
def test_the_first_person_of_the_table_needs_three_fields_to_a_ticking_card(demo):
    port, printed = demo("127.0.0.1")
    assert f"Open http://localhost:{port} and log in as 青葉 直人" in printed()
    assert "narrower than 600 px" in printed()
    assert "▄" not in printed(), "no phone can open a code of localhost"
    assert "WARNING" not in printed()
    rows = re.findall(ROW, printed(), re.M)
    assert len(rows) == 9
    login_id, password, _, name, _ = rows[0]
    assert name == "青葉 直人"
    phone = Browser(port, "127.0.0.1")
    with contextlib.closing(phone.link):
        assert phone.ask("/login", username=login_id, password=password)[0] == 303
        until(lambda: re.search(CODE, printed()))
        assert phone.ask("/login/code", code=re.search(CODE, printed())[0])[0] == 303
        card = re.search(r"/certificates/\w+", phone.ask("/")[1])
        clock = re.search(r'hx-get="([^"]+)"', phone.ask(card[0])[1])
        first = phone.ask(clock[1])[1]
        until(lambda: phone.ask(clock[1])[1] != first, 2)


@pytest.mark.slow
def test_a_demo_for_phones_prints_the_code_of_an_address_that_they_can_open(demo):
    port, printed = demo("0.0.0.0")
    address = re.search(r"Open (http://\S+) ", printed())[1]
    if "localhost" in address:
        pytest.skip("this machine has no address but its own")
    assert "▄" in printed()
    host, _, told = address.removeprefix("http://").rpartition(":")
    assert told == str(port)
    assert not host.startswith("127.")


@pytest.mark.parametrize(
    ("host", "port", "sentence"),
    [
        ("asagao", "8000", "HOST must be an address of this machine"),
        ("192.0.2.1", "8000", "Nothing can listen on 192.0.2.1, port 8000"),
        ("127.0.0.1", "80a", "PORT must be a number from 1 to 65535"),
        ("127.0.0.1", "0", "PORT must be a number from 1 to 65535"),
        ("127.0.0.1", "65536", "PORT must be a number from 1 to 65535"),
    ],
)
def test_an_address_that_cannot_be_served_is_told(monkeypatch, host, port, sentence):
    monkeypatch.setenv("HOST", host)
    monkeypatch.setenv("PORT", port)
    with pytest.raises(BadSetting, match=re.escape(sentence)):
        listening("demo")


def test_a_port_in_use_is_told(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as other:
        monkeypatch.setenv("PORT", str(other.getsockname()[1]))
        monkeypatch.setenv("HOST", "127.0.0.1")
        with pytest.raises(
            BadSetting, match=f"{os.strerror(errno.EADDRINUSE)}.*make demo PORT=8001"
        ):
            listening("demo")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_localhost_is_the_address_of_this_machine(monkeypatch, host):
    port = str(free_port())
    monkeypatch.setenv("PORT", port)
    monkeypatch.setenv("HOST", host)
    assert listening("demo") == ("127.0.0.1", port)


def test_a_page_has_a_code_to_scan_only_if_a_phone_can_open_it(app, enroll):
    phone = enroll("佐倉 直人")
    card = phone.get("/").link("/certificates/")
    pages = ["/", card, "/staff"]
    assert ["<svg" in phone.get(page).html.partition('class="qr"')[2] for page in pages] == [
        False
    ] * 3
    app.config["BASE_URL"] = "https://kakunin.example.jp"
    assert ["<svg" in phone.get(page).html.partition('class="qr"')[2] for page in pages] == [
        True
    ] * 3
