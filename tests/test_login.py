"""Login, first use, the code, the trusted phone, logout: as a phone without JavaScript sees them."""

from __future__ import annotations

import argon2
import pytest

import models
from models import Audit, Counter
from tests.conftest import PASSWORD
from tests.phone import Phone

NAO = "佐倉 直人"
VAGUE = "IDまたはパスワードが違います"


@pytest.fixture
def phone(app):
    return Phone(app)


def test_a_person_finishes_first_use_and_reads_their_certificate(enroll):
    phone = enroll(NAO)
    page = phone.get(phone.page.link("/certificates/"))
    for value in ("06139463", "128", "1024", "00", "昭和54年6月12日", "令和10年12月1日", NAO, "サクラ ナオト"):
        assert value in page.text
    assert page.clock["hx-get"].startswith(page.url)


def test_the_next_login_needs_the_own_password_and_a_code_from_the_mail(enroll, log_in, letters, app):
    enroll(NAO).send("logout")
    phone = Phone(app)
    phone.get("/login")
    page = phone.send(username=letters[NAO][0], password=letters[NAO][1])
    assert VAGUE in page.text  # the letter's password is over
    log_in(NAO, phone)


@pytest.mark.parametrize(
    "change", [str.lower, lambda s: s.replace("-", ""), lambda s: f" {s} ", lambda s: s.translate({0x2D: 0xFF0D})]
)
def test_the_id_and_the_letters_password_are_taken_however_they_are_typed(phone, letters, change):
    login_id, temporary = letters[NAO]
    phone.get("/login")
    page = phone.send(username=change(login_id), password=change(temporary))
    assert page.url == "/welcome"


@pytest.mark.parametrize(
    ("login_id", "password"),
    [("K234-567-892", "wrong"), ("", ""), ("\x00", "\x00"), ("x" * 5000, "y" * 5000), ("<b>", "'; --"), ("佐倉", "😀")],
)
def test_every_failure_says_the_same(phone, letters, login_id, password):
    phone.get("/login")
    known = phone.send(username=letters[NAO][0], password="wrong")
    page = phone.send(username=login_id, password=password)
    assert (page.status, known.status) == (422, 422)
    assert VAGUE in page.text
    assert page.text == known.text


def test_a_wrong_birth_date_brings_the_form_back_and_changes_nothing(phone, letters, mails):
    phone.get("/login")
    phone.send(username=letters[NAO][0], password=letters[NAO][1])
    page = phone.send(bday="19790613", new_password=PASSWORD, email="n@example.jp")
    assert page.status == 422
    assert page.form("bday", "new-password", "email")["fields"]["email"] == "n@example.jp"
    assert not mails
    assert not models.Challenge.select().exists()


def test_guessing_the_birth_date_is_slowed(phone, letters):
    phone.get("/login")
    phone.send(username=letters[NAO][0], password=letters[NAO][1])
    for day in range(10):
        page = phone.send(bday=f"197001{day + 1:02}", new_password=PASSWORD, email="n@example.jp")
    assert page.status == 422
    page = phone.send(bday="19790612", new_password=PASSWORD, email="n@example.jp")
    assert page.status == 429


def test_left_half_way_the_next_login_begins_first_use_again(phone, letters, app):
    phone.get("/login")
    phone.send(username=letters[NAO][0], password=letters[NAO][1])
    phone.send(bday="19790612", new_password=PASSWORD, email="n@example.jp")
    assert phone.page.url == "/welcome/code"
    other = Phone(app)
    other.get("/login")
    assert other.send(username=letters[NAO][0], password=letters[NAO][1]).url == "/welcome"


@pytest.mark.parametrize(
    "address", ["taro..yamada@docomo.ne.jp", "yamada.@ezweb.ne.jp", "ＴＡＲＯ＠example.jp", " taro @example.jp "]
)
def test_old_carriers_addresses_and_full_width_ones_are_taken(phone, letters, mails, address):
    phone.get("/login")
    phone.send(username=letters[NAO][0], password=letters[NAO][1])
    page = phone.send(bday="19790612", new_password=PASSWORD, email=address)
    assert page.url == "/welcome/code"
    assert len(mails) == 1
    phone.send(code=" ".join(mails.code))
    assert phone.page.url == "/"


@pytest.mark.parametrize(
    "address", ["", "x", "a@b", "a\r\nBcc: x@example.jp", "a@exаmple.jp", "a@b@example.jp", "a@example.jp,b@example.jp"]
)
def test_what_cannot_be_an_address_is_refused_next_to_its_field(phone, letters, mails, address):
    phone.get("/login")
    phone.send(username=letters[NAO][0], password=letters[NAO][1])
    page = phone.send(bday="19790612", new_password=PASSWORD, email=address)
    assert page.status == 422
    assert not mails


@pytest.mark.parametrize(
    "password",
    [
        "short",
        "password123",
        "sakuranaoto",
        "Sakura-Naoto7",
        "サクラナオトサクラ",
        "1979061219790612",
        "aaaaaaaaaaaa",
        "x" * 129,
    ],
)
def test_weak_passwords_are_refused(phone, letters, mails, password):
    phone.get("/login")
    phone.send(username=letters[NAO][0], password=letters[NAO][1])
    page = phone.send(bday="19790612", new_password=password, email="n@example.jp")
    assert page.status == 422
    assert not mails


