"""Tests of login, first use, the code, trusted phones and logout, on a phone without JavaScript."""

from __future__ import annotations

import datetime as dt
from concurrent.futures import ThreadPoolExecutor

import argon2
import pytest

import accounts
import models
from accounts import limits, passwords
from accounts.codes import CODES_AT_MOST, send_code
from models import Audit, Counter
from tests.support.people import PASSWORD
from tests.support.phone import Phone
from tests.support.sample import logins_in

NAO = "佐倉 直人"
VAGUE = "IDかパスワードが違います"


@pytest.fixture
def phone(app):
    return Phone(app)


def test_a_person_finishes_first_use_and_reads_their_certificate(enroll):
    phone = enroll(NAO)
    page = phone.get(phone.page.link("/certificates/"))
    for value in (
        "06139463",
        "128",
        "1024",
        "00",
        "昭和54年6月12日",
        "令和10年12月1日",
        NAO,
        "サクラ ナオト",
    ):
        assert value in page.text
    assert page.clock["hx-get"].startswith(page.url)


def test_the_next_login_needs_the_own_password_and_a_code_from_the_mail(
    enroll, log_in, letters, app
):
    enroll(NAO).send("logout")
    phone = Phone(app)
    phone.get("/login")
    page = phone.send(username=letters[NAO][0], password=letters[NAO][1])
    assert VAGUE in page.text  # the letter's password is over
    log_in(NAO, phone)


@pytest.mark.parametrize(
    "change",
    [
        str.lower,
        lambda s: s.replace("-", ""),
        lambda s: f" {s} ",
        lambda s: s.translate({0x2D: 0xFF0D}),
    ],
)
def test_the_id_and_the_letters_password_are_taken_however_they_are_typed(phone, letters, change):
    login_id, temporary = letters[NAO]
    phone.get("/login")
    page = phone.send(username=change(login_id), password=change(temporary))
    assert page.url == "/welcome"


@pytest.mark.parametrize(
    ("login_id", "password"),
    [
        ("K234-567-892", "wrong"),
        ("", ""),
        ("\x00", "\x00"),
        ("x" * 5000, "y" * 5000),
        ("<b>", "'; --"),
        ("佐倉", "😀"),
    ],
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


def test_the_eleventh_birth_date_of_a_day_is_not_looked_at(phone, letters, time):
    phone.get("/login")
    phone.send(username=letters[NAO][0], password=letters[NAO][1])
    for day in range(10):
        page = phone.send(bday=f"197001{day + 1:02}", new_password=PASSWORD, email="n@example.jp")
        # no try
        assert (
            phone.send(bday="the twelfth", new_password=PASSWORD, email="n@example.jp").status
            == 422
        )
    assert page.status == 422
    for minutes in (0, 15, 59):  # ten a day are ten a day
        time.pass_(minutes * 60 - 1 if minutes else 0)
        phone.get("/login")
        phone.send(username=letters[NAO][0], password=letters[NAO][1])
        page = phone.send(bday="19790612", new_password=PASSWORD, email="n@example.jp")
        assert page.status == 429
        assert "11月24日" in page.text


def test_a_new_letter_is_good_although_the_stolen_one_used_up_the_days_birth_dates(
    phone, app, letters, tmp_path
):
    phone.get("/login")
    phone.send(username=letters[NAO][0], password=letters[NAO][1])
    for day in range(11):
        page = phone.send(bday=f"197001{day + 1:02}", new_password=PASSWORD, email="n@example.jp")
    assert page.status == 429
    again = ["members", "reissue", letters[NAO][0], "--credentials", str(tmp_path / "letters.csv")]
    assert app.test_cli_runner().invoke(args=again).exit_code == 0
    own = Phone(app)
    own.get("/login")
    own.send(username=letters[NAO][0], password=logins_in(tmp_path)[NAO][1])
    assert own.send(bday="19790612", new_password=PASSWORD, email="n@example.jp").url == (
        "/welcome/code"
    )


def test_left_half_way_the_next_login_begins_first_use_again(phone, letters, app):
    phone.get("/login")
    phone.send(username=letters[NAO][0], password=letters[NAO][1])
    phone.send(bday="19790612", new_password=PASSWORD, email="n@example.jp")
    assert phone.page.url == "/welcome/code"
    other = Phone(app)
    other.get("/login")
    assert other.send(username=letters[NAO][0], password=letters[NAO][1]).url == "/welcome"


@pytest.mark.parametrize(
    "address",
    [
        "taro..yamada@docomo.ne.jp",
        "yamada.@ezweb.ne.jp",
        "ＴＡＲＯ＠example.jp",
        " taro @example.jp ",
    ],
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
    "address",
    [
        "",
        "x",
        "a@b",
        "a\r\nBcc: x@example.jp",
        "a@exаmple.jp",
        "a@b@example.jp",
        "a@example.jp,b@example.jp",
    ],
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
        "昭和54年6月12日",
        "s54.6.12naoto",
        "showa540612",
        "otoanarukas1",
        "さくらなおと7さくら",
        "kakunin2026",
        "kenpo12345",
        "kenko-hoken2026",
        "Password2026!",
        "welcome2026",
        "!@#$%^&*()",
        "qwerty!@#$",
        "見本健康保険組合2026",
        "long enough\x07but rings",
    ],
)
def test_weak_passwords_are_refused(phone, letters, mails, password):
    phone.get("/login")
    phone.send(username=letters[NAO][0], password=letters[NAO][1])
    page = phone.send(bday="19790612", new_password=password, email="n@example.jp")
    assert page.status == 422
    assert not mails


