"""Two machines share one PostgreSQL behind the proxy of deploy/. If one of them dies, nobody
notices."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import re
import secrets
import ssl
import subprocess
import threading
import time
import urllib.parse

import pytest
from playwright.sync_api import expect

import models
from accounts.keys import Keys
from settings import SETTINGS
from tests.support.browser import Browser
from tests.support.browsers import first_use, submit
from tests.support.crowd import hold
from tests.support.displays import give_passwords, open_displays
from tests.support.machines import FLASK, Machine, Nginx, until
from tests.support.people import NAO, PASSWORD, settings_for
from tests.support.postgres import Cluster, free_port
from tests.support.ready import path_of
from tests.support.sample import ROOT, import_sample
from tests.support.servers import environment

WATCH = """() => {
    window.seen = []
    window.covered = 0
    setInterval(() => {
        const clock = document.querySelector('#clock'), text = clock ? clock.innerText.match(/\\d\\d:\\d\\d:\\d\\d$/m) : null
        const touched = document.elementFromPoint(innerWidth / 2, innerHeight / 2)
        if (text && seen.at(-1) !== text[0]) seen.push(text[0])
        if (!touched || touched.closest('.veil')) covered += 1
    }, 50)
}"""


def skipped(times: list[str]) -> int:
    """The most seconds that were not shown between two that were."""
    seconds = [
        sum(int(part) * unit for part, unit in zip(t.split(":"), (3600, 60, 1), strict=True))
        for t in times
    ]
    return max((later - sooner) % 86400 - 1 for sooner, later in itertools.pairwise(seconds))


@pytest.fixture
def two(tmp_path, tmp_path_factory, monkeypatch, postbox):
    """(the first machine, which serves; the second, which is not there yet; the proxy; logins by
    name), over TLS."""
    path_of("nginx")
    with Cluster() as cluster, contextlib.ExitStack() as ends:
        settings_for(monkeypatch, cluster.url())
        monkeypatch.delenv("KAKUNIN_INSECURE_COOKIES")
        port = free_port()
        monkeypatch.setenv("KAKUNIN_BASE_URL", f"https://localhost:{port}")
        monkeypatch.setenv("KAKUNIN_PROXIES", "1")
        monkeypatch.setenv("KAKUNIN_MAIL_URL", f"smtp://127.0.0.1:{postbox.port}")
        logins = import_sample(tmp_path)
        machines = [Machine({}), Machine({})]
        for machine in machines:
            ends.callback(machine.end)
        nginx = Nginx(tmp_path_factory.mktemp("nginx"), port, machines)
        ends.callback(nginx.end)
        yield *machines, nginx, logins


@pytest.fixture
def page(chromium):
    context = chromium.new_context(
        viewport={"width": 390, "height": 844},
        is_mobile=True,
        locale="ja-JP",
        ignore_https_errors=True,
    )
    page = context.new_page()
    page.set_default_timeout(15_000)
    yield page
    context.close()


def test_one_of_two_machines_dies_and_no_one_is_logged_out(two, page, postbox):
    first, second, nginx, logins = two
    second.end()  # the login can only reach the first
    first_use(page, (nginx.address, first.process, logins), postbox)
    page.locator("form[action$='/logout'] button").click()
    page.fill("[name=username]", logins[NAO][0])
    page.fill("[name=password]", PASSWORD)
    count = len(postbox.codes)
    submit(page)
    expect(page.locator("[name=code]")).to_be_visible()
    code = postbox.code(count + 1)
    second.start()
    time.sleep(2.1)  # the proxy's fail_timeout, until which it asks nobody who did not answer
    first.kill()  # the code can only reach the second
    page.fill("[name=code]", code)
    submit(page)
    page.wait_for_url(f"{nginx.address}/")
    first.start()
    cookies = {cookie["name"]: cookie for cookie in page.context.cookies()}
    assert cookies["__Host-session"]["secure"]

    page.locator("a[href*='/certificates/']").first.click()
    expect(page.locator("#clock.live")).to_be_visible()
    page.evaluate(WATCH)
    until(lambda: len(page.evaluate("seen")) >= 4)
    second.kill()
    killed = len(page.evaluate("seen"))
    until(lambda: len(page.evaluate("seen")) >= killed + 6)
    second.start()
    again = len(page.evaluate("seen"))
    until(lambda: len(page.evaluate("seen")) >= again + 3)
    slow = threading.Thread(target=lambda: answers.append(slowly(first)))
    answers: list[int] = []
    slow.start()
    time.sleep(0.5)
    assert first.end() == 0
    slow.join()
    ended = len(page.evaluate("seen"))
    until(lambda: len(page.evaluate("seen")) >= ended + 4)
    seen, covered = page.evaluate("[seen, covered]")
    print(
        f"{len(seen)} seconds shown, at most {skipped(seen)} skipped at once, veil seen {covered} times in a twentieth of one"
    )
    assert skipped(seen) <= 1, seen
    assert covered == 0
    assert answers == [422], "a form in flight was not answered"
    page.goto(f"{nginx.address}/")
    expect(page.locator("form[action$='/logout']")).to_be_visible()
    second.kill()
    page.goto(f"{nginx.address}/")
    expect(page.locator("main")).to_contain_text("1分ほど待って")
    names = (
        path
        for path in nginx.conf.parent.glob("*.log")
        if "/certificates/" in path.read_text("utf-8")
    )
    assert not list(names), "the proxy's log holds an address of a certificate"


def test_the_proxy_takes_modern_ciphers_alone_and_no_flood_of_forms(two):
    first, second, nginx, _ = two
    address = nginx.address.removeprefix("https://")

    def handshake(*options: str) -> int:
        command = ["openssl", "s_client", "-connect", address, "-brief", *options]
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=20, check=False
        ).returncode

    assert handshake("-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256") == 0
    for old in ("AES128-GCM-SHA256", "AES256-SHA", "CAMELLIA256-SHA", "ECDHE-RSA-AES128-SHA"):
        assert handshake("-tls1_2", "-cipher", old) != 0, old

    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    link = http.client.HTTPSConnection(address, timeout=20, context=trusting)

    def send(method: str) -> tuple[int, str]:
        link.request(
            method, "/login", "x=1" if method == "POST" else None, {"Sec-Fetch-Site": "cross-site"}
        )
        answer = link.getresponse()
        return answer.status, answer.read().decode()

    began = time.monotonic()
    statuses = [send("POST")[0] for _ in range(400)]
    free = 100 + 10 * (time.monotonic() - began)
    assert set(statuses[:100]) == {403}  # a whole clinic at once
    assert statuses.count(403) <= free + 2
    if statuses.count(429):  # unless this machine is slower than ten a second
        status, page = next(
            (status, page) for status, page in iter(lambda: send("POST"), None) if status == 429
        )
        assert "10秒ほど待って" in page
    assert send("GET")[0] == 200
    for machine in (first, second):
        machine.end()
    status, page = send("GET")
    assert status == 503
    assert "1分ほど待って" in page
    link.request("GET", "/static/none.css")
    answer = link.getresponse()
    assert "1分ほど待って" in answer.read().decode()
    stated = {
        "Content-Type": "text/html; charset=utf-8",
        "Cache-Control": "no-store",
        "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'",
        "X-Content-Type-Options": "nosniff",
        "Strict-Transport-Security": "max-age=31536000",
    }
    assert {name: answer.headers[name] for name in stated} == stated
    link.close()


def test_a_key_that_rotates_machine_by_machine_ends_nothing(tmp_path):
    """As docs/operations.md says: first each machine gets the new key as a fallback, then each
    exchanges the two. After each restart everybody is seen by both machines, and others log in,
    with the password on one machine and the code on the other."""
    env = environment(tmp_path)
    old, new = env["KAKUNIN_SECRET_KEY"], secrets.token_hex(32)
    phones = open_displays(env, 20)
    give_passwords(range(11, 21))
    logged_in, waiting = [], iter(range(11, 21))
    with contextlib.ExitStack() as ends:
        machines = [Machine(env), Machine(env)]
        for machine in machines:
            ends.callback(machine.end)

        def all_are_known() -> None:
            for here, there in (machines, machines[::-1]):
                browser, number = Browser(here.port, "203.0.113.7"), next(waiting)
                form = {"username": f"K{number:09}", "password": PASSWORD}
                assert browser.ask("/login", **form)[0] == 303
                keys = Keys(here.env["KAKUNIN_SECRET_KEY"])
                with models.database.connection_context():
                    asked = models.Challenge.account == number
                    code = keys.code(models.Challenge.get(asked))
                go_to(there, browser)
                assert browser.ask("/login/code", code=code)[0] == 303
                logged_in.append(browser)
                for each in logged_in:
                    go_to(here, each)
                    assert each.ask("/")[0] == 200
                    each.link.close()
            for machine in machines:
                assert hold(machine.port, phones[:10], 2).missed == 0

        all_are_known()
        for key, fallbacks in ((old, [new]), (new, [old])):
            for machine in machines:
                assert machine.end() == 0
                machine.env |= {
                    "KAKUNIN_SECRET_KEY": key,
                    "KAKUNIN_SECRET_KEY_FALLBACKS": json.dumps(fallbacks),
                }
                machine.start()
                all_are_known()
    print(f"{len(logged_in)} logins and 10 live clocks outlived a key that was exchanged")


def go_to(machine: Machine, browser: Browser) -> None:
    """Let the browser's next request reach this machine."""
    browser.link.close()
    browser.link = http.client.HTTPConnection("127.0.0.1", machine.port, timeout=30)


