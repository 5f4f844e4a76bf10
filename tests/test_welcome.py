"""Tests of first use: how long its page stays valid, and the events that end it."""

from __future__ import annotations

import re
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest
from zxcvbn import matching

import models
from accounts import passwords
from tests.support.people import BORN, NAO, PASSWORD
from tests.support.phone import Phone


@pytest.fixture
def newcomer(app, letters):
    """A phone on the form of first use."""
    phone = Phone(app)
    phone.get("/login")
    assert phone.send(username=letters[NAO][0], password=letters[NAO][1]).url == "/welcome"
    return phone


DETAILS = {"bday": BORN[NAO], "new-password": PASSWORD, "email": "n@example.jp"}


def test_the_form_of_first_use_waits_ten_minutes_and_not_longer_than_an_hour(newcomer, mails, time):
    time.pass_(10 * 60)
    assert newcomer.get("/welcome").url == "/welcome"
    time.pass_(51 * 60)
    assert newcomer.post("/welcome", DETAILS).url == "/login"
    assert not mails
    assert not models.Challenge.select().exists()


@pytest.mark.parametrize("at", ["form", "code"])
def test_a_new_letter_ends_the_first_use_that_the_old_one_began(
    newcomer, app, letters, mails, tmp_path, at
):
    if at == "code":
        assert newcomer.post("/welcome", DETAILS).url == "/welcome/code"
    again = ["members", "reissue", letters[NAO][0], "--credentials", str(tmp_path / "again.csv")]
    assert app.test_cli_runner().invoke(args=again).exit_code == 0
    sent = len(mails)
    if at == "form":
        assert newcomer.post("/welcome", DETAILS).url == "/login"
    else:
        assert newcomer.post("/welcome/code", {"code": mails.code}).url == "/login"
    assert newcomer.get("/").url == "/login"
    assert len(mails) == sent
    assert not models.Account.select().where(models.Account.password_hash.is_null(False)).exists()


def test_the_address_is_corrected_without_typing_the_rest_again(newcomer, mails):
    newcomer.post("/welcome", DETAILS)
    form = newcomer.get(newcomer.page.link("/welcome")).form("bday", "email")["fields"]
    assert (form["bday"], form["email"], form["new-password"]) == ("19790612", "n@example.jp", "")
    newcomer.send(new_password=PASSWORD, email="nn@example.jp")
    assert newcomer.page.url == "/welcome/code"
    assert mails[-1]["To"] == "nn@example.jp"


def test_a_form_that_another_letter_opened_in_this_browser_registers_nobody(
    newcomer, letters, mails
):
    """A parent has the letters of twins in two tabs. The older tab's form names the other one's ID."""
    models.Member.update(birth_date="1979-06-12").execute()
    older = newcomer.page.form("bday", "email")["fields"] | DETAILS
    newcomer.get("/login")
    newcomer.send(username=letters["佐倉 美咲"][0], password=letters["佐倉 美咲"][1])
    page = newcomer.post("/welcome", older)
    assert (page.url, page.status) == ("/welcome", 422)
    assert "別のログインID" in page.text
    form = page.form("bday", "email")["fields"]
    assert (form["username"], form["bday"]) == (letters["佐倉 美咲"][0], "")
    assert not mails
    assert not models.Challenge.select().exists()
    newcomer.send(**{name.replace("-", "_"): value for name, value in DETAILS.items()})
    assert newcomer.page.url == "/welcome/code"


@pytest.mark.parametrize("path", ["/login/code", "/welcome", "/welcome/code"])
def test_whoever_has_no_step_to_go_on_with_is_told_so_at_the_login(app, path):
    page = Phone(app).get(path)
    assert page.url == "/login"
    assert "続きに進めません" in page.text
    assert "Cookie" in page.text


@pytest.mark.parametrize("character", ["\a", "\t", "\n", "\x7f", "\x85"])
def test_a_password_holds_no_control_character(newcomer, mails, character):
    page = newcomer.post(
        "/welcome", DETAILS | {"new-password": f"correct horse{character}battery 9"}
    )
    assert (page.url, page.status) == ("/welcome", 422)
    assert not mails


COSTLY = [
    '4@8({[<369&#!1/|0$5+7%2"*3+"4@8"' * 4,
    "4@81w[{3696#!4/|0$5(7%2459({6<36",
    "1979.1.1." * 14,
    "qwertyuiop[]" * 10,
]


@pytest.mark.parametrize("password", COSTLY)
def test_a_password_is_read_in_a_few_ways_and_not_beyond_its_32nd_character(
    newcomer, monkeypatch, password
):
    read = []
    looked_up = matching.dictionary_match

    def note(text, _ranked_dictionaries):
        read.append(text)
        return looked_up(text, _ranked_dictionaries)

    monkeypatch.setattr(matching, "dictionary_match", note)
    passwords.password_fault(password[:128], models.Account.get())
    assert max(len(text) for text in read) <= 32
    assert (
        sum(len(text) == 32 for text in read) <= 2 + passwords.READINGS
    )  # it and its reverse as they are, then as words


