"""The database's disk turns read-only, or PostgreSQL's is full: logins fail with a sentence, and
live clocks go on."""

from __future__ import annotations

import os
import shutil
import urllib.parse

import psycopg
import pytest

import database
import models
from tests.support.crowd import hold
from tests.support.displays import give_passwords, open_displays
from tests.support.machines import status, until
from tests.support.people import PASSWORD
from tests.support.postgres import Cluster
from tests.support.servers import environment, serving
from tests.support.volumes import Volume

FORM = urllib.parse.urlencode({"username": "K000000001", "password": PASSWORD})


@pytest.fixture
def volume():
    with Volume() as mounted:
        yield mounted


def open_phones(settings: dict[str, str], count: int = 20) -> list:
    """The phones of as many members, the first of whom may log in by FORM."""
    phones = open_displays(settings, count)
    give_passwords(range(1, 2))
    return phones


def logins_fail_and_clocks_go_on(port: int, phones: list) -> None:
    answer, page = status(port, "/login", FORM)
    assert answer == 503
    assert "もう一度お試しください" in page
    crowd = hold(port, phones, 12)  # longer than a lease
    print(f"{crowd.missed} of {len(phones) * 12} ticks lost while nothing could be written")
    assert crowd.missed == 0


def test_a_volume_that_turns_read_only_stops_logins_and_no_live_clock(volume):
    settings = environment(volume.path)
    phones = open_phones(settings)
    os.sync()  # since this process does not wait for the disk; see conftest
    with serving("app:serve", **settings) as (port, process):
        assert hold(port, phones, 2).missed == 0
        volume.turn_read_only()
        logins_fail_and_clocks_go_on(port, phones)
        assert status(port, "/healthz")[0] == 200, "it only reads"
        assert process.poll() is None
    volume.unmount()
    volume.mount()  # which repairs it
    database.connect(settings["KAKUNIN_DATABASE_URL"])
    with models.database.connection_context():
        assert models.database.execute_sql("PRAGMA integrity_check").fetchone() == ("ok",)
        assert models.Session.select().count() == len(phones)
    models.database.close_all()


def test_a_full_disk_of_postgresql_stops_logins_and_no_live_clock(volume, tmp_path):
    """The table that a login writes first is on the full volume."""
    with Cluster() as cluster:
        settings = environment(tmp_path) | {"KAKUNIN_DATABASE_URL": cluster.url()}
        phones = open_phones(settings)
        folder = volume.path / "space"
        folder.mkdir()
        shutil.chown(folder, "postgres", "postgres")
        with psycopg.connect(cluster.url(), autocommit=True) as link:
            link.execute(f"CREATE TABLESPACE small LOCATION '{folder}'")
            link.execute("ALTER TABLE challenge SET TABLESPACE small")
        filler = volume.fill()
        with serving("app:serve", **settings) as (port, process):
            assert hold(port, phones, 2).missed == 0
            logins_fail_and_clocks_go_on(port, phones)
            filler.unlink()
            until(lambda: status(port, "/login", FORM)[0] == 303)
            assert process.poll() is None
