"""Tests of upgrades from each released schema to the present one and beyond, with rows in the
tables, by several processes at once, and beside other commands. Older programs must run on newer
schemas, for which docs/upgrades.md gives the migrations.
"""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import threading
import time

import pytest
from playhouse.migrations import Runner
from playhouse.schema_diff import diff_models

import database
import models
import settings
from database import is_sqlite
from models import Account, Member
from tests.support.people import NAO
from tests.support.sample import ROSTERS
from tests.test_commands import RELEASED
from tests.test_imports import HEAD, ROOT, WIFE, counts, everything  # noqa: F401

ROWS = {
    "member": "id, public_id, household, insurer_number, symbol, number, branch, name, kana, birth_date, sex, relation,"
    " qualified_on, workplace, delivery, remarks, withheld, shows_children"
    " | 1, 'p', 'h', '06139463', '', '1', '', '佐倉', '', '1980-01-01', 1, 1, '2000-01-01', '', 'none', '', false, false",
    "account": "member_id, login_id, password_hash, email, email_key | 1, 'K1', 'x', 's@example.jp', 's@example.jp'",
    "trust": "id, account_id, created_at, expires_at, device | 't', 1, 1, 2, ''",
    "session": "id, account_id, trust_id, trusted, created_at, seen_at, device | 's', 1, 't', true, 1, 1, ''",
    "challenge": "id, account_id, purpose, decoy, tries, created_at | 'c', 1, 'login', false, 0, 1",
    "mail": "id, kind, account_id, challenge_id, address, state, attempts, created_at, due_at | 1, 'code', 1, 'c', '', 'sent', 1, 1, 1",
    "display": "id, session_id, viewer_id, member_id, started_at | 'd', 's', 1, 1, 1",
    "counter": "id, count, since, until | 'n', 1, 1, 1",
    "audit": "id, at, action, actor, member, detail | 1, 1, 'login', 1, 1, ''",
    "roster_import": "id, at, added, changed, ended, unchanged | 1, 1, 1, 0, 0, 0",
}
"""What version 0.1.0 writes: columns it always names, and values."""


def write() -> None:
    for table, row in ROWS.items():
        columns, values = row.split(" | ")
        models.database.execute_sql(f"INSERT INTO {table} ({columns}) VALUES ({values})")


def read() -> list:
    columns = {table: row.split(" | ")[0].replace("public_id, ", "") for table, row in ROWS.items()}
    return [
        models.database.execute_sql(f"SELECT {names} FROM {table}").fetchall()
        for table, names in columns.items()
    ]