def test_the_strength_of_passwords_is_estimated_one_at_a_time(newcomer, monkeypatch):
    inside, most = Counter(), []
    entered = threading.Event()

    def estimate(_password, user_inputs):
        inside["now"] += 1
        most.append(inside["now"])
        entered.wait(0.02)
        inside["now"] -= 1
        return {"guesses": 10**9}

    monkeypatch.setattr(passwords, "_zxcvbn", lambda: estimate)
    account = models.Account.select(models.Account, models.Member).join(models.Member).get()
    with ThreadPoolExecutor(8) as pool:
        assert (
            list(pool.map(lambda _: passwords.password_fault(PASSWORD, account), range(8)))
            == [None] * 8
        )
    assert max(most) == 1


def test_a_mail_keeps_the_id_of_whoever_is_registered_without_a_name_or_a_link(
    newcomer, letters, mails
):
    newcomer.post("/welcome", DETAILS)
    code, sent = mails.code, len(mails)
    newcomer.post("/welcome/code", {"code": "12"})
    assert len(mails) == sent
    newcomer.post("/welcome/code", {"code": code})
    (mail,) = mails[sent:]
    text = mail.get_content()
    assert mail["To"] == DETAILS["email"]
    assert letters[NAO][0] in text
    assert "WEB資格確認書" in text
    for word in ("http", "佐倉", "直人", PASSWORD):
        assert word not in text
    assert not re.search(r"\d{6}", text)


def test_no_mail_says_registered_if_the_address_was_taken_meanwhile(newcomer, enroll, mails):
    newcomer.post("/welcome", DETAILS)
    code = mails.code
    enroll("佐倉 美咲", DETAILS["email"])
    page = newcomer.post("/welcome/code", {"code": code})
    assert page.status == 422
    assert (
        not models.Mail.select()
        .where(models.Mail.kind == "registered")
        .join(models.Account)
        .join(models.Member)
        .where(models.Member.name == NAO)
    )


RETYPE = "安全のため、パスワードはもう一度入力してください。"
WRONG_DAY = DETAILS | {"bday": "19790613"}


def test_a_password_that_comes_back_empty_is_asked_for_again_in_words(newcomer):
    page = newcomer.post("/welcome", WRONG_DAY)
    assert page.form("bday", "new-password")["fields"]["new-password"] == ""
    assert page.text.count(RETYPE) == 2, "in the summary and at the field"
    page = newcomer.post("/welcome", WRONG_DAY | {"new-password": "short"})
    assert RETYPE not in page.text
    assert page.text.count("10文字以上にしてください") == 2


def test_the_same_holds_for_a_reset_and_for_a_change_of_password_or_address(enroll, letters, mails):
    phone = enroll(NAO)
    wrong = {"password": "wrong password", "new-password": f"{PASSWORD} new"}
    assert RETYPE in phone.post("/account/password", wrong).text
    assert RETYPE in phone.post("/account/email", {"password": PASSWORD, "email": "x"}).text
    phone.post("/logout")
    assert RETYPE not in phone.post("/login", {"username": "A", "password": PASSWORD}).text
    phone.get("/password/forgot")
    phone.send(username=letters[NAO][0], email="p0@example.jp")
    assert RETYPE in phone.post(urlsplit(mails.link).path, WRONG_DAY).text


def test_the_id_stands_right_before_each_new_password_for_its_owner_and_the_phone(
    newcomer, app, enroll, letters, mails
):
    phone = Phone(app)
    pages = [newcomer.page, enroll(NAO).get("/account/password")]
    phone.get("/password/forgot")
    phone.send(username=letters[NAO][0], email="p0@example.jp")
    pages.append(phone.get(urlsplit(mails.link).path))
    for page in pages:
        names = re.findall(r'<input[^>]* name="([\w-]+)"', page.html)
        before = names[names.index("new-password") - 1]
        field = re.search(r'<input id="username"[^>]*>', page.html)[0]
        assert before == "username"
        assert "readonly" in field
        assert 'autocomplete="username"' in field
        assert f'value="{letters[NAO][0]}"' in field


def test_a_code_that_can_no_longer_be_entered_sends_for_a_new_one_a_decoys_too(
    newcomer, enroll, letters, time
):
    enroll("佐倉 美咲", "taken@example.jp")
    for email in (DETAILS["email"], "taken@example.jp"):
        newcomer.post("/welcome", DETAILS | {"email": email})
        told = [newcomer.post("/welcome/code", {"code": "12"}).text for _ in range(6)]
        assert ["数字が違います" in text for text in told] == [True] * 4 + [False] * 2
        assert ["使えなくなりました" in text for text in told] == [False] * 4 + [True] * 2
        time.pass_(16 * 60)
        newcomer.get("/login")
        newcomer.send(username=letters[NAO][0], password=letters[NAO][1])