@pytest.mark.parametrize(
    ("name", "kana", "password"),
    [
        ("服部 二郎", "ハットリ ジロウ", "hattorijirou"),
        ("八田 徹平", "ハッタ テッペイ", "hattateppei"),
        ("桜 雄太", "サクラ ユウタ", "sakura-yūta"),
        ("大野 良", "オオノ リョウ", "ohnoryoh80"),
        ("小野 良", "オノ リョウ", "onoryo1980"),
        ("藤井 芙美", "フジイ フミ", "huziihumi12"),
        ("難波 純一", "ナンバ ジュンイチ", "Namba.Junichi"),
        ("安 ファン", "アン ファン", "anfan anfan"),
    ],
)
def test_the_own_name_is_no_password_however_it_is_romanised(name, kana, password):
    member = models.Member(name=name, kana=kana, birth_date=dt.date(1980, 1, 5), number="1024")
    account = models.Account(login_id="K234567892")
    account.member = member
    assert passwords.password_fault(password, account) == "weak"
    assert passwords.password_fault("kumo-no-ue 8 hachi", account) is None


def test_an_address_of_somebody_else_looks_the_same_and_tells_its_owner(
    enroll, app, letters, mails
):
    enroll(NAO, "nao@example.jp")
    phone = Phone(app)
    phone.get("/login")
    phone.send(username=letters["佐倉 美咲"][0], password=letters["佐倉 美咲"][1])
    page = phone.send(bday="19820908", new_password=PASSWORD, email="NAO@example.jp")
    assert page.url == "/welcome/code"
    assert mails[-1]["To"] == "NAO@example.jp" or mails[-1]["To"] == "nao@example.jp"
    assert "すでに登録されています" in mails[-1].get_content()
    challenge = (
        models.Challenge.select()
        .order_by(models.Challenge.created_at.desc(), models.Challenge.decoy.desc())
        .first()
    )
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
        assert "14時7分" in page.text
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
    ("login_id", "password"),
    [("own", PASSWORD), ("own", "wrong"), ("letter", "wrong"), ("none", "wrong"), ("", "")],
)
def test_every_try_costs_one_argon2_verification(
    enroll, letters, app, monkeypatch, login_id, password
):
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


