"""The queue of mails: sent once, tried again, told to the person who waits."""

from __future__ import annotations

import contextlib
import re
import smtplib
from concurrent.futures import ThreadPoolExecutor

import pytest
from peewee import PeeweeException

import accounts
import mailer
import models
from codes import CODE_LIFE
from tests.phone import Phone

NAO = "佐倉 直人"


class Broken:
    def __init__(self, error: Exception) -> None:
        self.error, self.tries = error, 0

    def send(self, _message) -> None:
        self.tries += 1
        raise self.error

    def close(self) -> None:
        pass


@pytest.fixture
def asked(app, letters, enroll, monkeypatch):
    """A phone whose code waits in the queue, and the mailer."""
    enroll(NAO).send("logout")
    post = app.extensions["kakunin"].mailer
    monkeypatch.setattr(post, "ring", lambda: None)
    phone = Phone(app)
    phone.get("/login")
    phone.send(username=letters[NAO][0], password="correct horse battery 9")
    return phone, post


def test_the_page_says_that_the_mail_waits_then_that_it_was_sent(asked, mails):
    phone, post = asked
    assert "/mail" in phone.page.html
    state = re.search(r'hx-get="(/code/login/mail)"', phone.page.html).group(1)
    assert "every 2s" in phone.get(state).html
    post.drain(mails)
    assert "every 2s" not in phone.get(state).html
    assert phone.get("/login/code").response.status_code == 200
    assert "every 2s" not in phone.page.html


def test_a_code_mail_holds_the_code_as_its_only_six_digits_and_no_link(asked, mails):
    _, post = asked
    post.drain(mails)
    text = mails[-1].get_content()
    assert len(re.findall(r"\d{6}", text)) == 1
    assert "http" not in text
    assert "佐倉" not in text
    assert len(re.findall(r"\d{6}", mails[-1].as_string())) == 1
    assert "見本健康保険組合" in str(mails[-1]["Subject"])


def test_a_server_that_is_down_is_tried_again_and_the_page_says_so(asked, mails, time):
    phone, post = asked
    broken = Broken(ConnectionRefusedError())
    post.drain(broken)
    assert "送れませんでした" not in phone.get("/login/code").text
    time.pass_(4)
    post.drain(broken)
    assert broken.tries == 2
    assert "送れませんでした" in phone.get("/login/code").text
    time.pass_(16)
    sent = len(mails)
    post.drain(mails)
    assert len(mails) == sent + 1
    assert "送れませんでした" not in phone.get("/login/code").text


def test_an_address_that_the_server_refuses_for_good_is_not_tried_again(asked, time):
    phone, post = asked
    broken = Broken(smtplib.SMTPRecipientsRefused({"x@example.jp": (550, b"no such user")}))
    post.drain(broken)
    time.pass_(600)
    post.drain(broken)
    assert broken.tries == 1
    assert "送れませんでした" in phone.get("/login/code").text


def test_greylisting_is_waited_for(asked, mails, time):
    _, post = asked
    post.drain(Broken(smtplib.SMTPRecipientsRefused({"x@example.jp": (451, b"later")})))
    sent = len(mails)
    time.pass_(4)
    post.drain(mails)
    assert len(mails) == sent + 1


def test_a_mail_whose_process_died_is_sent_by_another(asked, mails, time):
    _, post = asked
    assert post._take() is not None
    sent = len(mails)
    post.drain(mails)
    assert len(mails) == sent
    time.pass_(mailer.HOLD + 1)
    post.drain(mails)
    assert len(mails) == sent + 1


def test_a_voided_code_is_not_sent_any_more_and_no_address_is_kept(asked, mails):
    _, post = asked
    models.Challenge.update(used_at=1).execute()
    sent = len(mails)
    post.drain(mails)
    assert len(mails) == sent
    assert not models.Mail.select().where(models.Mail.address != "").exists()


def test_an_expired_code_is_not_mailed(asked, mails, time):
    _, post = asked
    sent = len(mails)
    time.pass_(CODE_LIFE)
    post.drain(mails)
    assert len(mails) == sent


def test_of_many_threads_each_mail_is_sent_by_one(app, mails, time):
    post, count = app.extensions["kakunin"].mailer, 40
    for number in range(count):
        accounts.queue("email_changed", None, f"p{number}@example.jp", time())

    def drain(_):
        for _ in range(count):
            with contextlib.suppress(PeeweeException), models.database.connection_context():  # as its own threads do
                post.drain(mails)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(drain, range(8)))
    assert sorted(mail["To"] for mail in mails) == sorted(f"p{number}@example.jp" for number in range(count))


def test_a_person_whose_mail_hangs_is_told_after_twenty_seconds(asked, time):
    phone, _ = asked
    time.pass_(mailer.TELL_AFTER - 1)
    assert "送れませんでした" not in phone.get("/login/code").text
    time.pass_(1)
    assert "送れませんでした" in phone.get("/login/code").text
