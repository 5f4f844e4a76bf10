"""The database goes away, is cut off, or is full: what was answered is there afterwards, and nobody restarts the server."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import threading
import time
import urllib.parse

import database
import models
from accounts import passwords
from bench.crowd import hold
from bench.live import open_displays
from bench.servers import environment, serving
from tests.conftest import BORN, PASSWORD, Box, import_sample, settings_for
from tests.faults.machines import status, until, workers
from tests.phone import Phone
from tests.postgres import Cluster


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


def test_postgresql_cut_off_amid_registrations_keeps_each_that_was_answered(tmp_path, monkeypatch):
    """As if its plug were pulled: with fsync on, what was answered as done is done."""
    with Cluster(options="") as cluster:
        settings_for(monkeypatch, cluster.url())
        from app import create_app

        app = create_app()
        mails = Box()
        mailer = app.extensions["kakunin"].mailer
        monkeypatch.setattr(mailer, "ring", lambda: mailer.drain(mails))
        logins = import_sample(tmp_path)
        answered, begun = [], threading.Event()

        def register() -> None:
            for number, name in enumerate(name for name in BORN if name in logins):
                phone = Phone(app)
                phone.get("/login")
                with contextlib.suppress(AssertionError, KeyError, IndexError, StopIteration, AttributeError):
                    phone.send(username=logins[name][0], password=logins[name][1])
                    phone.send(bday=BORN[name], new_password=PASSWORD, email=f"p{number}@example.jp")
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
        print(f"{len(answered)} registrations answered as done, {len(set(answered) - kept)} of them lost")
        assert set(answered) <= kept
        models.database.close_all()


def test_a_full_disk_stops_logins_with_a_sentence_and_no_live_clock(tmp_path):
    """Each write to a file fails, as on a full disk; then there is room again."""
    settings = environment(tmp_path)
    phones = open_displays(settings, 20)
    hashed = passwords.hash_password(PASSWORD)
    models.Account.update(password_hash=hashed, email="p@example.jp", login_id="A234567892").where(
        models.Account.member == 1
    ).execute()
    models.database.close_all()
    form = urllib.parse.urlencode({"username": "A234567892", "password": PASSWORD})
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
