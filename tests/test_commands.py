"""Tests of the commands other than imports: for the schema, one person's account, the audit trail
and the template."""

import csv
import hashlib
import io
import stat
import threading
import time

import pytest
from playhouse.schema_diff import diff_models

import database
import models
import settings
from accounts.keys import grouped
from models import Account, Audit, Challenge, Display, Mail, Member, Session, Trust
from tests.support.clerk import make_app
from tests.support.sample import ROSTERS
from tests.test_imports import HEAD, ROOT, WIFE, everything, lock_held, log_in  # noqa: F401


def login(name):
    return Account.select().join(Member).where(Member.name == name).get().login_id


def test_the_migrated_schema_is_the_one_of_the_models(fresh, upgraded):
    def schema():
        tables = [table for table in models.database.get_tables() if table != "schema_migration"]
        columns = {
            t: [
                (c.name, c.data_type, c.null, c.primary_key) for c in models.database.get_columns(t)
            ]
            for t in tables
        }
        indexes = {
            t: sorted((i.name, i.columns, i.unique) for i in models.database.get_indexes(t))
            for t in tables
        }
        keys = {
            t: sorted(tuple(k)[:3] for k in models.database.get_foreign_keys(t)) for t in tables
        }
        return columns, indexes, keys

    database.connect(fresh())
    models.database.create_tables(models.TABLES)
    created = schema()
    database.connect(fresh(upgraded))
    assert schema() == created
    assert not diff_models(models.database.obj, models.TABLES)


def test_an_upgrade_repeated_changes_nothing(clerk):
    clerk.roster([HEAD])
    before = everything()
    done = clerk.run("db", "upgrade")
    assert (done.exit_code, everything()) == (0, before)


def test_without_a_schema_the_clerk_is_told_what_to_type_first(clerk, fresh):
    models.database.close_all()
    fresh()
    done = clerk.run("roster", "check", ROSTERS / "roster-utf8.csv")
    assert done.exit_code == 1
    assert "flask db upgrade" in done.output


@pytest.mark.sqlite("look for a file")
@pytest.mark.parametrize(
    "args",
    [
        ("roster", "check", ROSTERS / "roster-utf8.csv"),
        ("roster", "import", ROSTERS / "roster-utf8.csv", "--credentials", "x.csv"),
        ("members", "find", "--number", "1"),
        ("members", "withhold", "A-222-222-222"),
        ("audit", "export"),
        ("stats",),
        ("db", "backup", "copy.db"),
    ],
)
@pytest.mark.parametrize("named", [True, False])
def test_a_command_makes_no_second_database_and_says_where_it_looked(
    clerk, monkeypatch, tmp_path, named, args
):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    if named:
        monkeypatch.setenv("KAKUNIN_DATABASE_URL", f"sqlite:///{elsewhere}/other.db")
    else:
        monkeypatch.delenv("KAKUNIN_DATABASE_URL")
        url = settings.Setting(str, f"sqlite:///{elsewhere}/other.db")
        monkeypatch.setitem(settings.SETTINGS, "DATABASE_URL", url)
    done = make_app().test_cli_runner().invoke(args=[str(arg) for arg in args])
    assert done.exit_code == 1
    assert f"{elsewhere}/other.db" in done.output
    assert "KAKUNIN_DATABASE_URL" in done.output
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("name", ["KAKUNIN_INSURERS", "KAKUNIN_SECRET_KEY"])
def test_a_missing_setting_is_named_with_where_settings_are(clerk, monkeypatch, name):
    monkeypatch.delenv(name)
    roster = clerk.file([HEAD])
    done = (
        make_app()
        .test_cli_runner()
        .invoke(
            args=["roster", "import", str(roster), "--credentials", str(clerk.folder / "x.csv")]
        )
    )
    assert (done.exit_code, done.output.count("\n")) == (1, 1)
    assert name in done.output
    assert "/etc/kakunin.env" in done.output
    assert not Member.select().exists()


