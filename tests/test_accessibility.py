"""Check every screen in every state with axe, in both languages, light and dark. Then use it by
keyboard alone, and without JavaScript.
"""

from __future__ import annotations

import datetime as dt
from importlib.resources import files
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, expect

import models
from models import Mail, Member
from tests.support.browsers import first_use, log_in_again, submit
from tests.support.lock import Lock, add
from tests.support.people import BORN, NAO, PASSWORD
from tests.support.phone import Page as Seen
from tests.support.phone import Phone

AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8")
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
RUN = "async options => (await axe.run(document, options)).violations.map(v => [v.id, v.nodes[0].html, v.nodes[0].failureSummary])"

CONTRAST = """selector => {
    const channels = colour => colour.match(/[\\d.]+/g).map(Number)
    const light = colour => channels(colour).slice(0, 3).map(part => part / 255)
        .map(part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
        .reduce((sum, part, at) => sum + part * [0.2126, 0.7152, 0.0722][at], 0)
    const behind = node => {
        const colour = getComputedStyle(node).backgroundColor, alpha = channels(colour)[3]
        return alpha === 0 ? behind(node.parentElement) : colour
    }
    return [...document.querySelectorAll(selector)].map(node => {
        const [low, high] = [light(getComputedStyle(node).color), light(behind(node))].sort((a, b) => a - b)
        return (high + 0.05) / (low + 0.05)
    })
}"""
"""Of what has text, the ratio of WCAG 2.2 between its colour and the nearest one behind it. axe
leaves it open where something drawn by ::before stands near, as the clock's line does.
"""

FITS = """document.documentElement.scrollWidth <= innerWidth
    && [...document.querySelectorAll("input:not([type=checkbox])")].every(input => !input.offsetParent || input.clientWidth >= 120)"""

CUT = """(() => {
    const found = []
    for (const head of document.querySelectorAll("h1, h2, label, .veil b, .ended p[lang]")) {
        const texts = document.createTreeWalker(head, NodeFilter.SHOW_TEXT)
        for (let node; node = texts.nextNode();) {
            if (node.parentElement.closest("small, .unseen")) continue
            const top = at => {
                const range = document.createRange()
                range.setStart(node, at)
                range.setEnd(node, at + 1)
                return (range.getClientRects()[0] || {}).top
            }
            for (let at = 1; at < node.length; at++)
                if (top(at) > top(at - 1) + 5 && !/[\\s、。・：）」]/.test(node.data[at - 1]))
                    found.push(node.data.slice(0, at) + "|" + node.data.slice(at))
        }
    }
    return found
})()"""
"""The headings and questions whose lines end inside a word: neither after a space or a mark nor at
a <wbr>."""


class Eye:
    """Draws what a phone without JavaScript got, in a browser that asks the program itself, as that
    phone, for the rest."""

    def __init__(self, drawn: Page, phone: Phone, language: str) -> None:
        self.drawn, self.language, self.html, self.seen = drawn, language, "", 0
        self.of(phone)
        drawn.context.add_init_script(AXE)
        drawn.route("**/*", self._answer)

    def of(self, phone: Phone) -> Phone:
        phone.client.set_cookie("lang", self.language)
        self.phone = phone
        return phone

    def _answer(self, route) -> None:
        address = urlsplit(route.request.url)
        if address.path == "/drawn":
            return route.fulfill(body=self.html, content_type="text/html; charset=utf-8")
        with self.phone.client.get(address.path) as answer:
            return route.fulfill(
                status=answer.status_code, body=answer.data, content_type=answer.content_type
            )

    def look(self, page: Seen | None = None, until: str = "main") -> None:
        """Nothing on the page is against the rules, light or dark, with everything unfolded; 320 px
        hold it, at twice the text too, and no heading is cut inside a word."""
        self.html = (page or self.phone.page).html
        self.seen += 1
        self.drawn.goto("http://localhost/drawn")
        self.drawn.locator(until).first.wait_for()
        self.drawn.evaluate(
            "document.querySelectorAll('details').forEach(found => { found.open = true })"
        )
        for size in ("200%", ""):
            self.drawn.evaluate("size => { document.documentElement.style.fontSize = size }", size)
            assert self.drawn.evaluate(FITS), (self.drawn.title(), size)
        assert self.drawn.evaluate(CUT) == []
        for colours, rules in (("dark", ["color-contrast"]), ("light", RULES)):
            self.drawn.emulate_media(color_scheme=colours)
            assert self.drawn.evaluate(RUN, {"runOnly": rules}) == [], (self.drawn.title(), colours)