def test_a_try_asks_the_database_as_much_whether_the_id_exists_or_not(enroll, letters, app, caplog):
    enroll(NAO)
    asked = []
    for login_id in (letters[NAO][0], "Z999-999-999"):
        phone = Phone(app)
        phone.client.set_cookie("trust", "made up")
        phone.get("/login")
        caplog.clear()
        with caplog.at_level("DEBUG", "peewee"):
            phone.send(username=login_id, password="wrong")
        asked.append([record.msg[0].split(" ")[0] for record in caplog.records])
    assert asked[0] == asked[1] != []


def test_a_trusted_phone_is_not_slowed_by_strangers_and_needs_no_code(enroll, letters, app, time):
    phone = enroll(NAO, trust="yes")
    phone.send("logout")
    stranger = Phone(app)
    stranger.get("/login")
    for _ in range(12):
        stranger.send(username=letters[NAO][0], password="wrong")
    assert stranger.page.status == 429
    phone.get("/login")
    assert phone.send(username=letters[NAO][0], password=PASSWORD).url == "/"
    time.pass_(91 * 86400)
    phone.get("/login")
    phone.send(username=letters[NAO][0], password=PASSWORD)
    assert phone.page.url == "/login/code"


def test_trust_is_of_one_member(enroll, letters, app):
    phone = enroll(NAO, trust="yes")
    phone.send("logout")
    enroll("佐倉 美咲")
    phone.get("/login")
    phone.send(username=letters["佐倉 美咲"][0], password=PASSWORD)
    assert phone.page.url == "/login/code"


def test_a_box_that_is_not_ticked_trusts_nothing(enroll):
    enroll(NAO)
    assert not models.Trust.select().exists()


def test_nobody_is_asked_to_trust_a_phone_that_has_nothing_to_show(phone, letters):
    phone.get("/login")
    phone.send(username=letters["戸田 さくら"][0], password=letters["戸田 さくら"][1])
    page = phone.send(bday="1990-01-05", new_password=PASSWORD, email="sakura@example.jp")
    assert not any("trust" in form["boxes"] for form in page.forms)


def test_trust_slides_with_each_login(enroll, letters, time):
    phone = enroll(NAO, trust="yes")
    for _ in range(3):
        phone.send("logout")
        time.pass_(80 * 86400)
        phone.get("/login")
        assert phone.send(username=letters[NAO][0], password=PASSWORD).url == "/"


def test_a_trusted_phone_finds_its_id_and_can_clear_it(enroll, letters):
    phone = enroll(NAO, trust="yes")
    phone.send("logout")
    assert phone.get("/login").form("password")["fields"]["username"] == letters[NAO][0]
    assert phone.get(phone.page.link("other=1")).form("password")["fields"]["username"] == ""


@pytest.fixture
def at_code(enroll, letters, app):
    """A new phone of somebody who entered the password and is asked for the code."""
    enroll(NAO).send("logout")
    phone = Phone(app)
    phone.get("/login")
    phone.send(username=letters[NAO][0], password=PASSWORD)
    return phone


def test_a_resent_code_voids_the_old_one_and_waits_a_minute(at_code, mails, time):
    phone = at_code
    old = mails.code
    assert phone.post("/code/login/resend").status == 429
    time.pass_(60)
    assert phone.post("/code/login/resend").url == "/login/code"
    if mails.code != old:
        assert phone.send(code=old).status == 422
    assert phone.send(code=mails.code).url == "/"


def test_a_clock_that_is_set_back_makes_nobody_wait_to_send_again(at_code, letters, mails, time):
    phone = at_code
    time.pass_(-600)
    sent = len(mails)
    assert phone.post("/code/login/resend").url == "/login"  # what is dated later than now is over
    assert phone.send(username=letters[NAO][0], password=PASSWORD).url == "/login/code"
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
    with phone.client.session_transaction() as session:
        assert "before the password" not in session
    plant("before the code")
    phone.send(code=mails.code)
    assert phone.page.url == "/"
    with phone.client.session_transaction() as session:
        assert [name for name in session if session[name] == "planted"] == []


