"""The most important tests once more in WebKit, the engine of every iPhone."""

from __future__ import annotations

import json
import os
import signal
import time

import pytest

from tests.support.beat import COVERED, WATCH, steps
from tests.support.people import BORN, NAO, PASSWORD
from tests.support.ready import children
from tests.support.webkit import WebKit
from tests.test_accessibility import CUT
from tests.test_browser import until

HEAD = "return getComputedStyle(document.querySelector('.certificate header')).backgroundColor"
LOCK = """
window.asked = [];
const ask = navigator.wakeLock.request.bind(navigator.wakeLock);
navigator.wakeLock.request = kind => ask(kind).then(
  lock => { asked.push("held"); return lock; }, error => { asked.push(error.name); throw error; });
"""


@pytest.fixture(scope="module")
def window():
    with WebKit() as opened:
        yield opened


@pytest.fixture
def webkit(window, site):
    """A window without cookies, at the login."""
    window.call("/cookie", "DELETE")
    window.go(f"{site[0]}/login")
    return window


def there(webkit, selector: str) -> None:
    until(lambda: webkit.js(f"return !!document.querySelector({json.dumps(selector)})"), 10)


def covered(webkit) -> bool:
    return webkit.js(f"return {COVERED}")


@pytest.fixture
def live(webkit, site, postbox):
    """WebKit with a live certificate, after first use and a login."""
    _, _, letters = site
    login_id, temporary = letters[NAO]
    webkit.send(username=login_id, password=temporary)
    there(webkit, "[name=bday]")
    count = len(postbox.codes)
    webkit.send(bday=BORN[NAO], new_password=PASSWORD, email="nao@example.jp")
    there(webkit, "[name=code]")
    webkit.send(code=postbox.code(count + 1))
    there(webkit, "form[action$='/logout']")
    webkit.click("form[action$='/logout'] button")
    there(webkit, "[name=username]")
    webkit.send(username=login_id, password="wrong")
    there(webkit, ".problems")
    count = len(postbox.codes)
    webkit.send(username=login_id, password=PASSWORD)
    there(webkit, "[name=code]")
    webkit.send(code=postbox.code(count + 1))
    there(webkit, "a[href*='/certificates/']")
    webkit.js("document.querySelector('a[href*=\"/certificates/\"]').click()")
    there(webkit, "#clock.live")
    until(lambda: not covered(webkit), 5)
    return webkit


def stop(site, how: signal.Signals) -> None:
    """Let every process of the server stand still (SIGSTOP), or go on (SIGCONT)."""
    _, process, _ = site
    for child in children(process.pid):
        os.kill(child, how)


def test_a_minute_goes_by_second_by_second_the_head_answers_and_a_server_that_dies_is_seen(
    live, site
):
    _, process, _ = site
    blue = live.js(HEAD)
    live.js(LOCK)
    live.click("#tap")
    assert live.js(HEAD) != blue
    until(lambda: "held" in live.js("return asked"), 3)
    live.click("#tap")
    assert live.js(HEAD) == blue
    live.js(WATCH)
    time.sleep(60)
    seen, veils = live.js("return [seen, veils]")
    assert set(steps(seen)) == {1}
    assert len(seen) >= 60
    assert veils == 0
    process.terminate()
    process.wait(40)
    assert until(lambda: covered(live), 8) < 5.5
    assert "03-0000-1234" in live.js(
        "return document.elementFromPoint(innerWidth / 2, innerHeight / 2).closest('.veil').textContent"
    )


def test_a_card_that_was_out_of_sight_is_covered_until_a_fresh_tick(live, site):
    live.hide()
    time.sleep(3)
    live.show()
    assert until(lambda: not covered(live), 3) < 1.5
    live.hide()
    stop(site, signal.SIGSTOP)
    try:
        time.sleep(3)
        live.show()
        until(lambda: not live.js("return document.hidden"), 3)
        assert covered(live)
    finally:
        stop(site, signal.SIGCONT)
    assert until(lambda: not covered(live), 8) < 6


def test_back_shows_no_dead_card(live, site):
    address, _, _ = site
    live.go(f"{address}/help")
    stop(site, signal.SIGSTOP)
    try:
        live.js("history.back()")
        until(lambda: "/certificates/" in live.js("return location.pathname"), 3)
        assert live.js("return !document.getElementById('clock')") or covered(live)
    finally:
        stop(site, signal.SIGCONT)


def test_no_heading_of_a_narrow_phone_is_cut_inside_a_word(live, site):
    address, _, _ = site
    seen = []
    paths = ("/", "/household", "/account", "/account/password", "/account/email", "/nowhere")
    for path in (*paths, "/help", "/staff", "/password/forgot", "/password/reset/x"):
        live.go(address + path)
        live.js("document.documentElement.style.width = '320px'")
        seen += live.js("return [...document.querySelectorAll('h1')].map(h => h.textContent)")
        assert live.js(f"return {CUT}") == [], path
    assert len(seen) == 10
