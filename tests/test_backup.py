"""Backups are made while the server runs, overwrite nothing, and are restored as docs/operations.md
says."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import shutil
import sqlite3
import stat
import subprocess
import threading

import pytest

import models
from accounts import sessions
from tests.support.people import NAO, PASSWORD, settings_for
from tests.support.phone import Phone
from tests.support.postgres import Cluster
from tests.support.sample import ROOT, import_at_now


@pytest.fixture
def back_up(app, tmp_path):
    """back_up(name) runs flask db backup and gives its result and the file."""

    def run(name: str = "copy.db"):
        return app.test_cli_runner().invoke(
            args=["db", "backup", str(tmp_path / name)]
        ), tmp_path / name

    return run


@pytest.mark.sqlite("copy SQLite's file: PostgreSQL is backed up by pg_dump")
def test_a_backup_made_while_others_write_holds_all_that_was_there_and_the_program_starts_on_it(
    app, back_up, enroll, letters, mails, time, monkeypatch, tmp_path
):
    enroll(NAO)
    database, over, wrote = tmp_path / "kakunin.db", threading.Event(), threading.Event()

    def write():
        with contextlib.closing(
            sqlite3.connect(database, timeout=15, isolation_level=None)
        ) as other:
            for number in itertools.count():
                other.execute(
                    "INSERT INTO audit (at, action, detail) VALUES (?, 'written', '')", (number,)
                )
                wrote.set()
                if over.is_set():
                    return

    writer = threading.Thread(target=write)
    writer.start()
    assert wrote.wait(5)
    before = {table: set(table.select().tuples()) for table in models.TABLES}
    done, copy = back_up()
    over.set()
    writer.join()
    assert done.exit_code == 0, done.output
    assert done.stdout == f"{copy}: {copy.stat().st_size:,} bytes, checked.\n"
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert sorted(path.name for path in tmp_path.glob("copy*")) == ["copy.db"]
    models.database.close_all()
    monkeypatch.setenv("KAKUNIN_DATABASE_URL", f"sqlite:///{copy}")
    from app import create_app

    again = create_app(now=time)
    kept = {table: set(table.select().tuples()) for table in models.TABLES}
    assert [table for table in models.TABLES if not before[table] <= kept[table]] == []
    written = [
        at
        for (at,) in models.Audit.select(models.Audit.at)
        .where(models.Audit.action == "written")
        .tuples()
    ]
    assert written == list(range(len(written)))
    post = again.extensions["kakunin"].mailer
    monkeypatch.setattr(post, "wake", lambda: post.drain(mails))
    phone = Phone(again)
    phone.get("/login")
    phone.send(username=letters[NAO][0], password=PASSWORD)
    phone.send(code=mails.code)
    assert phone.get(phone.page.link("/certificates/")).clock


@pytest.mark.sqlite("copy SQLite's file: PostgreSQL is backed up by pg_dump")
def test_a_backup_replaces_nothing(app, back_up, tmp_path):
    for name in ("copy.db", "copy.db.part"):
        (tmp_path / name).write_text("kept")
        done, copy = back_up()
        assert done.exit_code == 1
        assert f"{tmp_path / name} is there already" in done.stderr
        assert (tmp_path / name).read_text() == "kept"
        (tmp_path / name).unlink()
        assert not copy.exists()


@pytest.mark.parametrize(
    "damage", ["the disk is full", "the copy is broken", "there is no such folder"]
)
@pytest.mark.sqlite("copy SQLite's file: PostgreSQL is backed up by pg_dump")
def test_a_backup_that_fails_leaves_nothing_and_says_so(back_up, tmp_path, monkeypatch, damage):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    def broken(handle):
        os.pwrite(handle, b"\xff" * 8192, 8192)

    if damage != "there is no such folder":
        monkeypatch.setattr(
            "commands.operations.os.fsync", full if damage == "the disk is full" else broken
        )
    here = sorted(path.name for path in tmp_path.iterdir() if "-" not in path.name)
    done, copy = back_up("nowhere/copy.db" if damage == "there is no such folder" else "copy.db")
    assert done.exit_code == 1
    assert "No backup was made" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir() if "-" not in path.name) == here
    assert not copy.exists()


def test_for_postgresql_the_command_is_named_without_the_password(app, monkeypatch, tmp_path):
    from app import create_app

    monkeypatch.setenv("KAKUNIN_DATABASE_URL", "postgresql://kakunin:geheim@127.0.0.1:1/kakunin")
    done = create_app().test_cli_runner().invoke(args=["db", "backup", str(tmp_path / "a b.dump")])
    assert done.exit_code == 1
    assert (
        f"PGSERVICE=kakunin pg_dump --format=custom --file='{tmp_path}/a b.dump'\n" in done.stderr
    )
    assert "DATABASE_URL" not in done.stderr
    assert "geheim" not in done.output + done.stderr


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def restored(request, tmp_path, monkeypatch, now):
    """restored(work) runs `work` on a database with the sample roster, backs it up, lets `after`
    change it, and restores it by the commands of docs/operations.md; it gives the program on the
    restored database.
    """
    from app import create_app

    settings_for(monkeypatch, f"sqlite:///{tmp_path}/kakunin.db")
    with Cluster() if request.param == "postgresql" else contextlib.nullcontext() as cluster:
        named = (
            {"host": "127.0.0.1", "port": cluster.port, "user": "kakunin", "dbname": "postgres"}
            if cluster
            else {}
        )
        lines = "".join(f"{name}={value}\n" for name, value in named.items())
        (tmp_path / "kakunin.pgservice").write_text(f"[kakunin]\n{lines}")
        service = {"PGSERVICEFILE": f"{tmp_path}/kakunin.pgservice", "PGSERVICE": "kakunin"}

        def run(*command: str):
            program = shutil.which(command[0], path=f"{cluster.programs}:{os.environ['PATH']}")
            assert program, f"{command[0]} comes with PostgreSQL"
            subprocess.run(
                [program, *command[1:]], check=True, capture_output=True, env=os.environ | service
            )

        def start(address: str):
            models.database.close_all() if models.database.obj else None
            monkeypatch.setenv("KAKUNIN_DATABASE_URL", address)
            return create_app(now=lambda: now)

        def restore(work, after):
            addresses = [
                cluster.url(name) if cluster else f"sqlite:///{tmp_path}/{name}"
                for name in ("postgres", "restored")
            ]
            copy = tmp_path / "copy"
            ask = start(addresses[0]).test_cli_runner().invoke
            import_at_now(tmp_path)
            work()
            if cluster:
                run("pg_dump", "--format=custom", f"--file={copy}")
                after()
                run("psql", "--command=CREATE DATABASE restored")
                options = ("--exit-on-error", "--single-transaction", "--no-owner")
                run("pg_restore", *options, "--dbname=restored", str(copy))
            else:
                assert ask(args=["db", "backup", str(copy)]).exit_code == 0
                after()
                shutil.copy(copy, tmp_path / "restored")
            app = start(addresses[1])
            assert (
                app.test_cli_runner().invoke(args=["db", "upgrade"]).stdout
                == "The schema is up to date.\n"
            )
            return app

        yield restore
        models.database.close_all()


def test_a_restored_backup_has_it_all_and_what_the_docs_say_ends_what_lives_again(
    restored, now, monkeypatch
):
    stored = {}

    def work():
        with models.database.connection_context():
            account = models.Account.select().first()
            trust, _ = sessions.trust_phone(account, "iPhone", now)
            session = sessions.start_session(account, "iPhone", now, trust, now + 30 * 86400)
            who = {"viewer": account.member_id, "member": account.member_id}
            models.Display.create(id="shown", session=session, started_at=int(now), **who)
            challenge = models.Challenge.create(
                id="asked", account=account, purpose="login", created_at=int(now)
            )
            values = {
                "account": account,
                "challenge": challenge,
                "created_at": int(now) - 9,
                "due_at": int(now),
            }
            models.Mail.create(kind="code", address="nao@example.jp", **values)
            key = {"credential": "k", "public_key": "p", "uses": 0, "created_at": int(now)}
            models.Passkey.create(id="key", account=account, **key)
            stored.update({table: set(table.select().tuples()) for table in models.TABLES})

    def after():
        with models.database.connection_context():
            sessions.end_everything(models.Account.select().first(), now)
            models.Member.update(name="").execute()

    ask = restored(work, after).test_cli_runner().invoke
    assert {table: set(table.select().tuples()) for table in models.TABLES} == stored
    monkeypatch.setattr("commands.operations.moment", lambda: now)
    lives = {
        "sessions": 1,
        "displays_live": 1,
        "logins_last_hour": 1,
        "mails_waiting": 1,
        "oldest_mail_seconds": 9,
    }
    found = json.loads(ask(args=["stats", "--json"]).stdout)
    assert {name: found[name] for name in lives} == lives
    assert found["members_web"] > 0
    page = (ROOT / "docs" / "operations.md").read_text("utf-8")
    with models.database.connection_context():
        for statement in page.partition("BEGIN;")[2].partition("COMMIT;")[0].split(";"):
            models.database.execute_sql(statement) if statement.strip() else None
        assert not models.Trust.select().exists()
        assert not models.Passkey.select().exists()
        assert not models.Challenge.select().where(models.Challenge.used_at.is_null()).exists()
    found = json.loads(ask(args=["stats", "--json"]).stdout)
    assert {name: found[name] for name in lives} == dict.fromkeys(lives, 0) | {
        "logins_last_hour": 1
    }
    assert models.Display.select().count() == 1  # the record of what was shown is kept