def test_a_phone_that_changes_its_network_stays_logged_in(enroll):
    phone = enroll(NAO)
    phone.client.environ_base["REMOTE_ADDR"] = "198.51.100.77"
    assert phone.get("/").url == "/"
    assert not phone.page.response.headers.getlist(
        "Set-Cookie"
    )  # a lease is bound to the cookie that it came with


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
    assert "安全のため、ログアウトしました" in page.text


@pytest.mark.parametrize(
    "target",
    [
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "https://evil.example",
        "javascript:alert(1)",
        "/\t/evil.example",
    ],
)
def test_next_never_leads_away(enroll, letters, app, target):
    phone = enroll(NAO, trust="yes")
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


@pytest.mark.parametrize(
    "headers", [{"Origin": "http://localhost"}, {"Sec-Fetch-Site": "same-origin"}]
)
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
    phone = enroll(NAO, trust="yes")
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


def half_way(app, letters, name=NAO, password=PASSWORD) -> Phone:
    """A phone on the code page, after the own password."""
    phone = Phone(app)
    phone.get("/login")
    phone.send(username=letters[name][0], password=password)
    assert phone.page.url == "/login/code", phone.page.text
    return phone


def copy_of(phone: Phone, app) -> Phone:
    """Another browser with the same cookies, as somebody has who copied them."""
    other = Phone(app)
    for cookie in phone.client._cookies.values():
        other.client.set_cookie(cookie.key, cookie.value, path=cookie.path)
    return other


def assert_over(phone: Phone, mails, path="/login/code", resend="/code/login/resend") -> None:
    """Nothing more can be done with this step: no mail goes, no code is asked for, nobody is in."""
    sent = len(mails)
    assert phone.post(resend).url != path
    assert phone.get(path).url != path
    assert phone.get("/").url == "/login"
    assert len(mails) == sent


def test_a_step_that_waits_ends_with_its_password(enroll, letters, app, mails, time):
    nao = enroll(NAO)
    waiting = half_way(app, letters)
    time.pass_(61)
    nao.get("/account/password")
    assert nao.send(password=PASSWORD, new_password="four silent otters 31").url == "/login"
    assert_over(waiting, mails)


def test_a_step_that_waits_ends_with_a_reissued_letter(enroll, letters, app, mails, time):
    enroll(NAO)
    waiting = half_way(app, letters)
    account = accounts.find(letters[NAO][0])
    for changes in (
        {"temporary_hash": "a", "password_hash": None},
        {"email": None, "email_key": None},
    ):  # --keep-email, then not
        models.Account.update(**changes).where(models.Account.member == account.member_id).execute()
        assert_over(waiting, mails)


def test_a_code_that_was_entered_is_over_for_a_copy_of_its_cookie(
    enroll, letters, app, mails, time
):
    enroll(NAO)
    phone = half_way(app, letters)
    copied = copy_of(phone, app)
    phone.send(code=mails.code)
    assert phone.page.url == "/"
    time.pass_(61)
    assert_over(copied, mails)


def test_a_step_waits_fifteen_minutes_however_often_the_code_is_sent_again(
    enroll, letters, app, mails, time
):
    enroll(NAO)
    time.pass_(16 * 60)
    phone = half_way(app, letters)
    for _ in range(3):
        time.pass_(290)
        assert phone.post("/code/login/resend").url == "/login/code"
    time.pass_(29)
    assert phone.get("/login/code").status == 200
    time.pass_(2)
    assert_over(phone, mails)


def test_a_registration_voids_every_other_one_that_waits(phone, letters, app, mails, time):
    thief = Phone(app)
    for person, address in ((thief, "thief@example.jp"), (phone, "nao@example.jp")):
        person.get("/login")
        person.send(username=letters[NAO][0], password=letters[NAO][1])
        person.send(bday="19790612", new_password=PASSWORD, email=address)
    phone.send(code=mails.code)
    assert phone.page.url == "/"
    time.pass_(61)
    assert_over(thief, mails, "/welcome/code", "/code/register/resend")
    assert not models.Challenge.select().where(models.Challenge.used_at.is_null()).exists()
    phone.send("logout")
    half_way(app, letters)  # nobody used up the codes of the real member


