"""Tests of the queue of mails: each is sent once, failures are tried again, and the waiting person
is told of them."""

from __future__ import annotations

import contextlib
import email
import email.policy
import os
import re
import smtplib
import sqlite3
import threading
import time as real_time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from peewee import OperationalError, PeeweeException
from playhouse.pool import MaxConnectionsExceeded

import accounts
import database
import models
from accounts import housekeeping, mailer
from accounts.codes import CODE_LIFE
from models import Mail
from tests.support.people import PASSWORD
from tests.support.phone import Phone

NAO, MISAKI = "佐倉 直人", "佐倉 美咲"


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
    monkeypatch.setattr(post, "wake", lambda: None)
    phone = Phone(app)
    phone.get("/login")
    phone.send(username=letters[NAO][0], password=PASSWORD)
    return phone, post


def test_the_page_says_that_the_mail_waits_then_that_it_was_sent(asked, mails):
    phone, post = asked
    assert "/mail" in phone.page.html
    state = re.search(r'hx-get="(/code/login/mail)"', phone.page.html).group(1)
    assert "every 2s" in phone.page.html
    page = phone.get(state)
    assert (page.status, page.html) == (204, ""), "the same sentence would be read out again"
    post.drain(mails)
    page = phone.get(state)
    assert (page.status, "every 2s" in page.html) == (200, False)
    assert "メールを送りました" in page.text
    assert phone.get("/login/code").response.status_code == 200
    assert "every 2s" not in phone.page.html
    phone.client.delete_cookie("session")
    page = phone.get(state)
    assert (page.status, page.html) == (286, ""), "htmx stops, and the sentence stays"


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
    time.pass_(mailer.LEASE + 1)
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


def test_of_many_threads_each_mail_is_taken_by_one(app, enroll, mails, time):
    post, threads, turns = app.extensions["kakunin"].mailer, 8, 12
    enroll(NAO)
    account = models.Account.get(models.Account.email.is_null(False))
    for number in range(threads * turns):
        Mail.queue("email_changed", account, f"p{number}@example.jp", time())
    start = threading.Barrier(threads)

    def take(_):
        taken = []
        for _ in range(turns):
            start.wait()
            # as its own threads do
            with contextlib.suppress(PeeweeException), models.database.connection_context():
                if mail := post._take():
                    taken.append(mail.id)
        return taken

    with ThreadPoolExecutor(threads) as pool:
        taken = [mail for some in pool.map(take, range(threads)) for mail in some]
    assert len(taken) > threads
    assert sorted(taken) == sorted(set(taken))


def test_a_person_whose_mail_hangs_is_told_after_twenty_seconds(asked, time):
    phone, _ = asked
    time.pass_(mailer.TELL_AFTER - 1)
    assert "送れませんでした" not in phone.get("/login/code").text
    time.pass_(1)
    assert "送れませんでした" in phone.get("/login/code").text


class Ends(BaseException):
    """Ends a thread of the mailer, as nothing that it catches does."""


@pytest.mark.parametrize(
    "error",
    [ValueError("佐倉"), IndexError(), UnicodeEncodeError("ascii", "佐", 0, 1, ""), RuntimeError()],
)
@pytest.mark.parametrize("step", ["composing", "sending"])
def test_a_mail_that_raises_whatever_it_may_fails_alone_and_for_good(
    asked, mails, monkeypatch, caplog, error, step
):
    _, post = asked
    account = models.Account.get(models.Account.email.is_null(False))
    Mail.queue("password_changed", account, account.email, post.now())
    compose = post.compose

    def broken(template, *values):
        if "code" in template:
            raise error
        return compose(template, *values)

    if step == "composing":
        monkeypatch.setattr(post, "compose", broken)
    else:
        monkeypatch.setattr(
            mails,
            "send",
            lambda message: mails.append(message) if "パスワード" in message["Subject"] else 1 / 0,
        )
    sent = len(mails)
    post.drain(mails)
    assert len(mails) == sent + 1
    newest = (
        models.Mail.select().where(models.Mail.kind == "code").order_by(models.Mail.id.desc()).get()
    )
    assert (newest.state, newest.address, newest.attempts) == ("failed", "", 1)
    assert "佐倉" not in caplog.text
    assert "cannot be sent" in caplog.text


@pytest.mark.parametrize(
    "error", [OperationalError("away"), MaxConnectionsExceeded("full"), RuntimeError("odd")]
)
def test_a_sender_outlives_a_database_that_does_not_answer_and_whatever_else_may_come(
    asked, monkeypatch, error
):
    _, post = asked
    came = iter([error, Ends()])

    def take():
        raise next(came)

    monkeypatch.setattr(post, "_take", take)
    monkeypatch.setattr(mailer.time, "sleep", lambda _seconds: None)
    monkeypatch.setattr(mailer.Mailer, "_staff", lambda _: None)
    post._bell.put(None)
    post._bell.put(None)
    with pytest.raises(Ends):
        post._work()


