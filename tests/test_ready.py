"""Tests of what becomes of tests whose programs are missing: they are left out, counted and named,
and in CI they fail."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys

import pytest

from tests.support import ready
from tests.support.sample import ROOT

UNIT = "tests/faults/test_two_machines.py::test_the_unit_is_one_that_systemd_takes"


def without_programs(**environment: str) -> subprocess.CompletedProcess:
    """Run the test of the systemd unit where no program is on the PATH."""
    env = {name: value for name, value in os.environ.items() if name != "CI"}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", UNIT]
    return subprocess.run(
        command,
        cwd=ROOT,
        env=env | {"PATH": ""} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_a_test_whose_program_is_missing_is_left_out_and_counted():
    done = without_programs()
    assert done.returncode == 0, done.stdout
    assert "1 tests not run: they need a program that is missing: systemd." in done.stdout
    assert "1 skipped" in done.stdout


@pytest.mark.slow
def test_in_ci_a_missing_program_is_an_error():
    done = without_programs(CI="true")
    assert done.returncode == 1
    assert "1 failed" in done.stdout


@pytest.fixture
def two_missing(monkeypatch, tmp_path):
    """Let nothing but nginx and faketime be known, and both be missing; let two runs have counted."""
    lacking = {
        "nginx": ready.Program(lambda: None, ("nginx-light", "openssl")),
        "faketime": ready.Program(lambda: None, ("faketime",)),
    }
    monkeypatch.setattr(ready, "PROGRAMS", lacking)
    monkeypatch.setattr(ready, "CACHE", tmp_path)
    for database, count in (("sqlite", 5), ("postgresql", 3)):
        (tmp_path / database).write_text(json.dumps({"nginx": count}))


def test_the_end_names_all_that_is_missing_with_one_command(two_missing, capsys):
    ready.left()
    *_, first, second, last = capsys.readouterr().out.splitlines()
    assert first.split() == ["nginx:", "8", "tests"]
    assert second.split() == ["faketime:", "all", "tests", "on", "other", "days"]
    assert last.endswith("apt-get install -y --no-install-recommends nginx-light openssl faketime")


def test_ci_begins_no_run_that_would_leave_tests_out(two_missing, monkeypatch):
    monkeypatch.setattr(ready, "install", lambda names: None)
    monkeypatch.delenv("CI", raising=False)
    ready.main()
    monkeypatch.setenv("CI", "true")
    with pytest.raises(SystemExit, match="nginx, faketime"):
        ready.main()


@pytest.mark.parametrize("before", [None, "#!/bin/sh\nexit 0\n"])
def test_services_are_forbidden_to_start_only_meanwhile(monkeypatch, tmp_path, before):
    policy = tmp_path / "policy-rc.d"
    if before:
        policy.write_text(before)
    monkeypatch.setattr(ready, "POLICY", policy)
    with contextlib.suppress(OSError), ready.no_service_starts():
        assert subprocess.run([policy], check=False).returncode == 101
        raise OSError  # whatever becomes of apt-get
    assert (policy.read_text() if policy.exists() else None) == before
    assert [path.name for path in tmp_path.iterdir()] == ([policy.name] if before else [])