def test_an_address_of_somebody_else_looks_the_same_and_tells_its_owner(enroll, app, letters, mails):
    enroll(NAO, "nao@example.jp")
    phone = Phone(app)
    phone.get("/login")
    phone.send(username=letters["佐倉 美咲"][0], password=letters["佐倉 美咲"][1])
    page = phone.send(bday="19820908", new_password=PASSWORD, email="NAO@example.jp")
    assert page.url == "/welcome/code"
    assert mails[-1]["To"] == "NAO@example.jp" or mails[-1]["To"] == "nao@example.jp"
    assert "すでに登録されています" in mails[-1].get_content()
    challenge = models.Challenge.select().order_by(models.Challenge.created_at.desc(), models.Challenge.decoy.desc()).first()
    page = phone.send(code=app.extensions["kakunin"].keys.code(challenge))
    assert page.status == 422
    assert models.Account.select().where(models.Account.email_key == "nao@example.jp").count() == 1


def test_wrong_passwords_are_slowed_the_same_for_known_and_unknown_ids(phone, letters):
    phone.get("/login")
    for login_id in (letters[NAO][0], "Z999-999-999"):
        for _ in range(10):
            page = phone.send(username=login_id, password="wrong")
            assert page.status == 422
        page = phone.send(username=login_id, password="wrong")
        assert page.status == 429
        assert int(page.response.headers["Retry-After"]) >= 1
        assert "14時07分" in page.text
        assert page.form("username", "password")


def test_the_right_password_forgets_the_wrong_ones_before_it(enroll, letters, app, mails, time):
    enroll(NAO)
    for _ in range(5):
        time.pass_(16 * 60)  # so that no code is one too many
        phone = Phone(app)
        phone.get("/login")
        for _ in range(5):
            assert phone.send(username=letters[NAO][0], password="wrong").status == 422
        phone.send(username=letters[NAO][0], password=PASSWORD)
        phone.send(code=mails.code)
        assert phone.page.url == "/"


def test_a_wait_from_a_clock_that_was_a_day_ahead_is_over(enroll, letters, app, time):
    enroll(NAO)
    phone = Phone(app)
    time.pass_(86400)
    phone.get("/login")
    for _ in range(21):
        phone.send(username=letters[NAO][0], password="wrong")
    assert phone.page.status == 429
    time.pass_(-86400)
    phone.get("/login")
    assert phone.send(username=letters[NAO][0], password=PASSWORD).url == "/login/code"


@pytest.mark.parametrize(
    ("login_id", "password"), [("own", PASSWORD), ("own", "wrong"), ("letter", "wrong"), ("none", "wrong"), ("", "")]
)
def test_every_try_costs_one_argon2_verification(enroll, letters, app, monkeypatch, login_id, password):
    enroll(NAO)
    ids = {"own": letters[NAO][0], "letter": letters["佐倉 美咲"][0], "none": "Z999-999-999"}
    verify, calls = argon2.PasswordHasher.verify, []

    def counted(*arguments):
        calls.append(arguments)
        return verify(*arguments)

    monkeypatch.setattr(argon2.PasswordHasher, "verify", counted)
    phone = Phone(app)
    phone.get("/login")
    phone.send(username=ids.get(login_id, login_id), password=password)
    assert len(calls) == 1


def test_a_trusted_phone_is_not_slowed_by_strangers_and_needs_no_code(enroll, letters, app, time):
    phone = enroll(NAO)
    phone.send("trust", trust="yes")
    phone.send("logout")
    stranger = Phone(app)
    stranger.get("/login")
    for _ in range(12):
        stranger.send(username=letters[NAO][0], password="wrong")
    assert stranger.page.status == 429
    phone.get("/login")
    assert phone.send(username=letters[NAO][0], password=PASSWORD).url == "/"
    time.pass_(31 * 86400)
    phone.get("/login")
    phone.send(username=letters[NAO][0], password=PASSWORD)
    assert phone.page.url == "/login/code"


def test_trust_is_of_one_member(enroll, letters, app):
    phone = enroll(NAO)
    phone.send("trust", trust="yes")
    phone.send("logout")
    enroll("佐倉 美咲")
    phone.get("/login")
    phone.send(username=letters["佐倉 美咲"][0], password=PASSWORD)
    assert phone.page.url == "/login/code"


def test_answering_no_trusts_nothing(enroll):
    phone = enroll(NAO)
    phone.send("trust", trust="no")
    assert not models.Trust.select().exists()
    assert "専用ですか" not in phone.get("/").text


def test_a_resent_code_voids_the_old_one_and_waits_a_minute(enroll, letters, app, mails, time):
    enroll(NAO).send("logout")
    phone = Phone(app)
    phone.get("/login")
    phone.send(username=letters[NAO][0], password=PASSWORD)
    old = mails.code
    assert phone.post("/code/login/resend").status == 429
    time.pass_(60)
    assert phone.post("/code/login/resend").url == "/login/code"
    if mails.code != old:
        assert phone.send(code=old).status == 422
    assert phone.send(code=mails.code).url == "/"