@pytest.fixture(params=["ja", "en"])
def eye(page, app, request):
    page.set_viewport_size({"width": 320, "height": 640})
    return Eye(page, Phone(app), request.param)


def test_axe_has_nothing_against_what_is_seen_before_a_login(eye, letters, mails):
    phone, look = eye.phone, eye.look
    for path in ("/login", "/login?ended=1", "/help", "/staff", "/nowhere", "/password/forgot"):
        look(phone.get(path))
    phone.send(username="A", email="")
    look()
    look(phone.post("/login", {"username": "x" * 100_000}))
    phone.get("/login")
    for number in range(11):
        phone.send(username=letters[NAO][0], password="wrong")
        if number in (0, 10):
            look()
    new = "戸田 海斗"
    phone.get("/login")
    phone.send(username=letters[new][0], password=letters[new][1])
    look()
    phone.send(bday="1979", new_password="a", email="b")
    look()
    phone.send(bday=BORN[new], new_password=PASSWORD, email="kaito@example.jp")
    look()
    for state in ("waiting", "failed"):
        Mail.update(state=state).execute()
        look(phone.get("/welcome/code"))
    phone.send(code="12")
    look()
    phone.send(code=mails.code)
    assert (phone.page.url, eye.seen) == ("/", 16)


def test_axe_has_nothing_against_home_in_any_state_the_certificate_and_its_end(eye, enroll, time):
    phone, look = eye.of(enroll(NAO)), eye.look
    look()
    look(phone.get("/"))
    look(phone.get("/household"))
    phone.send("/allow")
    look()
    look(phone.get("/"))
    look(phone.get(phone.page.link("/certificates/")), "#clock.live")
    time.pass_(models.DISPLAY_LIFE + 1)
    look(until="#clock.ended")
    for change in (
        {"issued_on": dt.date(2026, 12, 1)},
        {"issued_on": dt.date(2025, 11, 15), "delivery": "paper"},
        {"delivery": "web", "expires_on": dt.date(2026, 11, 22)},
        {"delivery": "none"},
        {"lost_on": dt.date(2026, 4, 1)},
    ):
        Member.update(**change).where(Member.name == NAO).execute()
        look(phone.get("/"))
    assert eye.seen == 12


def test_axe_has_nothing_against_a_card_under_the_veil(eye, enroll):
    phone = eye.of(enroll(NAO))
    page = phone.get(phone.get("/").link("/certificates/"))
    eye.drawn.route("**/clock/*", lambda route: route.abort())
    eye.html = page.html
    eye.drawn.goto("http://localhost/drawn")
    eye.drawn.locator("#clock .veil").wait_for()
    assert eye.drawn.evaluate(RUN, {"runOnly": RULES}) == []
    for selector, count in (
        (".veil > *", 7),
        ("#clock i, #clock b", 3),
        (".keys dd", 7),
        (".rest dd", 4),
    ):
        ratios = eye.drawn.evaluate(CONTRAST, selector)
        assert len(ratios) >= count, selector
        assert min(ratios) >= 7, selector
    said = eye.drawn.evaluate(
        "getComputedStyle(document.querySelector('#clock .veil'), '::after').content"
    )
    assert ("No connection" in said) is (eye.language == "en")
    eye.drawn.evaluate("document.documentElement.style.fontSize = '200%'")
    for title in eye.drawn.locator(".veil b").all():
        assert title.bounding_box()["y"] >= 0, "its beginning is out of reach"


