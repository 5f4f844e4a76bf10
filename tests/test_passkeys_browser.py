"""Passkeys in a real browser with a virtual authenticator, against the real server, from offer to removal."""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import Page, expect

from tests.support.browsers import first_use, submit
from tests.support.people import NAO, PASSWORD
from tests.test_accessibility import AXE, FITS, RULES, RUN

LOGIN = "/login/passkey"
REFUSED = "このスマホの顔や指では、ログインできませんでした"


@pytest.fixture
def named(site):
    """The site by a name, since an address of numbers has no passkeys."""
    address, process, letters = site
    return address.replace("127.0.0.1", "localhost"), process, letters


class Lock:
    """The phone's own authenticator, as Chrome's protocol has it."""

    def __init__(self, page: Page) -> None:
        self.cdp = page.context.new_cdp_session(page)
        self.cdp.send("WebAuthn.enable")
        options = {
            "protocol": "ctap2",
            "transport": "internal",
            "hasResidentKey": True,
            "hasUserVerification": True,
            "isUserVerified": True,
            "automaticPresenceSimulation": True,
        }
        self.id = self.cdp.send("WebAuthn.addVirtualAuthenticator", {"options": options})[
            "authenticatorId"
        ]

    def set(self, method: str, **options: bool) -> None:
        self.cdp.send(f"WebAuthn.{method}", {"authenticatorId": self.id, **options})

    def keys(self) -> list[dict]:
        return self.cdp.send("WebAuthn.getCredentials", {"authenticatorId": self.id})["credentials"]


@pytest.fixture
def lock(page):
    return Lock(page)


@pytest.fixture
def added(page, named, postbox, lock):
    """A phone that added its passkey from home's offer, and is logged out."""
    mails = len(postbox.mails)
    first_use(page, named, postbox)
    page.get_by_role("button", name="このスマホを登録する").click()
    expect(page.get_by_text("次からは、このスマホの顔や指でログインできます。")).to_be_visible()
    expect(page.get_by_role("button", name="このスマホを登録する")).to_have_count(0)
    page.wait_for_timeout(500)
    assert "パスキー" in postbox.mails[-1].get_content()
    assert len(postbox.mails) == mails + 3  # the code, the registration, the passkey
    (key,) = lock.keys()
    assert (key["rpId"], key["isResidentCredential"], key["userName"]) == ("localhost", True, NAO)
    return out(page)


def out(page: Page) -> Page:
    page.goto(page.url.split("/", 3)[0] + "//" + page.url.split("/", 3)[2] + "/")
    page.locator("form[action$='/logout'] button").click()
    return page


def button(page: Page):
    return page.get_by_role("button", name="顔や指でログイン")


def test_a_face_opens_the_next_visit(added, named):
    button(added).click()
    added.wait_for_url(f"{named[0]}/")
    added.locator("a[href*='/certificates/']").first.click()
    expect(added.locator("#clock.live")).to_be_visible()
    out(added)
    button(added).click()  # with the next count of uses
    added.wait_for_url(f"{named[0]}/")


@pytest.mark.parametrize("language", ["ja", "en"])
def test_axe_has_nothing_against_the_offer_and_the_button(page, named, postbox, lock, language):
    page.set_viewport_size({"width": 320, "height": 640})
    page.context.add_init_script(AXE)
    first_use(page, named, postbox)
    page.context.add_cookies([{"name": "lang", "value": language, "url": named[0]}])
    page.context.add_cookies([{"name": "passkey", "value": "1", "url": named[0]}])
    for place in ("/", "/account/passkey", "/login"):
        if place == "/login":
            out(page)
        else:
            page.goto(named[0] + place)
        expect(page.locator("form[data-options] button")).to_be_visible()
        if place == "/login":  # what failed is said
            page.locator("form[data-options] button").click()
            expect(page.locator("form[data-options] .error")).not_to_be_empty()
        assert page.evaluate(FITS)
        assert page.evaluate(RUN, {"runOnly": RULES}) == [], place


def test_it_leads_on_to_the_page_that_was_wanted(added, named):
    added.goto(f"{named[0]}/account")
    button(added).click()
    expect(added).to_have_url(f"{named[0]}/account")


def test_a_phone_without_the_mark_is_offered_its_passkey_with_the_id(added, named):
    """Without a button: Chromium's virtual authenticator takes what is suggested at once."""
    added.context.clear_cookies()
    added.goto(f"{named[0]}/login")
    added.wait_for_url(f"{named[0]}/")


def test_an_answer_that_was_used_is_worth_nothing(added, named):
    sent = []
    added.on(
        "request", lambda request: sent.append(request) if request.url.endswith(LOGIN) else None
    )
    button(added).click()
    added.wait_for_url(f"{named[0]}/")
    cookie = sent[0].all_headers()["cookie"]
    out(added)
    headers = {
        "Origin": named[0],
        "Sec-Fetch-Site": "same-origin",
        "Cookie": cookie,
        "Content-Type": "application/x-www-form-urlencoded",
    }
    again = added.request.post(
        named[0] + LOGIN, data=sent[0].post_data, headers=headers, max_redirects=0
    )
    assert again.status == 422
    assert REFUSED in again.text()
    added.goto(f"{named[0]}/")
    expect(added).to_have_url(f"{named[0]}/login")


