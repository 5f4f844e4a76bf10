"""Tests of the mails that tell members of an import: who gets one, in which transaction, how fast,
and that no code waits for them."""

from __future__ import annotations

import asyncio
import contextlib
import email
import email.policy
import itertools
import re
import smtplib
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from time import monotonic, sleep

import pytest

import imports.apply
import models
from accounts import housekeeping, mailer
from models import Account, Mail, Member
from tests.support.browsers import receiving
from tests.test_imports import CHILD, HEAD, OTHER, WIFE, log_in
from tests.test_mailer import Broken, asked  # noqa: F401
from tests.test_plan import NONE, lines

PAPER = {"交付方法": "紙"}


def told():
    rows = Mail.select(Mail, Account, Member).join(Account).join(Member).order_by(Mail.id)
    return {(mail.kind, mail.account.member.name, mail.address, mail.state) for mail in rows}


def register(*people):
    for person in people:
        log_in(person["氏名"], f"{person['枝番']}@example.jp")


def test_who_is_registered_is_told_that_the_certificate_turned_to_the_web_or_to_paper(clerk):
    third = CHILD | {"枝番": "03", "氏名": "佐倉 陽葵"}
    clerk.roster([HEAD, WIFE | PAPER, CHILD | NONE, third | NONE, OTHER])
    register(HEAD, WIFE, CHILD)
    done = clerk.roster([HEAD | PAPER, WIFE, CHILD, third, OTHER | {"備考": "x"}])
    assert told() == {
        ("turned_paper", "佐倉 直人", "00@example.jp", "paced"),
        ("turned_web", "佐倉 美咲", "01@example.jp", "paced"),
        ("turned_web", "佐倉 蓮", "02@example.jp", "paced"),
    }
    assert (
        "お知らせメール: 「使えるようになりました」2人、「紙に変わりました」1人（取り込んだあとに送ります、1分に60通まで）"
        in lines(done)
    )


def test_a_check_counts_the_mails_and_queues_none(clerk):
    clerk.roster([HEAD | PAPER])
    register(HEAD)
    done = clerk.roster([HEAD], command="check")
    assert "「使えるようになりました」1人" in done["out"]
    assert not Mail.select().exists()


def test_no_mail_leaves_them_out_and_the_plan_says_so(clerk):
    clerk.roster([HEAD | PAPER])
    register(HEAD)
    done = clerk.roster([HEAD], "--no-mail")
    assert "お知らせメール: 登録済みの1人には送りません（--no-mail）" in lines(done)
    assert Member.get().delivery == "web"
    assert not Mail.select().exists()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (PAPER, {"不開示": "1"}),
        (PAPER | {"不開示": "1"}, {}),
        (PAPER, {"資格喪失年月日": "2026-11-23"}),
        (PAPER, {"有効期限": "2026-11-22"}),
        ({}, NONE),
        (PAPER, NONE),
        (NONE, PAPER),
        ({}, {"有効期限": "2028-11-01"}),
        (PAPER | {"生年月日": "1951-11-23"}, {"生年月日": "1951-11-23"}),
    ],
)
def test_nobody_is_told_who_is_withheld_or_ended_or_whose_certificate_did_not_turn(
    clerk, before, after
):
    clerk.roster([HEAD | before])
    if Account.select().exists():
        register(HEAD)
    done = clerk.roster([HEAD | after])
    assert (done["exit"], told()) == (0, set())
    assert "お知らせメール" not in done["out"]


def test_who_ends_by_a_whole_roster_or_by_another_in_their_place_is_told_nothing(clerk):
    clerk.roster([HEAD, WIFE, OTHER])
    register(HEAD, WIFE)
    other = WIFE | PAPER | {"氏名": "別 人", "生年月日": "1990-01-01"}
    done = clerk.roster([OTHER, other, HEAD], "--full", "--allow-changes", "1")
    assert (done["ended"], told()) == (1, set())


@pytest.mark.parametrize("days", ["2026-11-23", "2026-11-24"])
def test_who_can_use_it_today_or_later_is_told(clerk, days):
    clerk.roster([HEAD | PAPER])
    register(HEAD)
    clerk.roster([HEAD | {"有効期限": "2026-12-01", "交付年月日": days}])
    assert len(told()) == 1


def test_a_refused_import_and_one_that_fails_half_way_tell_nobody(clerk, monkeypatch):
    clerk.roster([HEAD | PAPER])
    register(HEAD)
    assert clerk.roster([HEAD, WIFE], letters=False)["exit"] == 1
    real = imports.apply.statements

    def broken(*values):
        return [*real(*values), ("INSERT INTO nowhere VALUES (1)", ())]

    monkeypatch.setattr("imports.apply.statements", broken)
    assert clerk.run("roster", "import", clerk.file([HEAD])).exit_code == 1
    assert Member.get().delivery == "paper"
    assert not Mail.select().exists()