@pytest.mark.sqlite("look for a file")
def test_a_new_database_is_its_owners_alone(clerk, tmp_path, monkeypatch):
    monkeypatch.setenv("KAKUNIN_DATABASE_URL", f"sqlite:///{tmp_path}/new/kakunin.db")
    assert make_app().test_cli_runner().invoke(args=["db", "upgrade"]).exit_code == 0
    assert stat.S_IMODE((tmp_path / "new" / "kakunin.db").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "args",
    [
        ("roster", "check"),
        ("roster", "import", "no such file"),
        ("roster", "check", __file__, "--allow-ending", "many"),
        ("roster", "check", __file__, "--era-codes", "other"),
        ("members", "reissue", "X"),
        ("members", "purge", "--left-before", "someday"),
        ("members", "purge", "--left-before", "2026-11-24"),
        ("mail", "test", "nobody"),
    ],
)
def test_wrong_usage_exits_with_two(clerk, args):
    assert clerk.run(*args).exit_code == 2


def test_the_template_can_be_filled_in_and_checked(clerk):
    path = clerk.folder / "template.csv"
    assert clerk.run("roster", "template", path).exit_code == 0
    assert path.read_bytes().startswith(b"\xef\xbb\xbf")
    done = clerk.roster(path, command="check")
    assert (done["added"], done["errors"], done["warnings"]) == (2, 0, 0)
    assert clerk.run("roster", "template", path).exit_code == 1


def test_the_plan_shows_by_one_example_how_era_digits_were_read(clerk):
    done = clerk.roster([HEAD | {"生年月日": "5540612"}], command="check")
    assert "5540612 → 昭和54年6月12日（1979-06-12）" in done["out"]
    done = clerk.roster([HEAD | {"生年月日": "3540612"}], "--era-codes", "receipt", command="check")
    assert "3540612 → 昭和54年6月12日（1979-06-12）" in done["out"]


def test_a_workbook_is_refused_in_one_sentence_and_the_counts_stay_last(clerk):
    path = clerk.folder / "book.csv"
    path.write_bytes(b"PK\x03\x04" + b"\0" * 50)
    done = clerk.roster(path, command="check")
    assert done["exit"] == 1
    first, told, last = done["out"].splitlines()
    assert "Excelブック" in first
    assert told == "確認だけです。何も変えていません（エラー1件）"
    assert last == "added=0 changed=0 ended=0 unchanged=0 repaired=0 warnings=0 errors=1"


def test_a_thousand_errors_are_printed_and_all_of_them_reported(clerk):
    path = clerk.folder / "bad.csv"
    path.write_text("氏名\n" * 1)
    rows = [HEAD | {"番号": str(i), "性別": "x"} for i in range(1200)]
    done = clerk.roster(rows, "--report", clerk.folder / "report.csv", command="check")
    assert done["errors"] == 1200
    assert sum(line.startswith("line ") for line in done["out"].splitlines()) == 1000
    assert "ほかに200件" in done["out"]
    with (clerk.folder / "report.csv").open(encoding="utf-8-sig", newline="") as file:
        assert len(list(csv.DictReader(file))) == 1200


def reissue(clerk, name, *args):
    clerk.files += 1
    return clerk.run(
        "members",
        "reissue",
        login(name),
        "--credentials",
        clerk.folder / f"letters{clerk.files}.csv",
        *args,
    )


def test_a_reissue_ends_sessions_trusts_and_password_and_forgets_the_address(clerk, now):
    from accounts.keys import Keys

    clerk.roster([HEAD, WIFE])
    account = log_in("佐倉 美咲")
    Mail.create(kind="code", account=account, address="s@example.jp", created_at=0, due_at=0)
    Challenge.create(id="c", account=account, purpose="login", created_at=0)
    assert reissue(clerk, "佐倉 美咲").exit_code == 0
    account = Account.get(Account.member == account.member_id)
    assert (account.email, account.email_key, account.password_hash, account.registered_at) == (
        None,
    ) * 4
    (letter,) = clerk.letters
    assert (letter["氏名"], letter["宛名"]) == ("佐倉 美咲", "佐倉 直人")
    keys = Keys(clerk.runner.app.config["SECRET_KEY"])
    assert keys.fits_temporary(letter["仮パスワード"], account.temporary_hash)
    assert Session.get().ended_at == int(now)
    assert not Trust.select().exists()
    assert not Mail.select().exists()
    assert Challenge.get().used_at == int(now)
    assert (
        Audit.select()
        .where(Audit.action == "account.reissued", Audit.member == account.member_id)
        .exists()
    )


