"""What it costs a person to reach the ticking card: taps, fields, pages and swipes of a thumb on a
phone of 390 by 664 pixels, from the icon on the home screen or the letter in hand."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, expect

from tests.support.people import BORN, PASSWORD

SUBSCRIBER, MOTHER, MYNA = "佐倉 直人", "佐倉 美咲", "戸田 さくら"


class Steps(NamedTuple):
    taps: int
    fields: int
    pages: int
    swipes: int


WANTED = {
    "first use": Steps(taps=4, fields=6, pages=5, swipes=0),
    "first use, マイナ保険証": Steps(taps=3, fields=6, pages=4, swipes=0),
    "logged in, own card": Steps(taps=1, fields=0, pages=1, swipes=0),
    "logged in, a child's card": Steps(taps=2, fields=0, pages=2, swipes=0),
    "trusted phone, session over": Steps(taps=2, fields=1, pages=2, swipes=0),
    "another phone": Steps(taps=3, fields=3, pages=3, swipes=0),
    "the subscriber allows the mother": Steps(taps=3, fields=0, pages=3, swipes=1),
    "the mother, a child's card": Steps(taps=2, fields=0, pages=2, swipes=0),
}
"""The icon counts as a tap, and each answer that fills the screen as a page."""


class Thumb:
    """A person with a phone, whose steps are counted."""

    def __init__(self, page: Page, address: str) -> None:
        self.page, self.address = page, address
        self.taps = self.fields = self.pages = self.swipes = 0
        page.on("response", self._count)

    def _count(self, response) -> None:
        self.pages += response.request.is_navigation_request() and response.status < 300

    def steps(self) -> Steps:
        """Return what was counted since the last time."""
        counted = Steps(self.taps, self.fields, self.pages, self.swipes)
        self.taps = self.fields = self.pages = self.swipes = 0
        return counted

    def icon(self) -> None:
        self.taps += 1
        self.page.goto(f"{self.address}/certificates/mine")

    def type(self, **fields: str) -> None:
        """Fill in what is not there yet. An underscore in a name stands for a hyphen."""
        for name, value in fields.items():
            field = self.page.locator(f"[name={name.replace('_', '-')}]")
            if field.input_value() != value:
                self.fields += 1
                field.fill(value)

    def tap(self, selector: str) -> None:
        """Press it, after as many swipes as bring it wholly into sight."""
        wanted = self.page.locator(selector).first
        wanted.wait_for()
        inside = "e => { const r = e.getBoundingClientRect(); return r.top >= 0 && r.bottom <= innerHeight }"
        while not wanted.evaluate(inside):
            self.swipes += 1
            self.page.evaluate("scrollBy(0, innerHeight * 0.7)")
        self.taps += 1
        wanted.tap()

    def send(self) -> None:
        """Submit the form by the keyboard's own key, as after the last field."""
        self.taps += 1
        self.page.keyboard.press("Enter")
        self.page.wait_for_load_state()


@pytest.fixture
def thumb(page, site):
    page.set_viewport_size({"width": 390, "height": 664})
    return Thumb(page, site[0])


def register(thumb: Thumb, letters, postbox, name: str, **boxes: bool) -> None:
    """Go from the letter to the end of the registration."""
    page, (login_id, temporary) = thumb.page, letters[name]
    page.context.clear_cookies()
    page.goto(f"{thumb.address}/login")
    thumb.type(username=login_id, password=temporary)
    thumb.send()
    page.wait_for_url("**/welcome")
    thumb.type(bday=BORN[name], new_password=PASSWORD, email=f"{login_id}@example.jp")
    count = len(postbox.codes)
    thumb.send()
    page.wait_for_url("**/welcome/code")
    thumb.type(code=postbox.code(count + 1))
    if boxes.get("trust"):
        page.locator("[name=trust]").check()
    thumb.send()
    page.wait_for_url(f"{thumb.address}/")


def log_in(thumb: Thumb, letters, postbox, name: str) -> None:
    """Go from the login page to wherever it leads, with a code if the phone is not trusted."""
    count = len(postbox.codes)
    thumb.type(username=letters[name][0], password=PASSWORD)
    thumb.send()
    thumb.page.wait_for_url(lambda url: urlsplit(url).path != "/login")
    if thumb.page.url.endswith("/login/code"):
        thumb.type(code=postbox.code(count + 1))
        thumb.send()


def test_the_steps_to_the_ticking_card_are_counted(thumb, site, postbox):
    page, letters, seen = thumb.page, site[2], {}
    card = page.locator("#clock.live")
    register(thumb, letters, postbox, MYNA)
    expect(page.locator(".is-none")).to_be_visible()
    seen["first use, マイナ保険証"] = thumb.steps()

    register(thumb, letters, postbox, MOTHER, trust=True)
    thumb.tap("a.main.big")
    expect(card).to_be_visible()
    seen["first use"] = thumb.steps()
    thumb.icon()
    expect(card).to_be_visible()
    seen["logged in, own card"] = thumb.steps()
    page.context.clear_cookies(name="session")
    thumb.icon()
    log_in(thumb, letters, postbox, MOTHER)
    expect(card).to_be_visible()
    seen["trusted phone, session over"] = thumb.steps()
    page.context.clear_cookies()
    thumb.icon()
    log_in(thumb, letters, postbox, MOTHER)
    expect(card).to_be_visible()
    seen["another phone"] = thumb.steps()

    register(thumb, letters, postbox, SUBSCRIBER)
    thumb.steps()
    thumb.icon()
    thumb.tap(".people a")
    expect(card).to_be_visible()
    seen["logged in, a child's card"] = thumb.steps()
    page.goto(thumb.address)
    thumb.steps()
    thumb.icon()
    thumb.tap("a[href='/household']")
    thumb.tap(".rows button")
    expect(page.locator("[name=allow][value=no]")).to_be_attached()
    seen["the subscriber allows the mother"] = thumb.steps()

    page.context.clear_cookies()
    page.goto(f"{thumb.address}/login")
    log_in(thumb, letters, postbox, MOTHER)
    page.wait_for_url(f"{thumb.address}/")
    thumb.steps()
    thumb.icon()
    thumb.tap(".people a")
    expect(card).to_be_visible()
    seen["the mother, a child's card"] = thumb.steps()
    assert seen == WANTED