@pytest.mark.sqlite("hold the lock that SQLite's writers share")
def test_a_sender_waits_while_another_holds_the_lock_and_sends_then(asked, app, mails, monkeypatch):
    _, post = asked
    monkeypatch.setitem(database.PRAGMAS, "busy_timeout", 0)
    database.connect(app.config["DATABASE_URL"])
    other = sqlite3.connect(models.database.database, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    rounds, sent = [], len(mails)

    def close():
        rounds.append(len(mails) - sent)
        if len(rounds) == 2:
            raise Ends

    monkeypatch.setattr(mails, "close", close)
    monkeypatch.setattr(mailer, "Transport", lambda *_: mails)
    monkeypatch.setattr(mailer.Mailer, "_staff", lambda _: None)
    monkeypatch.setattr(mailer.time, "sleep", lambda _seconds: other.execute("ROLLBACK"))
    post._bell.put(None)
    post._bell.put(None)
    with contextlib.closing(other), pytest.raises(Ends):
        post._work()
    assert rounds == [0, 1]


def test_threads_that_ended_are_started_again_by_the_next_mail_and_by_those_that_live(
    asked, monkeypatch
):
    _, post = asked
    begun, over = threading.Semaphore(0), threading.Event()

    def work():
        begun.release()
        over.wait(20)

    monkeypatch.setattr(post, "_work", work)
    for _ in range(2):  # they end, and the next mail finds none
        mailer.Mailer.wake(post)
        for _ in range(mailer.WORKERS):
            assert begun.acquire(timeout=5)
        mailer.Mailer.wake(post)
        assert not begun.acquire(timeout=0.1), "none is missing, and no more are started"
        over.set()
        for thread in post._threads:
            thread.join(5)
        over.clear()
    asked_for = []
    monkeypatch.undo()
    monkeypatch.setattr(post, "_staff", lambda: asked_for.append(1))
    monkeypatch.setattr(post, "_tidy", lambda: (_ for _ in ()).throw(Ends()))
    with pytest.raises(Ends):
        post._work()
    assert asked_for == [1]


def test_how_many_threads_send_is_known_outside_the_process(asked, time):
    _, post = asked
    other = mailer.Mailer(post.config, post.keys, post.render, time)
    alive = threading.current_thread()
    ended = threading.Thread()
    post._threads, other._threads = [alive, alive, ended], [alive]
    post._tidy()
    other._tidy()
    assert housekeeping.mail_threads(time()) == 3
    post._threads = []
    time.pass_(housekeeping.BEAT - 1)
    post._tidy()
    assert housekeeping.mail_threads(time()) == 3, "it is noted once a minute"
    time.pass_(1)
    post._tidy()
    assert housekeeping.mail_threads(time()) == 1
    time.pass_(2 * housekeeping.BEAT)
    assert housekeeping.mail_threads(time()) == 0, "a process that notes nothing any more is gone"


def test_mails_that_raise_stop_no_other_under_the_real_server(site, postbox):
    """Forty of them come first, to an address that email.message cannot take; the threads of the
    server are fewer."""
    poison, now = "=?utf-8?q?=0D=0A=28@x.jp", int(real_time.time())
    database.connect(os.environ["KAKUNIN_DATABASE_URL"])
    odd, good = models.Account.select().limit(2)
    for account, address in ((odd, poison), (good, "good@example.jp")):
        mine = models.Account.member == account.member_id
        models.Account.update(email=address, email_key=accounts.email_key(address)).where(
            mine
        ).execute()
    row = {"kind": "password_changed", "created_at": now}
    rows = [
        row | {"account": odd, "address": poison, "due_at": now - 99 + number}
        for number in range(40)
    ]
    models.Mail.insert_many(
        [*rows, row | {"account": good, "address": "good@example.jp", "due_at": now}]
    ).execute()
    until = real_time.monotonic() + 20
    while not postbox.mails and real_time.monotonic() < until:
        real_time.sleep(0.1)
    assert [mail["To"] for mail in postbox.mails] == ["good@example.jp"]
    while (
        models.Mail.select().where(models.Mail.state == "waiting").exists()
        and real_time.monotonic() < until
    ):
        real_time.sleep(0.1)
    assert models.Mail.select().where(models.Mail.state == "failed").count() == 40
    threads = housekeeping.mail_threads(real_time.time())
    assert threads
    assert threads % mailer.WORKERS == 0


def test_a_code_goes_before_hundreds_of_other_mails_and_so_does_what_stands_for_one(
    asked, mails, time
):
    """One sender, one mail."""
    phone, post = asked
    account = models.Account.get(models.Account.email.is_null(False))
    moment = int(time())
    rows = {
        "kind": "password_changed",
        "account": account,
        "address": account.email,
        "created_at": moment - 60,
    }
    models.Mail.insert_many(
        [rows | {"due_at": moment - 60 + number % 60} for number in range(400)]
    ).execute()
    sent = len(mails)
    assert post._send_next(mails)
    assert len(mails) == sent + 1
    assert phone.send(code=mails.code).url == "/"
    challenge = models.Challenge.create(
        id="decoy", account=account, purpose="email", decoy=True, created_at=moment
    )
    taken = {"kind": "taken", "challenge": challenge, "created_at": moment, "due_at": moment}
    models.Mail.create(**rows | taken)
    assert post._take().kind == "taken", (
        "or the page would show by its wait whether the address is somebody's"
    )
    post.drain(mails)
    assert len(mails) == sent + 401


@pytest.fixture
def nao(asked):
    """An account whose address another person has by now."""
    account = models.Account.get(models.Account.email.is_null(False))
    other = models.Account.select().where(models.Account.member != account.member_id).first()
    changed = models.Account.update(email="new@example.jp", email_key="new@example.jp")
    changed.where(models.Account.member == account.member_id).execute()
    key = accounts.email_key(account.email)
    models.Account.update(email=account.email, email_key=key).where(
        models.Account.member == other.member_id
    ).execute()
    return account


@pytest.mark.parametrize(
    ("kind", "goes"), [("reset", False), ("password_changed", False), ("email_changed", True)]
)
def test_a_mail_does_not_go_to_an_address_that_is_the_accounts_no_longer(
    asked, nao, mails, time, kind, goes
):
    _, post = asked
    Mail.queue(kind, nao, nao.email, time())
    sent = len(mails)
    post.drain(mails)  # and neither does the code that waits since before
    assert [mail["To"] for mail in mails[sent:]] == [nao.email] * goes
    assert not models.Mail.select().where(models.Mail.address != "").exists()


def test_nobody_is_told_that_an_address_is_taken_which_is_nobodys_any_more(asked, nao, mails, time):
    _, post = asked
    moment = int(time())
    challenge = models.Challenge.create(
        id="decoy", account=nao, purpose="email", decoy=True, created_at=moment
    )
    told = {
        "kind": "taken",
        "account": nao,
        "challenge": challenge,
        "created_at": moment,
        "due_at": moment,
    }
    for address, goes in (("NEW2@example.jp", False), (nao.email.upper(), True)):
        sent = len(mails)
        models.Mail.create(address=address, **told)
        post.drain(mails)
        assert len(mails) == sent + goes


odd_parts = st.sampled_from(
    [
        "=?utf-8?q?",
        "=?iso-2022-jp?B?",
        "?=",
        "=0D=0A",
        "=28",
        "..",
        ".",
        "'",
        "a",
        "B",
        "0",
        "=",
        "?",
        "_",
    ]
)
local = st.lists(
    odd_parts | st.sampled_from(list("!#$%&'*+/=?^_`{|}~-.")), min_size=1, max_size=12
).map("".join)
domain = st.from_regex(
    r"([A-Za-z0-9]([A-Za-z0-9-]{0,8}[A-Za-z0-9])?\.){1,3}[A-Za-z]{2,6}", fullmatch=True
)
addresses = st.builds(
    "{}@{}".format, local | st.from_regex(r"[!-~]{1,64}", fullmatch=True), domain
) | st.text(max_size=80)


@given(addresses)
@example("=?utf-8?q??=@x.jp")
@example("=?utf-8?q?=0D=0A=28@x.jp")
@example("=?utf-8?q?mother?=@family.jp")
@example(".a..b.@docomo.ne.jp")
def test_each_address_that_is_accepted_can_be_written_to_and_names_itself(typed):
    address = accounts.clean_email(typed)
    if address is None:
        return
    insurer = {"insurer": {"name": "見本健康保険組合"}}
    config = {"MAIL_FROM": "noreply@kakunin.example"}
    message = mailer.Mailer(config, None, lambda *_: "件名\n\n本文", lambda: 0).compose(
        "", address, insurer
    )
    # as smtplib finds it
    assert [found[1] for found in email.utils.getaddresses([str(message["To"])])] == [address]
    read = email.message_from_bytes(message.as_bytes(), policy=email.policy.default)
    assert str(read["To"]) == address