def test_a_phone_that_does_not_verify_its_owner_is_not_let_in(added, named, lock):
    lock.set("setUserVerified", isUserVerified=False)
    button(added).click()
    expect(added.get_by_text("ログインできませんでした。もう一度押すか")).to_be_visible()

    def careless(route):
        answer = route.fetch()
        route.fulfill(response=answer, json=answer.json() | {"userVerification": "discouraged"})

    added.route("**/login/passkey/options", careless)  # a browser that does not ask for it
    with added.expect_request(lambda request: request.url.endswith(LOGIN)) as sent:
        button(added).click()
    assert "signature" in sent.value.post_data
    expect(added.get_by_text(REFUSED)).to_be_visible()
    added.goto(f"{named[0]}/")
    expect(added).to_have_url(f"{named[0]}/login")


def test_one_that_was_removed_lets_nobody_in(added, named):
    button(added).click()
    added.wait_for_url(f"{named[0]}/")
    added.goto(f"{named[0]}/account")
    added.get_by_role("button", name="削除する").click()
    # The session began with it, so it is over, and the browser without its mark suggests the passkey, which is taken at once.
    expect(added.get_by_text(REFUSED)).to_be_visible()
    added.goto(f"{named[0]}/")
    expect(added.get_by_role("heading", name="ログイン")).to_be_visible()


def test_a_new_password_ends_it(added, named, postbox):
    button(added).click()
    added.wait_for_url(f"{named[0]}/")
    added.goto(f"{named[0]}/account/password")
    added.fill("[name=password]", PASSWORD)
    added.fill("[name=new-password]", "four silent otters 31")
    submit(added)
    expect(added).to_have_url(f"{named[0]}/login")
    button(added).click()
    expect(added.get_by_text(REFUSED)).to_be_visible()
    expect(button(added)).to_have_count(0)


def test_a_phone_is_added_later_from_the_account(page, named, postbox, lock):
    first_use(page, named, postbox)
    page.get_by_role("button", name="今はしない").click()
    expect(page.get_by_role("heading", name="次からは顔や指でログイン")).to_have_count(0)
    page.goto(f"{named[0]}/account")
    page.get_by_role("link", name="このスマホを登録する").click()
    page.get_by_role("button", name="このスマホを登録する").click()
    expect(page.get_by_text("次からは、このスマホの顔や指でログインできます。")).to_be_visible()
    page.goto(f"{named[0]}/account/passkey")
    page.get_by_role("button", name="このスマホを登録する").click()
    expect(page.get_by_text("このスマホは、もう登録されています。")).to_be_visible()
    assert len(lock.keys()) == 1


@pytest.mark.parametrize("able", ["no lock", "no script"])
def test_a_phone_that_cannot_is_offered_nothing_and_logs_in_as_before(
    chromium, named, postbox, able
):
    context = chromium.new_context(locale="ja-JP", java_script_enabled=able == "no lock")
    page = context.new_page()
    page.set_default_timeout(10_000)
    first_use(page, named, postbox)
    context.add_cookies([{"name": "passkey", "value": "1", "url": named[0]}])
    expect(page.get_by_role("heading", name="次からは顔や指でログイン")).to_have_count(0)
    page.goto(f"{named[0]}/account/passkey")
    expect(page.get_by_text("このブラウザでは使えません")).to_be_visible()
    out(page)
    expect(button(page)).to_have_count(0)
    log_in_again_below(page, named, postbox)
    context.close()


def log_in_again_below(page: Page, named, postbox) -> None:
    """As log_in_again, where the first form of the page is the hidden one."""
    page.fill("[name=username]", named[2][NAO][0])
    page.fill("[name=password]", PASSWORD)
    count = len(postbox.codes)
    page.press("[name=password]", "Enter")
    page.fill("[name=code]", postbox.code(count + 1))
    submit(page)
    page.wait_for_url(f"{named[0]}/")


def test_the_script_speaks_json_that_browsers_have_functions_for(added, named):
    """What it makes by hand is what Chromium's own toJSON() makes."""
    sent = {}

    def keep(route):
        sent["answer"] = route.request.post_data
        route.continue_()

    added.add_init_script(
        """const real = navigator.credentials.get.bind(navigator.credentials)
        navigator.credentials.get = async (options) => {
            const found = await real(options)
            sessionStorage.setItem("own", JSON.stringify(found.toJSON()))
            return found
        }"""
    )
    added.goto(f"{named[0]}/login")
    added.route("**/login/passkey", keep)
    button(added).click()
    added.wait_for_url(f"{named[0]}/")
    from urllib.parse import parse_qs

    own, ours = (
        json.loads(added.evaluate("sessionStorage.getItem('own')")),
        json.loads(parse_qs(sent["answer"])["answer"][0]),
    )
    assert ours["response"] == {name: own["response"][name] for name in ours["response"]}
    assert (ours["id"], ours["rawId"], ours["type"]) == (own["id"], own["rawId"], own["type"])