def test_axe_has_nothing_against_the_account_and_a_forgotten_password(
    eye, enroll, log_in, letters, mails, time
):
    phone, look = eye.of(enroll(NAO, trust="yes")), eye.look
    log_in(NAO)
    look(phone.get("/account/passkey"))
    add(phone, Lock())
    phone.get(phone.get("/").link("/certificates/"))
    look(phone.get("/account"))
    look(phone.get("/account/password"))
    phone.send(password="wrong", new_password="a")
    look()
    look(phone.get("/account/email"))
    phone.send(password=PASSWORD, email="b")
    look()
    phone.send(password=PASSWORD, email="naoto@example.com")
    look()
    phone.send(code=mails.code)
    look()
    phone.post("/logout")
    phone.get("/password/forgot")
    phone.send(username=letters[NAO][0], email="naoto@example.com")
    look()
    link = urlsplit(mails.link).path
    look(phone.get(link))
    phone.send(bday="1979", new_password="a")
    look()
    look(phone.get(link + "x"))
    log_in(NAO, phone)
    time.pass_(15 * 60)
    phone.get("/account/passkey")
    phone.send(password="wrong")
    look()
    assert eye.seen == 13


def test_keys_alone_lead_from_login_to_the_certificate(page, site, postbox):
    address, _, letters = site
    first_use(page, site, postbox)
    page.context.clear_cookies()
    page.goto(f"{address}/login")

    def tab_to(selector: str) -> None:
        """Presses Tab until the focus is there, where it can be seen."""
        for _ in range(30):
            page.keyboard.press("Tab")
            if page.evaluate("wanted => document.activeElement.matches(wanted)", selector):
                return expect(page.locator(":focus-visible")).to_be_in_viewport()
        raise AssertionError(f"no key leads to {selector}")

    tab_to("[name=username]")
    page.keyboard.type("wrong")
    page.keyboard.press("Enter")
    expect(page.locator(".problems")).to_be_focused()
    tab_to("[name=username]")
    page.keyboard.press("Control+a")
    page.keyboard.type(letters[NAO][0])
    tab_to("[name=password]")
    page.keyboard.type(PASSWORD)
    tab_to("[data-reveal]")
    page.keyboard.press("Space")
    assert page.locator("[name=password]").get_attribute("type") == "text"
    count = len(postbox.codes)
    page.keyboard.press("Enter")
    expect(page.locator("[name=code]")).to_be_focused()
    page.keyboard.type(postbox.code(count + 1))
    tab_to("[name=trust]")
    page.keyboard.press("Space")
    expect(page.locator("[name=trust]")).to_be_checked()
    page.keyboard.press("Enter")
    page.wait_for_url(f"{address}/")
    tab_to("a[href='/household']")
    page.keyboard.press("Enter")
    page.wait_for_url(f"{address}/household")
    tab_to(".rows form button")
    page.keyboard.press("Enter")
    expect(page.locator("[name=allow][value=no]")).to_be_attached()
    page.goto(f"{address}/")
    tab_to("a.main.big")
    page.keyboard.press("Enter")
    expect(page.locator("#clock.live")).to_be_visible()
    tab_to("main a.button")


def test_without_javascript_everything_works_but_the_clock_in_either_language(
    chromium, site, postbox
):
    _, _, letters = site
    context = chromium.new_context(
        viewport={"width": 320, "height": 640},
        is_mobile=True,
        java_script_enabled=False,
        locale="en-GB",
    )
    phone = context.new_page()
    phone.set_default_timeout(10_000)
    first_use(phone, site, postbox)
    expect(phone.locator("h2").first).to_have_text("Family")
    phone.locator("form.language button").click()
    expect(phone.locator("a.main.big")).to_have_text("資格確認書を表示する")
    phone.locator("form[action$='/logout'] button").click()
    phone.fill("[name=username]", letters[NAO][0])
    phone.fill("[name=password]", "wrong")
    submit(phone)
    expect(phone.locator(".problems")).to_contain_text("違います")
    expect(phone.locator("[name=username]")).to_have_value(letters[NAO][0])
    log_in_again(phone, site, postbox)
    phone.locator("a[href*='/certificates/']").first.click()
    expect(phone.locator("p.noscript")).to_be_visible()
    context.close()