def taken_notice(address: str) -> None:
    """A mail of another account that waits: that `address` is somebody's already."""
    other = Account.select().join(Member).where(Member.name == "佐倉 直人").get()
    challenge = Challenge.create(id="c", account=other, purpose="email", decoy=True, created_at=0)
    Mail.create(
        kind="taken", account=other, challenge=challenge, address=address, created_at=0, due_at=0
    )


@pytest.mark.parametrize(
    ("how", "left"), [("withhold", 0), ("reissue", 0), ("reissue --keep-email", 1)]
)
def test_no_mail_goes_to_an_address_that_is_free_again(clerk, how, left):
    clerk.roster([HEAD, WIFE])
    account = log_in("佐倉 美咲")
    taken_notice("S@Example.jp")
    Mail.create(kind="reset", account=account, address="s@example.jp", created_at=0, due_at=0)
    bystander = Mail.create(
        kind="reset", account=None, address="n@example.jp", created_at=0, due_at=0
    )
    command, *options = how.split()
    done = reissue(clerk, "佐倉 美咲", *options) if options or command == "reissue" else None
    done = done or clerk.run("members", "withhold", login("佐倉 美咲"))
    assert done.exit_code == 0
    assert Mail.select().where(Mail.kind == "taken").count() == left
    assert [mail.id for mail in Mail.select().where(Mail.kind == "reset")] == [bystander.id]


def test_an_addressee_can_be_typed_instead_of_standing_in_ps(clerk):
    clerk.roster([HEAD, WIFE])
    arguments = [
        "members",
        "reissue",
        login("佐倉 美咲"),
        "--addressee",
        "--credentials",
        str(clerk.folder / "typed.csv"),
    ]
    done = clerk.runner.invoke(args=arguments, input="支援センター\n")
    assert done.exit_code == 0, done.output
    assert "支援センター" in (clerk.folder / "typed.csv").read_text("utf-8-sig")


def test_a_reissue_can_keep_the_address_and_name_another_addressee(clerk):
    clerk.roster([HEAD, WIFE])
    log_in("佐倉 美咲")
    assert reissue(clerk, "佐倉 美咲", "--keep-email", "--addressee", "支援センター").exit_code == 0
    assert clerk.letters[0]["宛名"] == "支援センター"
    assert (
        Account.select().join(Member).where(Member.name == "佐倉 美咲").get().email
        == "s@example.jp"
    )


def test_a_letter_to_a_withheld_subscriber_needs_another_addressee(clerk):
    clerk.roster([HEAD | {"不開示": "1"}, WIFE])
    before = everything()
    done = reissue(clerk, "佐倉 美咲")
    assert (done.exit_code, everything()) == (1, before)
    assert "--addressee" in done.output
    assert reissue(clerk, "佐倉 美咲", "--addressee", "佐倉 美咲").exit_code == 0


def test_withhold_deletes_the_account_at_once_and_no_later_roster_brings_it_back(clerk):
    clerk.roster([HEAD, WIFE])
    log_in("佐倉 美咲")
    assert clerk.run("members", "withhold", login("佐倉 美咲")).exit_code == 0
    assert [a.member.name for a in Account.select()] == ["佐倉 直人"]
    assert not Session.select().exists()
    clerk.roster([HEAD, WIFE])
    assert Member.get(Member.name == "佐倉 美咲").withheld
    assert Account.select().count() == 1


def test_show_tells_the_state_without_the_address(clerk):
    clerk.roster([HEAD])
    log_in("佐倉 直人", "naoto@example.jp")
    done = clerk.run("members", "show", login("佐倉 直人").lower())
    assert done.exit_code == 0
    assert "資格確認書: 有効" in done.output
    assert "naoto" not in done.output
    assert clerk.run("members", "show", "A-222-222-222").exit_code == 1


def test_purge_deletes_who_left_before_the_day_and_nobody_else(clerk):
    left = [
        HEAD | {"番号": str(i), "資格喪失年月日": day}
        for i, day in enumerate(("2020-03-31", "2020-04-01", ""))
    ]
    clerk.roster(left)
    done = clerk.run("members", "purge", "--left-before", "令和2年4月1日")
    assert "1人" in done.output
    assert sorted(m.number for m in Member.select()) == ["1", "2"]
    assert Account.select().count() == 2