@pytest.mark.parametrize(
    "path", ["/certificates/mine", "/", "/account", "/login", "/help", "/staff", "/nowhere"]
)
def test_no_other_page_throws_a_waiting_code_away(enroll, letters, app, mails, path):
    enroll(NAO)
    phone = half_way(app, letters)
    code = mails.code
    page = phone.get(path)
    assert page.url in ("/login/code", path)
    assert phone.post("/login/code", {"code": code}).url in ("/", "/certificates/mine")


def test_an_icon_leads_back_to_first_use_that_waits_for_its_code(phone, letters, mails):
    phone.get("/login")
    phone.send(username=letters[NAO][0], password=letters[NAO][1])
    phone.send(bday="19790612", new_password=PASSWORD, email="n@example.jp")
    assert phone.get("/certificates/mine").url == "/welcome/code"
    assert phone.send(code=mails.code).url == "/"


def test_a_new_login_ends_the_one_before_it_on_the_same_browser(enroll, letters, app):
    phone = enroll(NAO)
    before = copy_of(phone, app)
    enroll("佐倉 美咲")
    phone.post("/login", {"username": letters["佐倉 美咲"][0], "password": PASSWORD})
    assert phone.page.url == "/login/code"
    assert before.get("/").url == "/login"


def locked_by_a_stranger(app, login_id: str) -> None:
    stranger = Phone(app, "198.51.100.9")
    stranger.get("/login")
    for _ in range(12):
        stranger.send(username=login_id, password="wrong")
    assert stranger.page.status == 429


def test_a_browser_where_a_login_finished_is_not_slowed_by_strangers(enroll, letters, app):
    phone = enroll(NAO)
    phone.send("logout")
    locked_by_a_stranger(app, letters[NAO][0])
    phone.get("/login")
    assert phone.send(username=letters[NAO][0], password=PASSWORD).url == "/login/code"


def test_its_mark_grants_nothing_but_a_count_of_its_own_and_names_nobody(enroll, letters, app):
    phone = enroll(NAO)
    phone.send("logout")
    (mark,) = [c.value for c in phone.client._cookies.values() if c.key == "browser"]
    for word in (letters[NAO][0], letters[NAO][0].replace("-", ""), NAO):
        assert word not in mark
    locked_by_a_stranger(app, letters["佐倉 美咲"][0])
    other = Phone(app)
    other.client.set_cookie("browser", mark)
    other.get("/login")
    # of another account
    assert other.send(username=letters["佐倉 美咲"][0], password="wrong").status == 429
    for _ in range(10):
        assert other.send(username=letters[NAO][0], password="wrong").status == 422
    # its own count is full
    assert other.send(username=letters[NAO][0], password=PASSWORD).status == 429
    half_way(app, letters)  # and nobody else's


@pytest.mark.parametrize(
    "mark", ["", ".", "x" * 3000, "a" * 22 + ".b", "a" * 22 + "." * 40, "\xff.\xff"]
)
def test_a_mark_that_is_none_slows_nobody_and_breaks_nothing(enroll, letters, app, mark):
    enroll(NAO)
    locked_by_a_stranger(app, letters[NAO][0])
    phone = Phone(app)
    phone.client.set_cookie("browser", mark)
    phone.get("/login")
    assert phone.send(username=letters[NAO][0], password=PASSWORD).status == 429


def test_a_family_of_five_shares_a_browser(enroll, letters, app):
    phone = Phone(app)
    names = [name for name in ("佐倉 直人", "佐倉 美咲", "戸田 さくら", "李 明") if name in letters]
    for name in names:
        enroll(name)
        phone.get("/login")
        phone.send(username=letters[name][0], password=PASSWORD)
        phone.send(code=app.extensions["kakunin"].keys.code(newest_challenge()))
        phone.send("logout")
    for name in names:
        locked_by_a_stranger(app, letters[name][0])
        phone.get("/login")
        assert phone.send(username=letters[name][0], password=PASSWORD).url == "/login/code"


