"""If the database stops, is cut off, or is full, everything that was confirmed to a client is
stored afterwards, and the server recovers without a restart.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import resource
import signal
import threading
import time
import urllib.parse
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from flask import Flask
from peewee import OperationalError

import database
import models
from accounts import housekeeping, passwords
from accounts.mailer import WORKERS
from models import Mail
from tests.conftest import Box
from tests.support.crowd import Phone as CrowdPhone
from tests.support.crowd import hold
from tests.support.displays import give_passwords, open_displays
from tests.support.machines import status, until, workers
from tests.support.people import BORN, PASSWORD, settings_for
from tests.support.phone import Phone
from tests.support.postgres import Cluster
from tests.support.sample import import_sample
from tests.support.servers import environment, serving


def test_postgresql_stopped_and_started_again_under_forty_live_phones(tmp_path):
    with Cluster(options="") as cluster:
        settings = environment(tmp_path) | {"KAKUNIN_DATABASE_URL": cluster.url()}
        phones = open_displays(settings, 40)
        with serving("app:serve", **settings) as (port, process):
            hold(port, phones, 2)  # everybody has a lease

            def away() -> None:
                time.sleep(1)
                cluster.stop()
                found.update({path: status(port, path) for path in ("/healthz", "/login")})
                cluster.start()

            found: dict[str, tuple[int, str]] = {}
            fault = threading.Thread(target=away)
            fault.start()
            crowd = hold(port, phones, 9)
            fault.join()
            print(f"{crowd.missed} of {40 * 9} ticks lost while PostgreSQL was away")
            assert found["/healthz"][0] == 503
            assert found["/login"][0] == 503
            assert "1分ほど待って、もう一度お試しください" in found["/login"][1]
            assert crowd.missed == 0, "leases last ten seconds, and outlive the restart"
            until(lambda: status(port, "/healthz")[0] == status(port, "/login")[0] == 200)
            assert hold(port, phones, 2).missed == 0
            assert process.poll() is None


def test_postgresql_that_hangs_holds_few_clocks_and_breaks_nothing(tmp_path, postbox):
    """Frozen for four seconds it takes connections and is silent. Forty phones with a lease go on,
    but for those in whose turn it froze; ticks without a lease, and 40 pages at once, are answered
    by 503 or late, and mail goes out afterwards.
    """
    with Cluster(options="") as cluster:
        settings = environment(tmp_path) | {"KAKUNIN_DATABASE_URL": cluster.url(), "WORKERS": "1"}
        settings |= {"KAKUNIN_MAIL_URL": f"smtp://127.0.0.1:{postbox.port}"}
        phones = open_displays(settings, 60)
        live, late = phones[:40], phones[40:]
        with serving("app:serve", **settings) as (port, process), ThreadPoolExecutor(60) as crowd:
            hold(port, live, 2)  # everybody has a lease

            def freeze() -> None:
                time.sleep(4)
                cluster.signal(signal.SIGSTOP)
                time.sleep(1.5)  # in which renewals come to hang
                checks = [crowd.submit(timed, port, "/healthz") for _ in range(3)]
                pages = [crowd.submit(status, port, "/login") for _ in range(40)]
                ticks = [crowd.submit(tick_status, port, phone) for phone in late]
                time.sleep(2.5)
                cluster.signal(signal.SIGCONT)
                health.extend(check.result() for check in checks)
                found.extend(answer.result()[0] for answer in pages)
                refused.extend(answer.result() for answer in ticks)

            health: list[tuple[int, float]] = []
            found: list[int] = []
            refused: list[int] = []
            fault = threading.Thread(target=freeze)
            fault.start()
            outcome = hold(port, live, 11)
            fault.join()
            print(f"{outcome.missed} of {40 * 11} ticks lost while PostgreSQL hung for 4 s")
            assert outcome.missed <= database.TICKS * 5, (
                "each turn is held by one tick, which misses 4 or 5 of its phone's"
            )
            assert all(answer == 503 and took < 2 for answer, took in health), health
            assert set(found) <= {200, 503}
            assert set(refused) <= {200, 503}
            assert refused.count(503) >= len(late) - database.TICKS
            until(lambda: status(port, "/healthz")[0] == status(port, "/login")[0] == 200)
            assert hold(port, phones, 2).missed == 0
            database.connect(settings["KAKUNIN_DATABASE_URL"])
            models.Account.update(email="p@example.jp", email_key="p@example.jp").where(
                models.Account.member == 1
            ).execute()
            for _ in range(40):
                Mail.queue(
                    "password_changed", models.Account.get_by_id(1), "p@example.jp", time.time()
                )
            until(lambda: len(postbox.mails) == 40)
            assert housekeeping.mail_threads(time.time()) == WORKERS
            assert process.poll() is None
        models.database.close_all()


def timed(port: int, path: str) -> tuple[int, float]:
    """The status of a page, and the seconds that it took."""
    began = time.monotonic()
    return status(port, path)[0], time.monotonic() - began


def tick_status(port: int, phone: CrowdPhone) -> int:
    """The status of a tick that has no lease."""
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=40)
    link.request("GET", phone.path, headers={"Cookie": f"session={phone.session}"})
    answer = link.getresponse()
    answer.read()
    link.close()
    return answer.status


def test_a_burst_takes_no_more_connections_than_are_its_own_and_then_gets_a_sentence(
    tmp_path, monkeypatch
):
    """Sixty threads at once, as on one process of two machines: they wait for each other. While all
    are taken, a page says so and a live clock goes on.
    """
    with Cluster() as cluster:
        settings_for(monkeypatch, cluster.url())
        logins = import_sample(tmp_path)
        from app import create_app

        app, taken, leave = create_app(serving=True), threading.Semaphore(0), threading.Event()

        def ask(_number: int) -> int:
            with database.connected():
                models.database.execute_sql("SELECT pg_sleep(0.2)")
                found = models.database.execute_sql(
                    "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
                )
                return found.fetchone()[0]

        def occupy(_number: int) -> None:
            with database.connected():
                taken.release()
                leave.wait(20)

        with ThreadPoolExecutor(60) as crowd:
            assert max(crowd.map(ask, range(60))) <= database.PAGES + database.TICKS
            monkeypatch.setattr(models.database.obj, "_wait_timeout", 0.1)
            held = [crowd.submit(occupy, number) for number in range(database.PAGES)]
            assert all(taken.acquire(timeout=5) for _ in held)
            page = app.test_client().get("/login")
            assert (page.status_code, page.headers["Retry-After"]) == (503, "10")
            assert "1分ほど待って、もう一度お試しください" in page.text
            clock = app.extensions["kakunin"].clock
            monkeypatch.setattr(clock, "read_session", lambda raw: {"_user_id": raw})
            assert clock.live("nobody", "nothing", "session", time.time(), patience=0) is False, (
                "the clocks have their own"
            )
            leave.set()
        assert app.test_client().get("/login").status_code == 200
        assert logins
        models.database.close_all()


def test_who_waits_for_argon2_holds_no_connection(tmp_path, monkeypatch):
    """More logins than a process has connections wait for their turn, and another page is answered."""

    class Hashing:
        def submit(self, check, *values) -> Future:
            waiting.release()
            assert over.wait(30)
            done: Future = Future()
            try:
                done.set_result(check(*values))
            except Exception as error:
                done.set_exception(error)
            return done

    with Cluster() as cluster:
        settings_for(monkeypatch, cluster.url())
        monkeypatch.setenv("THREADS", "512")  # places for that many strangers' forms at once
        import_sample(tmp_path)
        from app import create_app

        app, waiting, over = create_app(serving=True), threading.Semaphore(0), threading.Event()
        monkeypatch.setattr(passwords, "_hashing", Hashing())
        monkeypatch.setattr(models.database.obj, "_wait_timeout", 1)
        with ThreadPoolExecutor(30) as crowd:
            try:
                answers = []
                # one by one, since few forms may come at the same moment
                for number in range(database.PAGES + 4):
                    answers.append(crowd.submit(login, app, f"A23456{number:04}"))
                    assert waiting.acquire(timeout=5)
                assert app.test_client().get("/healthz").status_code == 200
            finally:
                over.set()
        assert {answer.result() for answer in answers} == {422}
        models.database.close_all()


def login(app: Flask, login_id: str) -> int:
    """The status of a login with an ID that nobody has."""
    form = {"username": login_id, "password": "wrong wrong wrong"}
    return (
        app.test_client()
        .post("/login", data=form, headers={"Sec-Fetch-Site": "same-origin"})
        .status_code
    )


def test_a_statement_ends_after_a_while_in_the_server_and_never_in_a_command(monkeypatch):
    with Cluster() as cluster:
        monkeypatch.setattr(database, "SERVED_FOR", 1)
        for serving_now in (True, False):
            database.connect(cluster.url(), serving=serving_now)
            ends = pytest.raises(OperationalError) if serving_now else contextlib.nullcontext()
            with ends, database.connected():
                models.database.execute_sql("SELECT pg_sleep(1.5)")
        database.connect(cluster.url() + "?tcp_user_timeout=1234", serving=True)
        with database.connected():
            link = models.database.connection().pgconn
            told = {option.keyword: option.val for option in link.info}
        assert told[b"tcp_user_timeout"] == b"1234", "what the URL says wins"
        assert told[b"keepalives_idle"] == b"10"
        models.database.close_all()


def test_postgresql_cut_off_amid_registrations_keeps_each_that_was_answered(tmp_path, monkeypatch):
    """As if its plug were pulled: with fsync on, what was answered as done is done."""
    with Cluster(options="") as cluster:
        settings_for(monkeypatch, cluster.url())
        from app import create_app

        app = create_app()
        mails = Box()
        mailer = app.extensions["kakunin"].mailer
        monkeypatch.setattr(mailer, "wake", lambda: mailer.drain(mails))
        logins = import_sample(tmp_path)
        answered, begun = [], threading.Event()

        def register() -> None:
            for number, name in enumerate(name for name in BORN if name in logins):
                phone = Phone(app)
                phone.get("/login")
                with contextlib.suppress(
                    AssertionError, KeyError, IndexError, StopIteration, AttributeError
                ):
                    phone.send(username=logins[name][0], password=logins[name][1])
                    phone.send(
                        bday=BORN[name], new_password=PASSWORD, email=f"p{number}@example.jp"
                    )
                    phone.send(code=mails.code)
                    if phone.page.url == "/":
                        answered.append(name)
                if answered:
                    begun.set()

        registering = threading.Thread(target=register)
        registering.start()
        assert begun.wait(30)
        time.sleep(0.1)
        cluster.stop("immediate")
        time.sleep(0.3)
        cluster.start()
        registering.join()
        kept = {
            account.member.name
            for account in models.Account.select(models.Account, models.Member).join(models.Member)
            if account.registered_at is not None
        }
        assert len(answered) < len([name for name in BORN if name in logins]), (
            "all were done before: this test shows nothing"
        )
        print(
            f"{len(answered)} registrations answered as done, {len(set(answered) - kept)} of them lost"
        )
        assert set(answered) <= kept
        models.database.close_all()


def test_a_full_disk_stops_logins_with_a_sentence_and_no_live_clock(tmp_path):
    """Each write to a file fails, as on a full disk; then there is room again."""
    settings = environment(tmp_path)
    phones = open_displays(settings, 20)
    give_passwords(range(1, 2))
    form = urllib.parse.urlencode({"username": "K000000001", "password": PASSWORD})
    with serving("app:serve", **settings) as (port, process):
        assert hold(port, phones, 2).missed == 0
        before = {pid: resource.prlimit(pid, resource.RLIMIT_FSIZE) for pid in workers(process)}
        for pid, (_, most) in before.items():
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, most))
        answer, page = status(port, "/login", form)
        assert answer in (500, 503), answer
        assert "もう一度お試しください" in page
        crowd = hold(port, phones, 6)
        print(f"{crowd.missed} of {20 * 6} ticks lost while the disk was full")
        assert crowd.missed == 0
        for pid, limits in before.items():
            resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)
        until(lambda: status(port, "/login", form)[0] == 303)
        assert process.poll() is None
    database.connect(settings["KAKUNIN_DATABASE_URL"])
    with models.database.connection_context():
        assert models.database.execute_sql("PRAGMA integrity_check").fetchone() == ("ok",)
        assert models.Challenge.select().count() == 1
    models.database.close_all()


def test_a_killed_worker_is_replaced_and_nobody_is_logged_out(tmp_path):
    settings = environment(tmp_path) | {"WORKERS": "2"}
    phones = open_displays(settings, 20)
    with serving("app:serve", **settings) as (port, process):
        assert hold(port, phones, 2).missed == 0
        first = workers(process)
        assert len(first) == 2
        threading.Timer(1.5, os.kill, (first[0], signal.SIGKILL)).start()
        crowd = hold(port, phones, 5)
        print(f"{crowd.missed} of {20 * 5} ticks lost when a worker was killed")
        assert crowd.missed == 0
        until(lambda: len(workers(process)) == 2 and first[0] not in workers(process))
        assert hold(port, phones, 2).missed == 0
        process.terminate()
        assert process.wait(40) == 0