def test_the_audit_is_exported_with_displays_oldest_first_and_from_a_day_on(clerk, now):
    clerk.roster([HEAD])
    log_in("佐倉 直人")
    person = Member.get().id
    Display.create(
        id="d", session="佐倉 直人", viewer=person, member=person, started_at=int(now) + 60
    )
    Audit.create(at=int(now) - 86400, action="login", detail="=cmd")
    done = clerk.run("audit", "export")
    rows = list(csv.DictReader(io.StringIO(done.stdout.removeprefix("\ufeff"))))
    assert [row["操作"] for row in rows] == ["login", "roster.imported", "certificate.shown"]
    assert rows[0]["詳細"] == "'=cmd"
    assert rows[2]["日時"] == "2026-11-23 14:06:33"
    assert done.stdout.startswith("\ufeff")
    late = clerk.run("audit", "export", "--since", "2026-11-23").stdout
    assert "login" not in late
    assert "roster.imported" in late


def test_mail_test_says_in_a_sentence_that_nobody_answers(clerk):
    done = clerk.run("mail", "test", "s@example.jp")
    assert done.exit_code == 1
    assert "メールを送れませんでした" in done.output


def test_an_upgrade_waits_for_an_import(clerk, lock_held):  # noqa: F811
    threading.Timer(0.3, lock_held.set).start()
    begun = time.monotonic()
    assert clerk.run("db", "upgrade").exit_code == 0
    assert time.monotonic() - begun > 0.25


RELEASED = {"0001_initial.py": "7c5788b7c490c4d93b972d42d30c574152ea76b902773398a2c329110c1795cc"}
"""What databases out there were made by. A change of the schema is a new file."""


def test_a_released_migration_is_never_edited():
    for name, digest in RELEASED.items():
        assert hashlib.sha256((ROOT / "migrations" / name).read_bytes()).hexdigest() == digest, name


FAMILY = [
    HEAD | {"記号": "aれい", "番号": "１０２４", "氏名": "佐倉 直人", "氏名カナ": "サクラ ナオト"},
    WIFE | {"記号": "aれい", "番号": "１０２４", "氏名": "佐倉 美咲", "氏名カナ": "サクラ ミサキ"},
]


@pytest.mark.parametrize(
    ("args", "names"),
    [
        (("--number", "1024"), ["佐倉 直人", "佐倉 美咲"]),
        (("--number", "１０２４", "--symbol", "aれい"), ["佐倉 直人", "佐倉 美咲"]),
        (("--number", "1024", "--birth", WIFE["生年月日"]), ["佐倉 美咲"]),
        (("--number", "1024", "--name", "佐倉美"), ["佐倉 美咲"]),
        (("--number", "1024", "--name", "ｻｸﾗ ﾅｵﾄ"), ["佐倉 直人"]),
        (("--number", "024"), []),
        (("--number", "%"), []),
        (("--number", "1024", "--symbol", "い"), []),
        (("--number", "1024", "--symbol", "Aれい"), []),
        (("--number", "1024", "--name", "佐倉 直人 サクラ"), []),
    ],
)
def test_the_clerk_finds_who_lost_their_letter_and_the_trail_says_whom(clerk, args, names):
    clerk.roster(FAMILY)
    Audit.delete().execute()
    done = clerk.run("members", "find", *args)
    assert done.exit_code == (0 if names else 1)
    assert [line.split(": ")[1][:5] for line in done.stdout.splitlines()] == names
    for name in names:
        assert grouped(login(name)) in done.stdout
    noted = [(row.action, Member.get_by_id(row.member).name) for row in Audit.select()]
    assert noted == [("member.found", name) for name in names]


def test_nobody_finds_a_withheld_person(clerk):
    clerk.roster(FAMILY)
    clerk.run("members", "withhold", login("佐倉 美咲"))
    assert "佐倉 美咲" not in clerk.run("members", "find", "--number", "1024").output
    asked = ("members", "find", "--number", "1024", "--name", "佐倉 美咲")
    nobody = ("members", "find", "--number", "1024", "--name", "佐倉 太郎")
    assert clerk.run(*asked).output == clerk.run(*nobody).output