def test_what_waits_to_be_told_and_is_no_longer_so_is_told_by_nobody(clerk):
    clerk.roster([HEAD | PAPER])
    register(HEAD)
    clerk.roster([HEAD])
    clerk.roster([HEAD | PAPER])
    assert [mail.kind for mail in Mail.select()] == ["turned_paper"]
    clerk.roster([HEAD], "--no-mail")
    assert not Mail.select().exists()


@pytest.fixture
def notices(asked, time):  # noqa: F811
    """notices(count) queues notices for a registered person; gives the mailer."""
    _, post = asked
    account = Account.get(Account.email.is_null(False))
    moment = int(time())

    def queue(count, kind="turned_web"):
        row = {"kind": kind, "account": account, "address": account.email, "state": "paced"}
        row |= {"created_at": moment, "due_at": moment}
        Mail.insert_many([row] * count).execute()
        return post

    return queue


@pytest.mark.parametrize("kind", mailer.NOTICES)
def test_a_notice_holds_no_link_no_number_and_no_name_in_both_languages(app, notices, mails, kind):
    post = notices(1, kind)
    Member.update(delivery=mailer.NOTICES[kind]).execute()
    sent = len(mails)
    post.drain(mails)
    text = next(m for m in mails[sent:] if "資格確認書が" in m["Subject"]).get_content()
    phone = app.config["INSURERS"]["06139463"]["phone"]
    assert "http" not in text
    assert "佐倉" not in text
    assert not re.search(r"\d", text.replace(phone, ""))
    assert "Your eligibility certificate is now on" in text


@pytest.mark.parametrize(
    "change", [{"delivery": "paper"}, {"lost_on": "2026-11-23"}, {"withheld": True}]
)
def test_a_notice_that_is_no_longer_true_when_its_turn_comes_is_not_sent(notices, mails, change):
    post = notices(1)
    Member.update(**change).execute()
    post.drain(mails)
    assert not [m for m in mails if "資格確認書が" in m["Subject"]]
    assert not Mail.select().where(Mail.state == "paced").exists()


def count(mails):
    return sum("資格確認書が" in mail["Subject"] for mail in mails)


@pytest.mark.parametrize("per_minute", [1, 7, 60, 90])
def test_notices_are_spread_over_the_minute_and_no_minute_has_more_than_allowed(
    notices, mails, time, per_minute
):
    post = notices(200)
    post.config["MAILS_PER_MINUTE"] = per_minute
    at = []
    for second in range(130):
        before = count(mails)
        post.drain(mails)
        at += [second] * (count(mails) - before)
        time.pass_(1)
    for start in range(71):
        within = sum(start <= second < start + 60 for second in at)
        assert per_minute - 1 <= within <= per_minute + 1
    assert max(map(at.count, at)) <= per_minute // 60 + 1


def test_without_a_pace_all_go_at_once_and_a_clock_set_back_stops_none(notices, mails, time):
    post = notices(70)
    post.drain(mails)
    time.pass_(-86400)
    post.drain(mails)
    assert count(mails) == 2
    post.config["MAILS_PER_MINUTE"] = 0
    post.drain(mails)
    assert count(mails) == 70


def test_a_burst_of_threads_gets_no_more_than_the_pace(notices, time):
    post = notices(1)
    start = threading.Barrier(16)

    def ask(_):
        start.wait()
        with models.database.connection_context():
            return sum(housekeeping.may_send(post.now(), 60 * 5) for _ in range(5))

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(ask, range(16))) == 5


def test_the_sweep_keeps_notices_that_wait_for_their_turn(notices, time):
    notices(3)
    Mail.update(created_at=int(time()) - 8 * 86400).execute()
    housekeeping.sweep(time(), 1000)
    assert Mail.select().count() == 3
    Mail.update(created_at=int(time()) - 31 * 86400).execute()
    housekeeping.sweep(time(), 1000)
    assert Mail.select().count() == 0


def tries(post, time, kind):
    """When a mail of this kind is tried until it is given up, in seconds since it was queued."""
    broken, begun, at = Broken(ConnectionRefusedError()), time(), []
    while Mail.select().where(Mail.kind == kind, Mail.state << ["waiting", "paced"]).exists():
        before = broken.tries
        post.drain(broken)
        at += [time() - begun] * (broken.tries > before)
        time.pass_(max(1, min(m.due_at for m in Mail.select()) - time()))
    return at


@pytest.mark.parametrize("kind", ["turned_web", "password_changed"])
def test_what_nobody_waits_for_is_tried_for_a_day_with_growing_pauses(notices, time, kind):
    post = notices(1)
    Mail.delete().where(Mail.kind != "turned_web").execute()
    Mail.update(kind=kind, state="paced" if kind in mailer.NOTICES else "waiting").execute()
    at = tries(post, time, kind)
    pauses = [later - sooner for sooner, later in itertools.pairwise(at)]
    assert 82800 < at[-1] <= 86400
    assert pauses == sorted(pauses)
    assert pauses[:4] == list(mailer.RETRIES)
    failed = Mail.get(Mail.kind == kind)
    assert (failed.state, failed.address) == ("failed", "")


