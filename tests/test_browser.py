"""The main journeys in a real browser, with the real server and a real mail server."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Error as PlaywrightError
from playwright.sync_api import Page, expect

from tests.support.beat import WATCH, line, steps
from tests.support.browsers import first_use, log_in_again, submit
from tests.support.people import BORN, NAO, PASSWORD
from tests.support.ready import children, path_of


def shown_time(page: Page) -> str:
    return re.search(r"\d\d:\d\d:\d\d$", page.locator("#clock").inner_text().strip()).group()


VEIL = "通信が切れています"


def veiled(page: Page) -> bool:
    """Whether the veil is what a finger in the middle of the screen, and on the keys, would touch."""
    return page.evaluate(
        """() => {
            const over = (x, y) => { const e = document.elementFromPoint(x, y); return !!e && !!e.closest('.veil') };
            return over(innerWidth / 2, innerHeight / 2) && over(innerWidth / 2, 220) && over(40, 80);
        }"""
    )


def test_what_was_typed_but_no_password_goes_into_the_other_language(page, site):
    address, _, _ = site
    page.goto(f"{address}/login")
    page.fill("[name=username]", "K234")
    page.fill("[name=password]", PASSWORD)
    page.locator("[data-reveal]").click()
    page.locator("form.language button").click()
    expect(page.locator("html[lang=en]")).to_be_attached()
    typed = [page.input_value(f"[name={name}]") for name in ("username", "password")]
    assert typed == ["K234", ""]
    assert page.evaluate("sessionStorage.length") == 0
    page.goto(f"{address}/password/forgot")
    assert page.input_value("[name=username]") == ""


@pytest.mark.both
def test_from_login_through_a_mailed_code_to_a_clock_that_ticks_and_a_veil_when_it_stops(
    page, site, postbox
):
    _, process, _ = site
    first_use(page, site, postbox)
    page.locator("form[action$='/logout'] button").click()
    log_in_again(page, site, postbox)
    page.locator("a[href*='/certificates/']").first.click()
    seen = {shown_time(page)}
    deadline = time.monotonic() + 8
    while len(seen) < 4 and time.monotonic() < deadline:
        time.sleep(0.1)
        seen.add(shown_time(page))
    assert len(seen) >= 4, seen
    assert not veiled(page)
    process.terminate()
    process.wait(40)
    stopped = time.monotonic()
    while not veiled(page) and time.monotonic() < stopped + 9:
        time.sleep(0.1)
    assert veiled(page)
    assert time.monotonic() - stopped < 6.5
    assert page.get_by_text(VEIL).first.is_visible()


def test_no_screen_scrolls_sideways_and_the_keys_are_on_the_first(page, site, postbox):
    address, _, _ = site
    first_use(page, site, postbox)
    card = page.locator("a[href*='/certificates/']").first.get_attribute("href")
    for width, height in ((320, 568), (390, 664), (360, 560), (430, 932)):
        page.set_viewport_size({"width": width, "height": height})
        for path in (
            "/",
            "/account",
            "/account/password",
            "/account/email",
            "/help",
            "/staff",
            card,
        ):
            page.goto(address + path)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (
                width,
                path,
            )
        if width >= 360:
            expect(page.locator("#clock")).to_be_in_viewport(ratio=1)
            for value in ("06139463", "128", "1024", "昭和54年6月12日"):
                expect(page.get_by_text(value).last).to_be_in_viewport(ratio=1)


@pytest.fixture
def live(page, site, postbox):
    """A phone that shows a live certificate."""
    first_use(page, site, postbox)
    page.locator("a[href*='/certificates/']").first.click()
    expect(page.locator("#clock.live")).to_be_visible()
    return page


def until(condition, seconds: float) -> float:
    """Seconds until it holds; fails after so many."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, "it never held"
        time.sleep(0.05)
    return time.monotonic() - began


def test_a_network_that_is_cut_veils_the_card_and_its_return_lifts_the_veil(live):
    live.context.set_offline(True)
    assert 3.5 < until(lambda: veiled(live), 7) < 6.5
    live.context.set_offline(False)
    assert until(lambda: not veiled(live), 4) < 3


def test_a_server_that_hangs_veils_the_card(live, site):
    _, process, _ = site
    stopped = children(process.pid)
    for child in stopped:
        os.kill(child, signal.SIGSTOP)
    try:
        assert until(lambda: veiled(live), 8) < 6.5
    finally:
        for child in stopped:
            os.kill(child, signal.SIGCONT)
    until(lambda: not veiled(live), 8)


def test_three_seconds_of_latency_do_not_flicker(live):
    def late(route):
        time.sleep(3)
        route.continue_()

    live.route("**/clock/*", late)
    seen, end = [], time.monotonic() + 14
    while time.monotonic() < end:
        seen.append(veiled(live))
        live.wait_for_timeout(100)
    assert not any(seen)