def test_a_clock_that_is_set_back_makes_nobody_wait_to_send_again(enroll, letters, app, mails, time):
    enroll(NAO).send("logout")
    phone = Phone(app)
    phone.get("/login")
    phone.send(username=letters[NAO][0], password=PASSWORD)
    time.pass_(-600)
    sent = len(mails)
    assert phone.post("/code/login/resend").url == "/login/code"
    assert len(mails) == sent + 1


def test_the_code_belongs_to_the_browser_that_asked(enroll, letters, app, mails):
    enroll(NAO).send("logout")
    phone, thief = Phone(app), Phone(app)
    phone.get("/login")
    phone.send(username=letters[NAO][0], password=PASSWORD)
    assert thief.post("/login/code", {"code": mails.code}).url == "/login"
    assert phone.send(code=mails.code).url == "/"


def test_nothing_that_a_cookie_held_before_a_login_is_in_it_afterwards(enroll, letters, app, mails):
    enroll(NAO).send("logout")
    phone = Phone(app)

    def plant(name: str) -> None:
        with phone.client.session_transaction() as session:
            session[name] = "planted"

    plant("before the password")
    phone.get("/login")
    phone.send(username=letters[NAO][0], password=PASSWORD)
    plant("before the code")
    phone.send(code=mails.code)
    assert phone.page.url == "/"
    with phone.client.session_transaction() as session:
        assert [name for name in session if session[name] == "planted"] == []


def test_a_phone_that_changes_its_network_stays_logged_in(enroll):
    phone = enroll(NAO)
    phone.client.environ_base["REMOTE_ADDR"] = "198.51.100.77"
    assert phone.get("/").url == "/"


def test_logout_ends_the_session_on_the_server_too(enroll):
    phone = enroll(NAO)
    (cookie,) = [c for c in phone.client._cookies.values() if c.key == "session"]
    phone.send("logout")
    phone.client.set_cookie("session", cookie.value)
    assert phone.get("/").url == "/login"


def test_a_session_idles_out_after_thirty_minutes_without_a_page(enroll, time):
    phone = enroll(NAO)
    time.pass_(29 * 60)
    assert phone.get("/").url == "/"
    time.pass_(29 * 60)
    assert phone.get("/").url == "/"
    time.pass_(31 * 60)
    page = phone.get("/")
    assert page.url == "/login"
    assert "しばらく使わなかったため" in page.text


@pytest.mark.parametrize(
    "target", ["//evil.example", "/\\evil.example", "https://evil.example", "javascript:alert(1)", "/\t/evil.example"]
)
def test_next_never_leads_away(enroll, letters, app, target):
    phone = enroll(NAO)
    phone.send("trust", trust="yes")
    phone.send("logout")
    phone.get("/login", query_string={"next": target})
    response = phone.client.post(
        "/login",
        data={"username": letters[NAO][0], "password": PASSWORD, "next": target},
        headers={"Sec-Fetch-Site": "same-origin"},
    )
    assert response.headers["Location"] == "/"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://localhost"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "https://evil.example"},
    ],
)
def test_a_post_from_elsewhere_is_refused(enroll, headers):
    phone = enroll(NAO)
    assert phone.post("/logout", headers=headers).status == 403
    assert phone.get("/").url == "/"


@pytest.mark.parametrize("headers", [{"Origin": "http://localhost"}, {"Sec-Fetch-Site": "same-origin"}])
def test_a_post_from_our_own_page_is_taken(enroll, headers):
    assert enroll(NAO).post("/logout", headers=headers).url == "/login"


def test_a_right_password_buys_no_new_tries_at_the_code(enroll, letters, app, mails, time):
    enroll(NAO).send("logout")
    phone = Phone(app)
    for _ in range(3):
        phone.get("/login")
        phone.send(username=letters[NAO][0], password=PASSWORD)
        wrong = f"{(int(mails.code) + 1) % 10**6:06}"
        for _ in range(5):
            assert phone.send(code=wrong).status == 422
    phone.get("/login")
    phone.send(username=letters[NAO][0], password=PASSWORD)
    page = phone.send(code=mails.code)
    assert page.status == 429
    assert int(page.response.headers["Retry-After"]) >= 1
    time.pass_(301)
    assert phone.send(code=mails.code).url == "/"


def test_an_insurer_that_forbids_trust_ends_what_was_trusted_before(enroll, letters, app):
    phone = enroll(NAO)
    phone.send("trust", trust="yes")
    phone.send("logout")
    app.config["TRUST_DAYS"] = 0
    phone.get("/login")
    assert phone.send(username=letters[NAO][0], password=PASSWORD).url == "/login/code"


@pytest.mark.parametrize("path", ["/login", "/password/forgot"])
def test_to_ask_for_the_head_of_a_form_sends_nothing(app, path):
    before = Counter.select().count(), Audit.select().count()
    for _ in range(12):
        assert app.test_client().head(path).status_code == 200
    assert (Counter.select().count(), Audit.select().count()) == before
