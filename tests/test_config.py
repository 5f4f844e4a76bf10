"""Tests of `flask config check`: each fault is named, in one run, before the server starts."""

from __future__ import annotations

import psycopg
import pytest

import models
from database import connect
from tests.support.postgres import Cluster

PRODUCTION = {
    "INSECURE_COOKIES": 0,
    "BASE_URL": "https://web.example.jp",
    "PROXIES": 1,
    "MAIL_URL": "smtp://mail.example.jp:587?starttls=1",
    "MAIL_FROM": "noreply@example.jp",
    "INSURERS": {"06139463": {"name": "見本健康保険組合", "phone": "03-0000-1234"}},
}


@pytest.fixture
def check(app):
    """check(*parts, NAME=value) is the outcome of the command under settings of production."""

    def check(*parts, **changed):
        app.config.update(PRODUCTION | changed)
        return app.test_cli_runner().invoke(args=["config", "check", *parts])

    return check


def test_settings_that_are_right_are_in_order(check):
    done = check("settings")
    assert (done.exit_code, done.stdout) == (0, "settings: in order.\n")


@pytest.mark.parametrize(
    ("name", "value", "part"),
    [
        ("SECRET_KEY", "a" * 64, "openssl rand"),
        ("SECRET_KEY_FALLBACKS", ["b" * 64], "openssl rand"),
        ("MAIL_URL", "outbox:///tmp/x", "onto the disk"),
        ("MAIL_URL", "", "KAKUNIN_MAIL_URL"),
        ("MAIL_FROM", "noreply", "KAKUNIN_MAIL_FROM"),
        ("BASE_URL", "https://web.example.jp/kakunin", "without a path"),
        ("BASE_URL", "http://web.example.jp", "https://"),
        ("INSURERS", {}, "at least one insurer"),
        ("INSURERS", {"06139464": {"name": "x", "phone": "1"}}, "check digit"),
    ],
)
def test_a_setting_that_is_wrong_is_named_and_the_exit_status_is_one(check, name, value, part):
    done = check("settings", **{name: value})
    assert done.exit_code == 1
    assert part in done.stdout
    assert all(line.startswith("wrong: ") for line in done.stdout.splitlines())


@pytest.mark.parametrize(
    ("name", "value", "part"),
    [
        ("PROXIES", 0, "KAKUNIN_PROXIES"),
        ("INSECURE_COOKIES", 1, "KAKUNIN_INSECURE_COOKIES"),
        ("MAIL_URL", "smtp://mail.example.jp", "unencrypted"),
        ("DATABASE_URL", "postgresql://u:p@db.example.jp/x", "sslmode=verify-full"),
        ("INSURERS", {"06139463": {"name": "x", "phone": ""}}, "no phone"),
    ],
)
def test_a_setting_that_is_weak_is_named_and_the_exit_status_is_zero(
    check, monkeypatch, name, value, part
):
    monkeypatch.delenv("HOST", raising=False)
    done = check("settings", **{name: value})
    assert done.exit_code == 0
    (line,) = done.stdout.splitlines()
    assert line.startswith("weak: ")
    assert part in line


def test_all_faults_are_told_at_once(check):
    done = check("settings", SECRET_KEY="a" * 64, MAIL_URL="", BASE_URL="")
    assert len(done.stdout.splitlines()) == 4  # a BASE_URL without host is without https too


def test_an_older_schema_is_named(check):
    assert check("database").stdout == "database: in order.\n"
    models.database.execute_sql("DELETE FROM schema_migration")
    done = check("database")
    assert done.exit_code == 1
    assert "flask db upgrade" in done.stdout


@pytest.mark.sqlite("look at its file")
def test_a_file_that_others_can_read_is_named(check):
    from pathlib import Path

    Path(models.database.database).chmod(0o644)
    done = check("database")
    assert (done.exit_code, done.stdout[:6]) == (0, "weak: ")


def test_a_database_that_is_away_is_named(check, tmp_path):
    connect(f"sqlite:///{tmp_path}/nowhere/kakunin.db")
    done = check("database")
    assert done.exit_code == 1
    assert "does not answer" in done.stdout


def test_a_mail_server_is_greeted_and_gets_no_mail(check, postbox):
    done = check("mail", MAIL_URL=f"smtp://127.0.0.1:{postbox.port}")
    assert (done.exit_code, done.stdout) == (0, "mail: in order.\n")
    done = check("mail", MAIL_URL="smtp://127.0.0.1:1")
    assert done.exit_code == 1
    assert "refused" in done.stdout
    assert postbox.mails == []


@pytest.mark.slow
def test_a_database_that_cannot_store_japanese_is_refused_with_a_sentence(clerk):
    with Cluster() as cluster:
        with psycopg.connect(cluster.url(), autocommit=True) as link:
            link.execute("CREATE DATABASE ascii ENCODING 'SQL_ASCII' TEMPLATE template0")
        connect(cluster.url("ascii"))
        for command in (("db", "upgrade"), ("config", "check", "database")):
            done = clerk.run(*command)
            assert done.exit_code == 1, command
            assert "createdb --encoding=UTF8" in done.output
        connect(cluster.url("missing"))
        assert '"missing" does not exist' in clerk.run("db", "upgrade").output
        models.database.close_all()