def test_the_clock_goes_second_by_second_whatever_the_latency(live, site):
    """The latency of a tick, in milliseconds, is drawn between the bounds of each of four pages. A
    busy machine may add to one; python -m bench.beat allows none.
    """
    port, pages = urlsplit(site[0]).port, {}
    with contextlib.ExitStack() as lines:
        for bounds in ((0, 0), (0, 200), (300, 300), (600, 600)):
            far = lines.enter_context(line(port, *bounds))
            pages[bounds] = live.context.new_page()
            pages[bounds].goto(live.url.replace(site[0], f"http://127.0.0.1:{far}"))
        live.wait_for_timeout(4000)
        for page in pages.values():
            page.evaluate(f"() => {{ {WATCH} }}")
        live.wait_for_timeout(20_000)
        for bounds, page in pages.items():
            seen, veils = page.evaluate("[seen, veils]")
            found = steps(seen)
            assert sum(found) >= 18, (bounds, found)
            assert len([step for step in found if step != 1]) <= 1, (bounds, found)
            assert veils == 0, bounds


def head(page: Page, selector: str = ".certificate header") -> str:
    """Return the colour of the head."""
    return page.evaluate(
        "found => getComputedStyle(document.querySelector(found)).backgroundColor", selector
    )


def test_the_head_answers_a_tap_and_the_space_bar_as_long_as_the_display_lives(live):
    live.route("**/clock/*", lambda route: route.abort())  # it needs no network
    live.get_by_role("checkbox", name="時計を押すと色が変わります").wait_for()
    colours = [head(live)]
    live.touchscreen.tap(300, 80)
    colours.append(head(live))
    live.touchscreen.tap(60, 20)
    colours.append(head(live))
    live.locator("#tap").focus()
    live.keyboard.press("Space")
    colours.append(head(live))
    assert colours[0] == colours[2] != colours[1] == colours[3]
    until(lambda: veiled(live), 8)
    live.touchscreen.tap(300, 80)
    assert head(live) == colours[3]


def test_even_and_odd_seconds_differ_over_the_whole_head_with_reduced_motion_too(live):
    live.emulate_media(reduced_motion="reduce")
    live.evaluate(
        """() => {
            window.tones = [[], []];
            document.addEventListener("htmx:afterSettle", () => {
                const clock = document.getElementById("clock"), over = getComputedStyle(clock, "::before");
                tones[clock.textContent.slice(-1) % 2].push([over.backgroundColor, parseFloat(over.height)]);
            });
        }"""
    )
    until(lambda: live.evaluate("tones.every(found => found.length > 1)"), 15)
    even, odd = live.evaluate("tones")
    assert len({tone for tone, _ in even}) == len({tone for tone, _ in odd}) == 1
    assert even[0][0] != odd[0][0]
    assert min(height for _, height in even + odd) > 100


@pytest.mark.parametrize("status", [401, 404, 500, 503, 204])
def test_no_other_answer_leaves_the_card_uncovered(live, status):
    live.route("**/clock/*", lambda route: route.fulfill(status=status, body="<p>14:05:33</p>"))
    assert until(lambda: veiled(live), 8) < 7


def test_a_redirect_to_the_login_page_leaves_the_card_covered(live):
    live.route(
        "**/clock/*",
        lambda route: route.fulfill(
            status=200, content_type="text/html", body="<html><body><h1>x</h1></body></html>"
        ),
    )
    until(lambda: not live.get_by_text("06139463").first.is_visible() or veiled(live), 8)
    live.unroute("**/clock/*")
    assert until(lambda: not veiled(live), 4) < 3  # the poller is still there


def test_a_page_whose_htmx_did_not_come_says_so(chromium, live):
    page = live.context.new_page()
    page.route("**/htmx*", lambda route: route.abort())
    page.goto(live.url)
    until(lambda: page.get_by_text("スマホが古いため").is_visible(), 5)
    assert not live.get_by_text("スマホが古いため").is_visible()


def test_back_to_a_refused_form_asks_for_it_anew(page, site):
    address, _, _ = site
    posts = []
    page.on(
        "request", lambda request: posts.append(request.url) if request.method == "POST" else None
    )
    page.goto(f"{address}/login")
    page.fill("[name=username]", "A-234-567-892")
    page.fill("[name=password]", "wrong")
    submit(page)
    page.locator(".problems").wait_for()
    page.goto(f"{address}/password/forgot")
    page.go_back()
    page.locator("[name=password]").wait_for()
    assert page.url == f"{address}/login"
    assert len(posts) == 1
    assert page.locator(".problems").count() == 0