@pytest.fixture
def newer(tmp_path):
    """The folder of the next version's migrations."""
    folder = tmp_path / "migrations"
    shutil.copytree(settings.MIGRATIONS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    examples = re.findall(
        r"```python\n(.*?)```", (ROOT / "docs/upgrades.md").read_text("utf-8"), re.S
    )
    assert len(examples) == 2
    newest = max(int(path.name[:4]) for path in folder.glob("*.py"))
    for number, example in enumerate(examples, newest + 1):
        (folder / f"{number:04}_example.py").write_text(example, "utf-8")
    return folder


def is_newer() -> bool:
    """Whether the examples were applied, whole."""
    with models.database.connection_context():
        columns = {column.name for column in models.database.get_columns("member")}
        indexes = {index.name for index in models.database.get_indexes("member")}
        broken = "SELECT count(*) FROM pg_index WHERE NOT indisvalid"
        valid = is_sqlite() or models.database.execute_sql(broken).fetchone() == (0,)
    return {"nickname", "visits"} <= columns and "member_name" in indexes and valid


@pytest.mark.parametrize("release", RELEASED)
def test_a_released_schema_becomes_todays_with_its_rows_and_the_next_still_takes_what_it_wrote(
    fresh, newer, release
):
    database.connect(fresh())
    Runner(models.database.obj, str(settings.MIGRATIONS)).up(release.removesuffix(".py"))
    write()
    before = read()
    Runner(models.database.obj, str(settings.MIGRATIONS)).up()
    assert read() == before
    assert not diff_models(models.database.obj, models.TABLES)
    Runner(models.database.obj, str(newer)).up()
    assert is_newer()
    assert read() == before
    for table in reversed(ROWS):
        models.database.execute_sql(f"DELETE FROM {table}")
    write()
    assert read() == before


@pytest.fixture
def released(fresh):
    """released(rows) makes a database of version 0.1.0 with these members, and upgrades it."""

    def released(rows: list[dict]) -> list[Member]:
        database.connect(fresh())
        runner = Runner(models.database.obj, str(settings.MIGRATIONS))
        runner.up("0001_initial")
        columns, values = ROWS["member"].split(" | ")
        for row in rows:
            given = dict(zip(columns.split(", "), values.split(", "), strict=True)) | {
                k: repr(v) for k, v in row.items()
            }
            models.database.execute_sql(
                f"INSERT INTO member ({', '.join(given)}) VALUES ({', '.join(given.values())})"
            )
        runner.up()
        return list(Member.select().order_by(Member.id))

    return released


def test_an_upgrade_gives_every_certificate_a_new_random_id(released):
    people = released(
        [{"id": n, "public_id": f"{n:x}{'0' * 20}"} for n in (1, 2, 19_999, 20_000, 45_000)]
    )
    ids = [person.public_id for person in people]
    assert len(set(ids)) == 5
    assert all(re.fullmatch("[0-9a-f]{24}", id) for id in ids)
    assert not any("0" * 20 in id for id in ids)


def test_an_upgrade_keeps_permissions_whose_giver_is_certain(released):
    rows = [
        ("h", 1, False),
        ("h", 2, True),
        ("h", 2, False),
        ("handed on", 1, False),
        ("handed on", 1, False),
    ]
    rows += [("handed on", 2, True), ("headless", 2, True)]
    people = released(
        [
            {
                "id": n,
                "public_id": f"p{n}",
                "household": household,
                "relation": relation,
                "shows_children": shows,
            }
            for n, (household, relation, shows) in enumerate(rows, 1)
        ]
    )
    assert [person.allowed_by for person in people] == [None, 1, *[None] * 5]


def upgrade(folder) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.support.clerk", "db", "upgrade"],
        cwd=ROOT,
        env=os.environ | {"TEST_MIGRATIONS": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize("begin", ["empty", "behind"])
def test_upgrades_at_once_all_succeed_and_each_migration_runs_once(clerk, fresh, newer, begin):
    if begin == "behind":
        clerk.roster([HEAD])
    models.database.close_all()
    if begin == "empty":
        fresh()
    runs = [upgrade(newer) for _ in range(3)]
    said = [run.communicate()[0] for run in runs]
    assert [run.returncode for run in runs] == [0] * 3, said
    names = sorted(path.stem for path in newer.glob("*.py"))
    expected = names if begin == "empty" else names[-2:]
    assert sorted(said) == sorted(
        ["\n".join(expected) + "\n", *["The schema is up to date.\n"] * 2]
    )
    assert is_newer()
    assert [
        name
        for (name,) in models.database.execute_sql("SELECT name FROM schema_migration ORDER BY id")
    ] == names
    assert Member.select().count() == (begin == "behind")


@contextlib.contextmanager
def in_use():
    """Somebody's transaction that an upgrade must wait for: on PostgreSQL one that reads, as a
    backup does."""
    begun, over = threading.Event(), threading.Event()

    def use() -> None:
        with models.database.connection_context():
            models.database.begin(*["IMMEDIATE"] * is_sqlite())
            Member.select().count()
            begun.set()
            over.wait(60)
            models.database.rollback()

    user = threading.Thread(target=use)
    user.start()
    begun.wait()
    try:
        yield
    finally:
        over.set()
        user.join()


@pytest.mark.slow
def test_an_upgrade_that_waits_for_a_table_keeps_nobody_else_waiting(clerk, newer):
    with in_use():
        run, longest = upgrade(newer), 0.0
        until = time.monotonic() + 5
        while time.monotonic() < until:
            asked = time.monotonic()
            with models.database.connection_context():
                assert Member.select().count() == 0
            longest = max(longest, time.monotonic() - asked)
            time.sleep(0.02)
        assert run.poll() is None, "it did not wait: this test shows nothing"
    assert longest < 2
    assert (run.communicate()[0].count("example"), run.returncode) == (2, 0)
    assert is_newer()


def test_an_upgrade_that_waited_long_enough_says_so_and_changes_nothing(clerk, newer, monkeypatch):
    monkeypatch.setattr(settings, "MIGRATIONS", newer)
    monkeypatch.setattr("commands.operations.UPGRADE_WAITS", 0)
    if is_sqlite():
        models.database.close_all()
        models.database.pragma("busy_timeout", 100, permanent=True)
    with in_use():
        done = clerk.run("db", "upgrade")
    assert (done.exit_code, done.output.count("\n")) == (1, 1)
    assert "表を使い続けています" in done.output
    assert not is_newer()


@pytest.fixture
def older(newer, monkeypatch):
    """older() makes the schema that of the next version, which this program does not know."""

    def older(run) -> None:
        with monkeypatch.context() as later:
            later.setattr(settings, "MIGRATIONS", newer)
            done = run("db", "upgrade")
        assert done.exit_code == 0, done.output
        assert is_newer()

    return older


def test_a_program_put_back_serves_on_the_newer_schema(app, older, enroll, log_in):
    older(lambda *args: app.test_cli_runner().invoke(args=args))
    settings.check_schema()
    phone = enroll(NAO)
    assert "every 1s" in phone.get(phone.get("/").link("/certificates/")).html
    log_in(NAO)
    done = app.test_cli_runner().invoke(args=["db", "upgrade"])
    assert (done.exit_code, done.output) == (0, "The schema is up to date.\n")
    assert is_newer()


def test_an_older_program_imports_into_the_newer_schema(clerk, older):
    older(clerk.run)
    done = clerk.roster(ROSTERS / "roster-utf8.csv")
    assert (counts(done), Account.select().exists()) == ((12, 0, 0, 0, 0), True)
    assert counts(clerk.roster([HEAD | {"備考": "新しい"}, WIFE]))[:2] != (0, 0)
    assert (
        models.database.execute_sql(
            "SELECT count(*) FROM member WHERE visits = 0 AND nickname IS NULL"
        ).fetchone()[0]
        >= 12
    )
