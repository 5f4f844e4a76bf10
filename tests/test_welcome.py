"""First use: how long its page lasts, and what ends it."""

from __future__ import annotations

import pytest

import models
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