def slowly(machine: Machine) -> int:
    """The status of a login whose form takes two seconds to come."""
    link = http.client.HTTPConnection("127.0.0.1", machine.port, timeout=20)
    body = urllib.parse.urlencode({"username": "A234567892", "password": "wrong"}).encode()
    link.putrequest("POST", "/login", skip_host=True)
    kind = "application/x-www-form-urlencoded"
    headers = {
        "Host": "localhost",
        "Sec-Fetch-Site": "same-origin",
        "Content-Type": kind,
        "Content-Length": str(len(body)),
    }
    for name, value in headers.items():
        link.putheader(name, value)
    link.endheaders(body[:10])
    time.sleep(2)
    link.send(body[10:])
    return link.getresponse().status


def test_the_unit_is_one_that_systemd_takes(tmp_path):
    verify = path_of("systemd")
    text = (ROOT / "deploy/kakunin.service").read_text("utf-8")
    assert text.count("/opt/kakunin/.venv/bin/flask") == 3
    unit = tmp_path / "kakunin.service"
    unit.write_text(text.replace("/opt/kakunin/.venv/bin/flask", FLASK[0]), "utf-8")
    done = subprocess.run(
        [verify, "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_environment_file_names_each_setting():
    text = (ROOT / "deploy/kakunin.env").read_text("utf-8")
    named = set(re.findall(r"^#?(\w+)=", text, re.M))
    assert named == {f"KAKUNIN_{name}" for name in SETTINGS} | {
        "HOST",
        "PORT",
        "WORKERS",
        "THREADS",
        "BACKLOG",
        "BACKPRESSURE",
    }