def test_a_code_is_given_up_after_three_minutes_as_ever(notices, time):
    post = notices(0)
    assert tries(post, time, "code")[-1] == sum(mailer.RETRIES) == 183


def test_failed_mails_are_counted_by_kind(app, notices, time, monkeypatch):
    post = notices(2)
    post.config["MAILS_PER_MINUTE"] = 0
    monkeypatch.setattr("commands.operations.moment", time)
    from commands.operations import figures

    found = figures(time(), 35)
    assert (found["notices_waiting"], found["mails_waiting"]) == (2, 1)
    post.drain(Broken(smtplib.SMTPRecipientsRefused({"x@example.jp": (550, b"no")})))
    found = figures(time(), 35)
    assert found["mails_failed_last_day"] == {"code": 1, "turned_web": 2}
    assert found["notices_waiting"] == 0


def test_a_mail_that_nobody_takes_for_hours_raises_no_alarm(app, notices, time):
    from commands.operations import figures

    notices(0)
    row = {"account": Account.select().first(), "address": "x@example.jp", "due_at": 9**10}
    Mail.update(created_at=int(time()) - 7).execute()
    Mail.create(kind="reset", attempts=5, created_at=int(time()) - 9000, **row)
    found = figures(time(), 35)
    assert (found["mails_waiting"], found["oldest_mail_seconds"]) == (2, 7)
    Mail.update(attempts=5).execute()
    assert figures(time(), 35)["oldest_mail_seconds"] == 0


class Slow:
    """A mail server that takes three seconds for each notice and none for a code."""

    def __init__(self) -> None:
        self.codes = self.notices = 0

    async def handle_DATA(self, _server, _session, envelope):
        if email.message_from_bytes(envelope.content, policy=email.policy.default)[
            "Subject"
        ].startswith("認証コード"):
            self.codes += 1
        else:
            self.notices += 1
            await asyncio.sleep(3)
        return "250 OK"


@pytest.fixture
def slow():
    with receiving(Slow()) as box:
        yield box


class Ending(mailer.Mailer):
    """A mailer whose threads can be ended."""

    def _work(self):
        with contextlib.suppress(SystemExit):
            super()._work()


@pytest.fixture
def running(app, slow, time, monkeypatch):
    """running(per_minute) starts a mailer with its own threads, whose clock goes on from `time`."""
    mailers = []

    def start(per_minute):
        url = {"MAIL_URL": f"smtp://127.0.0.1:{slow.port}", "MAILS_PER_MINUTE": per_minute}
        real, begun = app.extensions["kakunin"].mailer, monotonic()
        config, now = app.config | url, lambda: time() + monotonic() - begun
        mailers.append(Ending(config, real.keys, real.render, now))
        mailers[-1].wake()
        return mailers[-1]

    yield start
    for post in mailers:
        monkeypatch.setattr(post, "_staff", sys.exit)
        for _ in post._threads:
            post._bell.put(None)
        for thread in post._threads:
            thread.join(20)
            assert not thread.is_alive()


@pytest.mark.slow
@pytest.mark.parametrize("per_minute", [600, 0])
def test_thousands_of_notices_at_a_slow_mail_server_delay_no_code(
    notices, running, slow, per_minute
):
    """The mailer's own threads, and a real SMTP server."""
    notices(3000)
    Mail.delete().where(Mail.kind == "code").execute()
    post, waits = running(per_minute), []
    until = monotonic() + 10
    while slow.notices < mailer.NOTICE_WORKERS and monotonic() < until:
        sleep(0.01)
    account = Account.get(Account.email.is_null(False))
    row = {"kind": "code", "account": account, "address": account.email}
    for number in range(5):
        moment = int(post.now())
        code = models.Challenge.create(
            id=f"c{number}", account=account, purpose="login", created_at=moment
        )
        begun = monotonic()
        Mail.create(challenge=code, created_at=moment, due_at=moment, **row)
        post.wake()
        while slow.codes == number and monotonic() < begun + 10:
            sleep(0.01)
        waits.append(monotonic() - begun)
        sleep(0.3)
    waiting = Mail.select().where(Mail.state == "paced").count()
    Mail.delete().where(Mail.state == "paced").execute()
    print(f"a code goes after {max(waits):.2f} s at most, {waiting} notices wait")
    assert slow.codes == 5
    assert waiting > 2900
    assert max(waits) < 1.5, waits


def test_a_notice_that_is_tried_again_keeps_its_pace(notices):
    post = notices(1)
    post.drain(Broken(ConnectionRefusedError()))
    assert Mail.get(Mail.kind == "turned_web").state == "paced"
