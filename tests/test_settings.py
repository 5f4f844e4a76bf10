"""Tests of settings: a wrong one stops the program with a sentence."""

from __future__ import annotations

import json
import re
import secrets
import urllib.parse

import pytest

import models
import settings
from settings import BadSetting
from tests.support.sample import ROOT

LINK = {"text": "医療費", "url": "https://example.jp/"}


@pytest.mark.parametrize(
    ("name", "value", "part"),
    [
        ("KAKUNIN_SECRETKEY", "x", "is not a setting"),
        ("KAKUNIN_TRUST_DAYS", "many", "whole number"),
        ("KAKUNIN_TRUST_DAYS", "-1", "whole number"),
        ("KAKUNIN_TRUST_DAYS", "true", "whole number"),
        ("KAKUNIN_PASSKEYS", "2", "must be 1, 0, or a host"),
        ("KAKUNIN_PASSKEYS", "true", "must be 1, 0, or a host"),
        ("KAKUNIN_PASSKEYS", "https://kakunin.example.jp", "must be 1, 0, or a host"),
        ("KAKUNIN_PASSKEYS", "192.0.2.1", "must be 1, 0, or a host"),
        ("KAKUNIN_INSURERS", "[]", "JSON object"),
        ("KAKUNIN_INSURERS", '{"06139463": {}}', "needs a name"),
        ("KAKUNIN_SECRET_KEY_FALLBACKS", '["short"]', "32 characters"),
        ("KAKUNIN_DATABASE_URL", "mysql://x", "must begin"),
        ("KAKUNIN_DATABASE_URL", "", "must begin"),
        ("KAKUNIN_DATABASE_URL", "postgresql://u:pa/ss@db/kakunin", "%2F"),
        ("KAKUNIN_DATABASE_URL", "postgresql://u:12/34@db/kakunin", "%2F"),
        ("KAKUNIN_DATABASE_URL", "postgresql://u:p#x@db/kakunin", "%23"),
        ("KAKUNIN_DATABASE_URL", "postgresql://u:p?x@db/kakunin", "%3F"),
        ("KAKUNIN_DATABASE_URL", "postgresql://u:p[x@db/kakunin", "%5B"),
        ("KAKUNIN_DATABASE_URL", "postgresql://u:p@one:5432,two:5432/kakunin", "one host"),
        ("KAKUNIN_MAIL_URL", "mail.example.jp:587", "must begin"),
        ("KAKUNIN_MAIL_URL", "smtp:mail.example.jp", "must begin"),
        ("KAKUNIN_MAIL_URL", "smtp://u:pa/ss@mail.example.jp:587?starttls=1", "%2F"),
        ("KAKUNIN_MAIL_URL", "smtp://u:12#4@mail.example.jp:587", "%23"),
        (
            "KAKUNIN_INSURERS",
            '{"06139463": {"name": "x", "paper_url": "javascript:alert(1)"}}',
            "https://",
        ),
        (
            "KAKUNIN_INSURERS",
            '{"06139463": {"name": "x", "links": [{"text": "a", "url": "data:x"}]}}',
            "https://",
        ),
        ("KAKUNIN_INSURERS", '{"06139463": {"name": "x", "links": [{"text": "a"}]}}', "links"),
        ("KAKUNIN_INSURERS", json.dumps({"06139463": {"name": "x", "links": [LINK] * 6}}), "links"),
    ],
)
def test_a_setting_that_cannot_be_used_stops_the_program(app, monkeypatch, name, value, part):
    from app import create_app

    monkeypatch.setenv(name, value)
    with pytest.raises(BadSetting, match=part):
        create_app()


def test_passwords_with_every_character_reach_the_database_and_the_mail_server(app, monkeypatch):
    from app import create_app

    password = ":/?#@%[]!$&'()*+,;= é"
    quoted = urllib.parse.quote(password, safe="")
    monkeypatch.setenv("KAKUNIN_MAIL_URL", f"smtp://u:{quoted}@mail.example.jp:587?starttls=1")
    monkeypatch.setenv("KAKUNIN_DATABASE_URL", f"postgresql://u:{quoted}@db.example.jp/kakunin")
    assert create_app().config["MAIL_URL"].count(quoted) == 1
    assert models.database.connect_params["password"] == password
    monkeypatch.setenv("KAKUNIN_DATABASE_URL", "postgresql:///kakunin")  # by its socket
    assert create_app()
    assert models.database.database == "kakunin"


