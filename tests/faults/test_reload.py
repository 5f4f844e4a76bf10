"""An upgrade while the server runs: new files are built beside those that it serves, and SIGHUP
replaces one worker after the other."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys

import pytest

from front import assets
from tests.support.crowd import hold
from tests.support.displays import open_displays
from tests.support.machines import FLASK, status, until, workers
from tests.support.postgres import free_port
from tests.support.sample import ROOT
from tests.support.servers import environment


@pytest.fixture
def clone(tmp_path):
    """A copy of the program that a test may change. It has no .venv, which `make` might renew."""
    folder = tmp_path / "clone"
    left = shutil.ignore_patterns(".git", ".venv", "instance", ".*_cache", "__pycache__")
    shutil.copytree(ROOT, folder, ignore=left)
    return folder


def upgrade(clone) -> None:
    """Change a style sheet and a page, as `git pull` does, and build as `make install` does. Nobody
    has asked for the page yet."""
    with (clone / "static/app.css").open("a") as file:
        file.write("\n/* a newer version */\n")
    page = clone / "templates/password/forgot.html"
    text = page.read_text("utf-8")
    assert "<form" in text
    page.write_text(text.replace("<form", "<p>a newer page</p><form", 1), "utf-8")
    build = "from front import assets; assets.build()"
    makefile = (clone / "Makefile").read_text("utf-8")
    assert f"-c '{build}'" in makefile
    assert "rm -rf build" not in makefile
    subprocess.run([sys.executable, "-c", build], cwd=clone, check=True)


def style(port: int) -> str:
    """The path of the style sheet that the login page names."""
    answer, page = status(port, "/login")
    assert answer == 200
    return re.search(r'href="(/static/app\.[^"]+\.css)"', page)[1]


def test_a_running_server_outlives_an_upgrade_and_hangup_swaps_its_workers(tmp_path, clone):
    settings = environment(tmp_path) | {"HOST": "127.0.0.1", "PORT": str(port := free_port())}
    phones = open_displays(settings, 20)
    server = subprocess.Popen(
        [*FLASK, "serve"],
        cwd=clone,
        env=os.environ | settings | {"WORKERS": "2"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        until(lambda: _answers(port) and len(workers(server)) == 2)
        old, first = style(port), workers(server)
        upgrade(clone)
        listed = json.loads((clone / "build/names.json").read_text())
        new = f"/static/{listed['app.css']}"
        assert style(port) == old != new, "the running server shows its own pages"
        assert "a newer page" not in status(port, "/password/forgot")[1]
        for path in (old, new):
            assert [status(port, path)[0] for _ in range(8)] == [200] * 8, path
        assert status(port, "/static/app.000000000000.css")[0] == 404
        server.send_signal(signal.SIGHUP)
        outcome = hold(port, phones, 14)
        print(f"{outcome.missed} of {20 * 14} ticks lost while both workers were replaced")
        assert outcome.missed == 0
        until(lambda: not set(first) & set(workers(server)))
        assert style(port) == new
        assert "a newer page" in status(port, "/password/forgot")[1]
        assert status(port, old)[0] == 200, "a page of before may still ask for it"
    finally:
        server.terminate()
        server.wait(40)


def _answers(port: int) -> bool:
    try:
        return status(port, "/healthz")[0] == 200
    except OSError:
        return False


def test_files_of_earlier_builds_stay_for_thirty_days(tmp_path, monkeypatch):
    """Two builds follow the one of a running server, the second of them after `KEPT_FOR`."""
    found, now = {"app.css": b"/* 1 */"}, [1_000_000.0]
    monkeypatch.setattr(assets, "BUILT", tmp_path / "static")
    monkeypatch.setattr(assets, "sources", lambda: found)
    monkeypatch.setattr(assets.time, "time", lambda: now[0])
    generations = []
    try:
        for wait in (0, 40 * 86400, 86400, assets.KEPT_FOR):
            now[0] += wait
            found["app.css"] = b"/* %d */" % len(generations)
            assets.build()
            generations.append(assets.names()["app.css"])
            present = {path.name for path in assets.BUILT.iterdir()}
            kept = [name for name in generations if name in present]
            assert kept == generations[-3:], wait
    finally:
        assets.names.cache_clear()
