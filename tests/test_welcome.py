"""Tests of first use: how long its page stays valid, and the events that end it."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

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

    monkeypatch.setattr(passwords, "zxcvbn", estimate)
    account = models.Account.select(models.Account, models.Member).join(models.Member).get()
    with ThreadPoolExecutor(8) as pool:
        assert (
            list(pool.map(lambda _: passwords.password_fault(PASSWORD, account), range(8)))
            == [None] * 8
        )
    assert max(most) == 1