def test_every_setting_that_cannot_be_read_is_told_at_once(app, monkeypatch):
    from app import create_app

    monkeypatch.setenv("KAKUNIN_TRUST_DAYS", "many")
    monkeypatch.setenv("KAKUNIN_NOTHING", "x")
    monkeypatch.setenv("KAKUNIN_INSURERS", "[]")
    with pytest.raises(BadSetting) as stopped:
        create_app()
    assert len(str(stopped.value).splitlines()) == 3


def test_a_secret_of_digits_stays_text(app, monkeypatch):
    from app import create_app

    monkeypatch.setenv("KAKUNIN_SECRET_KEY", "12345678901234567890123456789012")
    assert create_app().config["SECRET_KEY"] == "12345678901234567890123456789012"


@pytest.mark.parametrize(
    ("name", "value", "part"),
    [
        ("SECRET_KEY", "short", "KAKUNIN_SECRET_KEY"),
        ("SECRET_KEY", "a" * 64, "openssl rand"),
        ("SECRET_KEY", "changeme" * 8, "openssl rand"),
        ("SECRET_KEY", "0123456" * 5 + "0", "no part that repeats"),
        ("SECRET_KEY", "00010203040111213142223243334340", "of at least 6 kinds"),
        ("SECRET_KEY_FALLBACKS", ["changeme" * 4], "openssl rand"),
        ("MAIL_URL", "", "KAKUNIN_MAIL_URL"),
        ("INSURERS", {}, "KAKUNIN_INSURERS"),
        ("BASE_URL", "", "KAKUNIN_BASE_URL"),
        ("INSECURE_COOKIES", 0, "https://"),
    ],
)
def test_the_server_refuses_to_start_without_what_it_needs(app, name, value, part):
    settings.check_serving(app.config)
    with pytest.raises(BadSetting, match=part):
        settings.check_serving(app.config | {name: value})


def test_the_server_refuses_an_older_schema_and_names_the_command(app, tmp_path):
    settings.check_schema()
    models.database.execute_sql("DELETE FROM schema_migration")
    with pytest.raises(BadSetting, match="flask db upgrade"):
        settings.check_schema()


def test_mails_come_from_the_host_that_members_type_where_nothing_else_is_said(app, monkeypatch):
    from app import create_app

    monkeypatch.delenv("KAKUNIN_MAIL_FROM")
    monkeypatch.setenv("KAKUNIN_BASE_URL", "https://web.example.jp/")
    assert create_app().config["MAIL_FROM"] == "noreply@web.example.jp"


def test_codes_are_written_onto_no_disk_in_production(app):
    secure = app.config | {"INSECURE_COOKIES": 0, "BASE_URL": "https://web.example.jp"}
    settings.check_serving(secure)
    with pytest.raises(BadSetting, match="outbox"):
        settings.check_serving(secure | {"MAIL_URL": "outbox:///tmp/x"})


def test_every_key_that_openssl_makes_is_taken():
    for _ in range(20_000):
        settings.check_keys(
            {"SECRET_KEY": secrets.token_hex(16), "SECRET_KEY_FALLBACKS": [secrets.token_hex(32)]}
        )
    seven_kinds = "ff228555f27fff8f37f3855272d8f335"
    settings.check_keys({"SECRET_KEY": seven_kinds, "SECRET_KEY_FALLBACKS": []})


@pytest.mark.parametrize(
    "command",
    [("roster", "import", __file__), ("members", "reissue", "K234", "--credentials", "x")],
)
def test_no_letter_is_made_under_a_key_that_can_be_guessed(app, command):
    app.config["SECRET_KEY"] = "a" * 32
    done = app.test_cli_runner().invoke(args=command)
    assert done.exit_code == 1
    assert "openssl rand" in done.output


def test_an_insurers_links_have_a_text_in_each_language(app, monkeypatch):
    from app import create_app

    monkeypatch.setenv("KAKUNIN_INSURERS", json.dumps({"06139463": {"name": "x", "links": [LINK]}}))
    assert create_app().config["INSURERS"]["06139463"]["links"] == [LINK | {"text_en": "医療費"}]


def test_the_readmes_table_and_the_file_to_copy_name_each_setting_and_no_other():
    rows = re.findall(r"^\| (`[A-Z_`, ]+`) \|", (ROOT / "README.md").read_text("utf-8"), re.M)
    server = {"HOST", "PORT", *settings.server_options(1)}
    known = sorted({f"KAKUNIN_{name}" for name in settings.SETTINGS} | server)
    assert sorted(re.findall(r"`(\w+)`", " ".join(rows))) == known
    file = (ROOT / "deploy/kakunin.env").read_text("utf-8")
    assert sorted(re.findall(r"^#?([A-Z_]+)=", file, re.M)) == known