def test_two_taps_on_a_slow_line_send_a_form_once(page, site, postbox):
    address, _, letters = site
    posts = []
    page.on(
        "request", lambda request: posts.append(request.url) if request.method == "POST" else None
    )

    def tap_twice() -> None:
        page.wait_for_load_state()
        button = page.locator("main form button[type=submit]").first
        button.scroll_into_view_if_needed()
        box = button.bounding_box()
        for _ in range(2):
            page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
            page.wait_for_timeout(150)

    with line(urlsplit(address).port, 500, 500) as far:
        page.goto(f"http://127.0.0.1:{far}/login")
        page.fill("[name=username]", letters[NAO][0])
        page.fill("[name=password]", letters[NAO][1])
        tap_twice()
        page.fill("[name=bday]", BORN[NAO])
        page.fill("[name=new-password]", PASSWORD)
        page.fill("[name=email]", "nao@example.jp")
        count = len(postbox.codes)
        tap_twice()
        page.fill("[name=code]", postbox.code(count + 1))
        tap_twice()
        page.get_by_text("登録が終わりました").wait_for()
    assert len(posts) == 3
    assert len(postbox.codes) == count + 1


def test_without_javascript_the_page_ends_under_the_veil(chromium, live):
    context = chromium.new_context(
        viewport={"width": 390, "height": 844},
        java_script_enabled=False,
        storage_state=live.context.storage_state(),
    )
    page = context.new_page()
    page.goto(live.url)
    time.sleep(6)
    shot = page.screenshot()
    time.sleep(1)
    assert page.screenshot() == shot
    assert page.locator("#clock .veil").is_visible()
    assert page.locator("p.noscript").is_visible()
    context.close()


def test_reduced_motion_neither_covers_a_live_card_nor_uncovers_a_dead_one(live):
    live.emulate_media(reduced_motion="reduce")
    live.wait_for_timeout(3000)
    assert not veiled(live)
    live.context.set_offline(True)
    assert until(lambda: veiled(live), 8) < 6.5


def test_back_and_forward_show_no_dead_card(live, site):
    address, process, _ = site
    live.goto(f"{address}/")
    process.terminate()
    process.wait(40)
    # the browser's own error page is as good as the veil
    with contextlib.suppress(PlaywrightError):
        live.go_back(wait_until="commit", timeout=5000)
    time.sleep(6)
    cards = live.get_by_text("06139463")
    assert cards.count() == 0 or veiled(live)


@pytest.mark.both
def test_logout_elsewhere_ends_the_display(live, site):
    address, _, _ = site
    other = live.context.new_page()
    other.goto(f"{address}/")
    other.locator("form[action$='/logout'] button").click()
    assert until(lambda: "表示を終わりました" in live.locator("#clock").inner_text(), 15) < 15
    assert live.locator("[hx-trigger]").count() == 0


def test_the_page_for_the_desk_has_a_sample_that_moves_by_itself_and_prints_as_one_sheet(
    chromium, site
):
    address, _, _ = site
    context = chromium.new_context(
        viewport={"width": 390, "height": 844}, java_script_enabled=False, locale="ja-JP"
    )
    page = context.new_page()
    page.goto(f"{address}/staff")
    face = page.locator(".face > b")
    pictures = set()
    for _ in range(4):
        pictures.add(face.screenshot())
        page.wait_for_timeout(1000)
    assert len(pictures) >= 3
    colour = head(page, ".specimen > p")
    page.get_by_role("checkbox", name="時計を押すと色が変わります").check()
    assert head(page, ".specimen > p") != colour
    assert re.findall(rb"/Count (\d+)", page.pdf(prefer_css_page_size=True)) == [b"1"]
    context.close()


def test_printing_shows_nothing_and_a_wide_screen_with_a_mouse_is_told_to_use_a_phone(
    chromium, live
):
    live.emulate_media(media="print")
    assert not live.get_by_text("06139463").first.is_visible()
    screen = {"width": 1280, "height": 800}
    context = chromium.new_context(
        viewport=screen, locale="ja-JP", storage_state=live.context.storage_state()
    )
    page = context.new_page()
    page.goto(live.url)
    assert not page.get_by_text("06139463").first.is_visible()
    assert page.get_by_text("スマートフォンで表示してください").first.is_visible()
    context.close()


def renderers() -> list[int]:
    """The processes that draw the pages of this test's browser."""
    path_of("Linux")
    parents, drawing = {}, []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            status = (folder / "stat").read_text()
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        number = int(folder.name)
        parents[number] = int(status.rpartition(")")[2].split()[1])
        if b"--type=renderer" in command:
            drawing.append(number)

    def ours(number: int) -> bool:
        while number > 1:
            if number == os.getpid():
                return True
            number = parents.get(number, 0)
        return False

    return [number for number in drawing if ours(number)]


def test_a_page_that_slept_wakes_under_the_veil_when_the_server_is_gone(live, site):
    _, process, _ = site
    stopped = renderers()
    assert stopped
    for number in stopped:
        os.kill(number, signal.SIGSTOP)
    try:
        process.terminate()
        process.wait(40)
        time.sleep(6)
    finally:
        for number in stopped:
            os.kill(number, signal.SIGCONT)
    woken = time.monotonic()
    while not veiled(live):
        assert time.monotonic() - woken < 1, "a dead card was shown as live"
        time.sleep(0.02)