def newest_challenge():
    return (
        models.Challenge.select()
        .where(models.Challenge.used_at.is_null())
        .order_by(models.Challenge.created_at.desc())
        .first()
    )


def at_once(count: int, work) -> list:
    def one(number):
        try:
            return work(number)  # connects by itself, as a request does
        finally:
            models.database.close()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def test_of_many_codes_asked_for_at_once_five_go_and_one_is_open(enroll, letters, app, time):
    enroll(NAO)
    time.pass_(3600)
    account = accounts.find(letters[NAO][0])

    def send(_):
        try:
            return send_code(account, "login", time())
        except limits.TooMany:
            return None

    assert sum(challenge is not None for challenge in at_once(24, send)) == CODES_AT_MOST
    assert models.Challenge.select().where(models.Challenge.used_at.is_null()).count() == 1


def test_of_ten_new_passwords_at_once_one_counts(enroll, letters, app, time):
    enroll(NAO)
    account = accounts.find(letters[NAO][0])

    def change(number):
        try:
            accounts.set_password(account, f"four silent otters {number}", time(), "password.reset")
        except models.Stale:
            return False
        return True

    assert sum(at_once(10, change)) == 1


def test_a_login_in_the_moment_of_a_new_password_is_no_error_and_no_login(
    enroll, letters, app, time, monkeypatch
):
    phone = enroll(NAO, trust="yes")
    phone.send("logout")
    real = passwords.authenticate

    def meanwhile(account, password, keys):
        right = real(account, password, keys)
        accounts.set_password(
            accounts.find(letters[NAO][0]), "four silent otters 31", time(), "password.changed"
        )
        return right

    monkeypatch.setattr(passwords, "authenticate", meanwhile)
    phone.get("/login")
    assert phone.send(username=letters[NAO][0], password=PASSWORD).url == "/login"
    assert phone.get("/").url == "/login"
    assert not models.Session.select().where(models.Session.ended_at.is_null()).exists()


def test_no_cookie_holds_the_number_of_a_row(phone, letters, app, mails):
    for name, born in ((NAO, "19790612"), ("佐倉 美咲", "19820908")):
        person = Phone(app)
        person.get("/login")
        person.send(username=letters[name][0], password=letters[name][1])
        held = [
            cookie.value for cookie in person.client._cookies.values() if cookie.key == "session"
        ]
        person.send(bday=born, new_password=PASSWORD, email=f"{born}@example.jp")
        held += [
            cookie.value for cookie in person.client._cookies.values() if cookie.key == "session"
        ]
        for value in held:
            body = app.session_interface.get_signing_serializer(app).loads(value)
            numbers = [
                part for part in flat(body) if isinstance(part, int) and not isinstance(part, bool)
            ]
            assert all(number > 10**9 for number in numbers), body  # moments only


def flat(value) -> list:
    if isinstance(value, dict):
        value = list(value.values())
    return [part for one in value for part in flat(one)] if isinstance(value, list) else [value]


def test_a_clock_set_back_after_a_code_was_sent_again_makes_nobody_wait(at_code, mails, time):
    phone = at_code
    time.pass_(60)
    assert phone.post("/code/login/resend").url == "/login/code"
    time.pass_(-70)
    sent = len(mails)
    assert phone.post("/code/login/resend").status == 200
    assert len(mails) == sent + 1


def test_a_right_password_uses_up_no_try(enroll, letters, app):
    enroll(NAO)
    phone = Phone(app)
    phone.get("/login")
    phone.send(username=letters[NAO][0], password=PASSWORD)
    assert phone.page.url == "/login/code"
    assert not Counter.select().where(Counter.count > 0).exists()
