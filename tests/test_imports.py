"""Tests of imports into a database with members: the changes they make, the rosters they refuse,
and their atomicity."""

import csv
import itertools
import os
import random
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from statistics import median_low as median

import pytest

import models
from models import Account, Audit, Mail, Member, RosterImport, Session, Trust
from roster.reading import BATCH
from tests.support.sample import ROSTERS
from tests.test_roster import PERSON

ROOT = Path(__file__).parent.parent
HEAD = PERSON | {"加入者ID": ""}
WIFE = HEAD | {
    "枝番": "01",
    "氏名": "佐倉 美咲",
    "生年月日": "1982-09-08",
    "性別": "2",
    "本人家族区分": "家族",
}
CHILD = WIFE | {
    "枝番": "02",
    "氏名": "佐倉 蓮",
    "生年月日": "2021-03-03",
    "資格取得年月日": "2021-03-03",
}
OTHER = HEAD | {"番号": "2048", "氏名": "戸田 さくら"}


def stored(*fields):
    return sorted(Member.select(*(getattr(Member, field) for field in fields)).tuples(), key=str)


def everything():
    return [
        list(table.select().tuples()) for table in (Member, Account, Session, Trust, RosterImport)
    ]


def counts(done):
    return done["added"], done["changed"], done["ended"], done["unchanged"], done["errors"]


def test_both_samples_are_the_same_people(clerk):
    done = clerk.roster(ROSTERS / "roster-utf8.csv")
    assert (
        done["out"].splitlines()[-1]
        == "added=12 changed=0 ended=0 unchanged=0 repaired=0 warnings=2 errors=0"
    )
    done = clerk.roster(ROSTERS / "roster-cp932-wareki.csv")
    assert (
        done["out"].splitlines()[-1]
        == "added=0 changed=0 ended=0 unchanged=12 repaired=24 warnings=2 errors=0"
    )
    assert done["exit"] == 0


def test_check_changes_nothing_and_says_what_import_would(clerk):
    clerk.roster([HEAD])
    before = everything()
    done = clerk.roster([HEAD | {"氏名カナ": "サクラ ナオヒト"}, WIFE], command="check")
    assert counts(done) == (1, 1, 0, 0, 0)
    assert "変更: 氏名カナ 1人" in done["out"]
    assert everything() == before


def test_one_bad_cell_and_nothing_is_applied(clerk):
    clerk.roster([HEAD])
    before = everything()
    done = clerk.roster([HEAD | {"備考": "新しい"}, WIFE | {"性別": "9"}])
    assert (done["exit"], counts(done)) == (1, (0, 0, 0, 0, 1))
    assert "line 3, column 性別, value 9: " in done["out"]
    assert everything() == before
    assert not list(clerk.folder.glob("letters2*"))


def test_letters_are_addressed_to_the_subscriber_and_only_the_owner_may_read_them(clerk):
    clerk.roster([CHILD, WIFE, HEAD])
    assert [(row["氏名"], row["宛名"]) for row in clerk.letters] == [
        (n, "佐倉 直人") for n in ("佐倉 蓮", "佐倉 美咲", "佐倉 直人")
    ]
    assert stat.S_IMODE((clerk.folder / "letters1.csv").stat().st_mode) == 0o600
    clerk.roster([CHILD | {"枝番": "03", "氏名": "佐倉 陽葵"}])
    assert [row["宛名"] for row in clerk.letters] == ["佐倉 直人"]


def test_letters_fit_the_stored_hashes_and_begin_with_a_letter(clerk):
    from accounts.keys import Keys, fold_typed

    clerk.roster([HEAD, WIFE])
    keys = Keys(clerk.runner.app.config["SECRET_KEY"])
    for row in clerk.letters:
        account = Account.get(Account.login_id == fold_typed(row["ログインID"]))
        assert account.member.name == row["氏名"]
        assert keys.fits_temporary(row["仮パスワード"], account.temporary_hash)
        assert row["ログインID"][0].isalpha()
        assert row["仮パスワード"][0].isalpha()
    assert len({m.public_id for m in Member.select()}) == 2


def test_a_formula_in_a_name_reaches_the_letters_as_text(clerk):
    clerk.roster([HEAD | {"氏名": "=1+1", "事業所名称": "@社"}, WIFE])
    assert [(row["氏名"], row["宛名"], row["事業所名称"]) for row in clerk.letters] == [
        ("'=1+1", "'=1+1", "'@社"),
        ("佐倉 美咲", "'=1+1", PERSON["事業所名称"]),
    ]


def test_commas_and_quotes_in_one_name_leave_all_letters_readable(clerk, monkeypatch):
    monkeypatch.setattr("imports.letters.PART", 2)
    names = ["甲", '乙,"丙"', "丁", "戊", "'己"]
    clerk.roster(
        [OTHER | {"番号": str(i), "氏名": name, "記号": ""} for i, name in enumerate(names)]
    )
    assert [(row["氏名"], row["番号"], row["記号"]) for row in clerk.letters] == [
        (n, str(i), "") for i, n in enumerate(names)
    ]


def test_new_people_without_a_file_for_their_letters_are_refused(clerk):
    done = clerk.roster([HEAD], letters=False)
    assert (done["exit"], done["errors"]) == (1, 1)
    assert "--credentials" in done["out"]
    assert not Member.select().exists()


def test_people_who_get_no_letter_need_no_file_for_it(clerk):
    assert counts(clerk.roster([HEAD | {"不開示": "1"}], letters=False)) == (1, 0, 0, 0, 0)
    assert not Account.select().exists()


def test_an_existing_credentials_file_is_never_overwritten(clerk):
    (clerk.folder / "letters.csv").write_text("precious")
    done = clerk.run(
        "roster", "import", clerk.file([HEAD]), "--credentials", clerk.folder / "letters.csv"
    )
    assert done.exit_code == 1
    assert (clerk.folder / "letters.csv").read_text() == "precious"
    assert not Member.select().exists()


@pytest.mark.parametrize("there", ["the roster", "the letters", "a link", "a link to nothing"])
@pytest.mark.parametrize("command", ["check", "import"])
def test_a_report_overwrites_nothing_and_follows_no_link(clerk, command, there):
    roster, precious, link = (
        clerk.file([HEAD]),
        clerk.folder / "precious.csv",
        clerk.folder / "link.csv",
    )
    precious.write_text("precious")
    link.symlink_to(precious if there == "a link" else clerk.folder / "nothing.csv")
    report = {"the roster": roster, "the letters": precious}.get(there, link)
    before = roster.read_bytes()
    letters = ["--credentials", clerk.folder / "l.csv"] if command == "import" else []
    done = clerk.run("roster", command, roster, "--report", report, *letters)
    assert (done.exit_code, done.output.count("\n")) == (1, 1), done.output
    assert "すでにあります" in done.output
    assert (roster.read_bytes(), precious.read_text()) == (before, "precious")
    assert not (clerk.folder / "nothing.csv").exists()
    assert not Member.select().exists()


def test_a_report_is_its_owners_alone(clerk):
    report = clerk.folder / "report.csv"
    clerk.roster([HEAD | {"性別": "9"}], "--report", report, command="check")
    assert stat.S_IMODE(report.stat().st_mode) == 0o600
    assert "性別" in report.read_text("utf-8-sig")


@pytest.mark.parametrize("kind", ["a pipe", "a link", "a folder"])
def test_a_leftover_that_is_no_file_of_ours_is_refused_at_once(clerk, kind):
    part = clerk.folder / "l.csv.part"
    {
        "a pipe": os.mkfifo,
        "a link": lambda path: path.symlink_to(clerk.folder / "x"),
        "a folder": os.mkdir,
    }[kind](part)
    done = clerk.run(
        "roster", "import", clerk.file([HEAD]), "--credentials", clerk.folder / "l.csv"
    )
    assert done.exit_code == 1
    assert "ふつうのファイルではありません" in done.output
    assert os.path.lexists(part)
    assert not Member.select().exists()


def test_letters_do_not_follow_a_link_to_nothing(clerk):
    (clerk.folder / "l.csv").symlink_to(clerk.folder / "elsewhere.csv")
    done = clerk.run(
        "roster", "import", clerk.file([HEAD]), "--credentials", clerk.folder / "l.csv"
    )
    assert done.exit_code == 1
    assert "すでにあります" in done.output
    assert (clerk.folder / "l.csv").is_symlink()
    assert not Member.select().exists()


def test_a_column_that_the_file_lacks_leaves_what_is_stored_and_an_empty_cell_clears_it(clerk):
    clerk.roster([HEAD | {"備考": "ひかえ"}])
    without = {
        k: v
        for k, v in HEAD.items()
        if k
        not in ("備考", "事業所名称", "交付事由", "交付方法", "交付年月日", "有効期限", "氏名カナ")
    }
    assert counts(clerk.roster([without])) == (0, 0, 0, 1, 0)
    assert stored("remarks", "workplace", "delivery") == [("ひかえ", "見本工業株式会社", "web")]
    done = clerk.roster([HEAD | {"事業所名称": ""}])
    assert counts(done) == (0, 1, 0, 0, 0)
    assert stored("remarks", "workplace") == [("", "")]


def test_a_move_with_the_same_id_keeps_the_account(clerk):
    head, wife = HEAD | {"加入者ID": "A"}, WIFE | {"加入者ID": "B"}
    clerk.roster([head, wife])
    Member.update(shows_children=True).execute()
    logins = sorted(Account.select(Account.member, Account.login_id).tuples())
    done = clerk.roster(
        [
            wife | {"番号": "9999"},
            head | {"番号": "9999", "記号": "継続"},
            wife | {"番号": "9999", "記号": "継続"},
        ][1:]
    )
    assert counts(done) == (0, 2, 0, 0, 0)
    assert stored("household") == [("06139463\t継続\t9999",)] * 2
    assert sorted(Account.select(Account.member, Account.login_id).tuples()) == logins
    assert stored("shows_children") == [(False,)] * 2


def test_a_move_keeps_symbol_and_branch_that_the_file_lacks(clerk):
    clerk.roster([HEAD | {"加入者ID": "A"}])
    without = {k: v for k, v in HEAD.items() if k not in ("記号", "枝番")} | {"加入者ID": "A"}
    assert counts(clerk.roster([without])) == (0, 0, 0, 1, 0)
    assert stored("symbol", "branch", "household") == [("128", "00", "06139463\t128\t1024")]


def test_an_id_given_later_is_the_same_persons(clerk):
    clerk.roster([HEAD, WIFE])
    assert counts(clerk.roster([HEAD | {"加入者ID": "A"}, WIFE | {"加入者ID": "B"}])) == (
        0,
        2,
        0,
        0,
        0,
    )
    assert counts(clerk.roster([HEAD, WIFE])) == (0, 2, 0, 0, 0)  # empty cells clear the ids
    clerk.roster([HEAD | {"加入者ID": "A"}, WIFE | {"加入者ID": "B"}])
    other = HEAD | {"加入者ID": "C", "氏名": "別 人"}
    done = clerk.roster(
        [HEAD | {"加入者ID": "A", "資格喪失年月日": "2026-11-01", "枝番": "09"}, other]
    )
    assert done["errors"] == 1  # two subscribers


def test_full_width_symbol_and_number_are_the_same_household(clerk):
    clerk.roster([HEAD])
    done = clerk.roster([HEAD | {"記号": "１２８"}, WIFE | {"番号": "１０２４"}])
    assert counts(done) == (1, 1, 0, 0, 0)
    assert stored("symbol", "household") == [
        ("128", "06139463\t128\t1024"),
        ("１２８", "06139463\t128\t1024"),
    ]


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (
            [HEAD, CHILD, OTHER | {"本人家族区分": "家族"}],
            "line 4, column 番号, value 2048: この家族の本人",
        ),
        (
            [HEAD, WIFE | {"本人家族区分": "本人"}],
            "line 3, column 本人家族区分, value 本人: 同じ記号・番号の本人が2行目",
        ),
        ([HEAD, WIFE, WIFE], "line 4, column 枝番, value 01: 3行目と同じ人です"),
        (
            [HEAD, WIFE, WIFE | {"交付方法": "紙"}],
            "line 4, column 枝番, value 01: 3行目と同じ人に、紙とWEBの両方",
        ),
        (
            [HEAD | {"加入者ID": "A"}, WIFE | {"加入者ID": "A"}],
            "line 3, column 加入者ID, value A: 2行目と同じ人です",
        ),
        ([HEAD, WIFE | {"枝番": ""}], "line 3, column 枝番, value : 空です。2人以上"),
    ],
)
def test_a_household_that_cannot_be_is_an_error_on_its_line(clerk, rows, says):
    done = clerk.roster(rows)
    assert (done["exit"], done["errors"]) == (1, 1), done["out"]
    assert says in done["out"]
    assert not Member.select().exists()


def test_without_branches_ids_tell_people_apart_and_one_person_needs_neither(clerk):
    done = clerk.roster(
        [
            HEAD | {"枝番": "", "加入者ID": "A"},
            WIFE | {"枝番": "", "加入者ID": "B"},
            OTHER | {"枝番": ""},
        ]
    )
    assert counts(done) == (3, 0, 0, 0, 0)
    assert stored("branch") == [("",)] * 3


def test_a_stored_subscriber_is_enough_and_a_second_one_is_not_accepted(clerk):
    clerk.roster([HEAD])
    assert counts(clerk.roster([WIFE])) == (1, 0, 0, 0, 0)
    done = clerk.roster([OTHER | {"番号": "1024", "枝番": "05"}])
    assert (done["exit"], done["errors"]) == (1, 1)
    assert "別の本人がすでに登録" in done["out"]


def test_a_dependent_without_a_branch_beside_stored_people_needs_an_id(clerk):
    clerk.roster([HEAD, WIFE])
    done = clerk.roster([CHILD | {"枝番": ""}])
    assert "2人以上いる世帯" in done["out"]
    assert Member.select().count() == 2


def test_a_family_left_behind_by_a_move_is_warned_of(clerk):
    clerk.roster([HEAD | {"加入者ID": "A"}, WIFE | {"加入者ID": "B"}])
    done = clerk.roster([HEAD | {"加入者ID": "A", "番号": "7777"}])
    assert (done["errors"], done["warnings"]) == (0, 1)
    assert "家族が1人残ります" in done["out"]


def test_paper_becomes_web_and_loss_and_return_keep_the_login(clerk):
    clerk.roster([HEAD | {"交付方法": "紙"}])
    login = Account.get().login_id
    assert counts(clerk.roster([HEAD])) == (0, 1, 0, 0, 0)
    assert stored("delivery") == [("web",)]
    clerk.roster([HEAD | {"資格喪失年月日": "2026-11-01"}])
    assert stored("lost_on")[0][0].isoformat() == "2026-11-01"
    clerk.roster([HEAD])
    assert (stored("lost_on"), Account.get().login_id) == ([(None,)], login)


def test_a_first_import_leaves_every_index_as_it_was(clerk):
    def indexes():
        with models.database.connection_context():
            return [
                sorted((i.name, i.unique, i.sql) for i in models.database.get_indexes(table))
                for table in ("member", "account")
            ]

    before = indexes()
    assert len(before[0]) > 2
    assert clerk.roster([HEAD, WIFE])["exit"] == 0
    assert indexes() == before


def log_in(name, email="s@example.jp"):
    account = Account.select().join(Member).where(Member.name == name).get()
    Account.update(email=email, email_key=email, password_hash="x", temporary_hash=None).where(
        Account.member == account.member_id
    ).execute()
    Trust.create(id=name, account=account, created_at=0, expires_at=9**10)
    Session.create(id=name, account=account, trust=name, created_at=0, seen_at=0)
    return account


def test_who_turns_withheld_loses_account_sessions_and_address_at_once(clerk):
    clerk.roster([HEAD, WIFE])
    log_in("佐倉 美咲")
    head = Account.select().join(Member).where(Member.name == "佐倉 直人").get()
    # that of head's who is told that an address is somebody's, and another
    for address in ("S@Example.jp", "n@example.jp"):
        Mail.create(kind="taken", account=head, address=address, created_at=0, due_at=0)
    done = clerk.roster([HEAD, WIFE | {"不開示": "1"}])
    assert counts(done) == (0, 1, 0, 1, 0)
    assert [mail.address for mail in Mail.select()] == ["n@example.jp"]
    assert [a.member.name for a in Account.select()] == ["佐倉 直人"]
    assert not Session.select().exists()
    assert not Trust.select().exists()
    assert Audit.select().where(Audit.action == "member.withheld").count() == 1


def test_a_withheld_person_gets_no_letter_and_only_an_explicit_0_lifts_it(clerk):
    clerk.roster([HEAD, WIFE | {"交付事由": "7", "交付方法": "紙"}])
    assert [row["氏名"] for row in clerk.letters] == ["佐倉 直人"]
    clerk.roster([HEAD, WIFE])
    clerk.roster([HEAD, {k: v for k, v in WIFE.items() if k != "不開示"}])
    assert stored("name", "withheld") == [("佐倉 直人", False), ("佐倉 美咲", True)]
    assert Account.select().count() == 1
    lifting = [HEAD, WIFE | {"不開示": "0"}]
    assert clerk.roster(lifting, letters=False)["exit"] == 1
    done = clerk.roster(lifting)
    assert "不開示の解除: 3行目" in done["out"]
    assert [row["氏名"] for row in clerk.letters] == ["佐倉 美咲"]
    assert Account.select().count() == 2
    assert Audit.select().where(Audit.action == "member.lifted").count() == 1


def test_what_a_subscriber_allowed_ends_when_a_roster_withholds_them_and_does_not_return(clerk):
    clerk.roster([HEAD, WIFE, CHILD, OTHER])
    head, other = (Member.get(Member.name == person["氏名"]).id for person in (HEAD, OTHER))
    Member.update(shows_children=True, allowed_by=head).where(Member.name == WIFE["氏名"]).execute()
    Member.update(shows_children=True, allowed_by=other).where(
        Member.name == CHILD["氏名"]
    ).execute()
    clerk.roster([HEAD | {"不開示": "1"}, WIFE, CHILD, OTHER])
    rest = stored("branch", "shows_children", "allowed_by")
    assert rest == [
        ("00", False, None),
        ("00", False, None),
        ("01", False, None),
        ("02", True, other),
    ]
    clerk.roster([HEAD | {"不開示": "0"}, WIFE, CHILD, OTHER])
    assert stored("branch", "shows_children", "allowed_by") == rest


@pytest.mark.parametrize(
    "moved",
    [
        {"記号": "900"},
        {"枝番": "07"},
        {"枝番": "07", "性別": "3", "備考": "戸籍上の性別は女"},
        {"加入者ID": "other", "枝番": "07"},
        {"記号": "900", "氏名": "佐倉　美咲"},
        {"記号": "900", "氏名": "佐倉 美●", "氏名カナ": "サクラ ミサキ"},
    ],
    ids=str,
)
def test_a_withheld_person_stays_so_under_another_key(clerk, moved):
    kana = {"氏名カナ": "サクラ ミサキ"}
    clerk.roster([HEAD, WIFE | kana | {"不開示": "1"}])
    renumbered = {key: value for key, value in moved.items() if key == "記号"}
    head, wife = HEAD | renumbered, WIFE | kana | moved
    done = clerk.roster([head, wife, CHILD | renumbered])
    assert "line 3, column 不開示, value : （警告）登録されている不開示の人と" in done["out"]
    assert "美咲" not in done["out"]
    wives = Member.select().where(Member.birth_date == WIFE["生年月日"])
    assert [person.withheld for person in wives] == [True, True]
    assert not Account.select().join(Member).where(Member.withheld).exists()
    assert "佐倉 美咲" not in [row["氏名"] for row in clerk.letters]
    again = clerk.roster([head, wife, CHILD | renumbered])
    assert "登録されている不開示の人と" not in again["out"]
    clerk.roster([head, wife | {"不開示": "0"}, CHILD | renumbered])
    assert [row["氏名"] for row in clerk.letters] == [wife["氏名"]]


def test_whoever_only_resembles_a_withheld_person_is_not_withheld(clerk):
    clerk.roster([HEAD, WIFE | {"不開示": "1"}])
    other = WIFE | {"枝番": "07", "氏名": "佐倉 美和", "氏名カナ": "サクラ ミワ"}
    twin = WIFE | {"枝番": "08", "生年月日": "1982-09-09"}
    said = WIFE | {"枝番": "09", "不開示": "0"}
    done = clerk.roster([HEAD, other, twin, said])
    assert (done["added"], done["warnings"]) == (3, 0), done["out"]
    assert Member.select().where(Member.withheld).count() == 1


def test_who_is_withheld_stays_so_where_another_turns_withheld_in_the_same_file(clerk):
    clerk.roster([HEAD, WIFE | {"不開示": "1"}, CHILD])
    done = clerk.roster([HEAD, WIFE | {"備考": "新しい"}, CHILD | {"不開示": "1"}])
    assert counts(done) == (0, 2, 0, 1, 0)
    assert stored("branch", "withheld") == [("00", False), ("01", True), ("02", True)]
    assert Account.select().count() == 1


def test_letters_that_would_go_to_a_withheld_subscriber_are_left_out_and_counted(clerk):
    done = clerk.roster([HEAD | {"不開示": "1"}, WIFE, OTHER])
    assert [row["氏名"] for row in clerk.letters] == ["戸田 さくら"]
    assert "家族1人分は書いていません" in done["out"]
    done = clerk.roster([CHILD])
    assert "家族1人分は書いていません" in done["out"]
    assert Account.select().count() == 3


def crowd(count):
    return [HEAD | {"番号": str(i), "氏名": f"人 {i}"} for i in range(count)]


def test_full_ends_who_is_missing_but_never_many_unasked(clerk):
    """Many is more than 5 %, and more than 20: of 410 people 21, of 300 people 21, of 30 people
    nobody is."""
    clerk.roster(crowd(410))
    assert counts(clerk.roster(crowd(390))) == (0, 0, 0, 390, 0)
    assert counts(clerk.roster(crowd(390), "--full")) == (0, 0, 20, 390, 0)
    ended = Member.select(Member.lost_on).where(Member.lost_on.is_null(False))
    assert [d.isoformat() for (d,) in ended.tuples()] == ["2026-11-23"] * 20
    assert counts(clerk.roster(crowd(390), "--full")) == (0, 0, 0, 390, 0)
    refused = clerk.roster(crowd(369), "--full")
    assert (refused["exit"], refused["errors"]) == (1, 1)
    assert "--allow-ending 21" in refused["out"]
    assert clerk.roster(crowd(369), "--full", "--allow-ending", "22")["exit"] == 1
    assert ended.count() == 20
    assert counts(clerk.roster(crowd(369), "--full", "--allow-ending", "21")) == (0, 0, 21, 369, 0)
    assert counts(clerk.roster(crowd(349), "--full")) == (0, 0, 20, 349, 0)


def test_of_many_people_a_twentieth_may_end(clerk):
    clerk.roster(crowd(600))
    assert counts(clerk.roster(crowd(570), "--full")) == (0, 0, 30, 570, 0)
    assert clerk.roster(crowd(541), "--full")["exit"] == 1
    assert counts(clerk.roster(crowd(542), "--full")) == (0, 0, 28, 542, 0)


def test_a_column_sorted_alone_is_refused_unless_the_number_is_named(clerk):
    people = crowd(400)
    clerk.roster(people)
    some = [p | {"生年月日": "1970-01-01"} for p in people[:20]] + people[20:]
    assert counts(clerk.roster(some)) == (0, 20, 0, 380, 0)
    more = [p | {"性別": "2"} for p in people[30:51]]
    before = everything()
    refused = clerk.roster(more)
    assert refused["exit"] == 1
    assert "--allow-changes 21" in refused["out"]
    assert everything() == before
    assert counts(clerk.roster(more, "--allow-changes", "21")) == (0, 21, 0, 0, 0)


def test_each_import_is_recorded_with_its_counts(clerk):
    clerk.roster([HEAD, WIFE])
    clerk.roster([HEAD | {"備考": "x"}, WIFE])
    assert list(
        RosterImport.select(
            RosterImport.added, RosterImport.changed, RosterImport.unchanged
        ).tuples()
    ) == [
        (2, 0, 0),
        (0, 1, 1),
    ]
    assert [
        a.detail for a in Audit.select().where(Audit.action == "roster.imported").order_by(Audit.id)
    ] == [
        "added=2 changed=0 ended=0 unchanged=0",
        "added=0 changed=1 ended=0 unchanged=1",
    ]


@pytest.fixture
def lock_held():
    """The lock of imports and upgrades, held by somebody else until the test ends."""
    from database import exclusive_lock

    held, done = threading.Event(), threading.Event()

    def hold():
        with exclusive_lock():
            held.set()
            done.wait(10)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    yield done
    done.set()
    holder.join()


def test_a_second_import_at_the_same_time_is_refused_with_a_sentence(clerk, lock_held):
    done = clerk.run(
        "roster", "import", clerk.file([HEAD]), "--credentials", clerk.folder / "x.csv"
    )
    assert done.exit_code == 1
    assert "ほかの取り込み" in done.output
    assert not Member.select().exists()


def program(clerk, *args, **options):
    """The command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.support.clerk", *map(str, args)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        **options,
    )


@pytest.mark.sqlite("fill a disk up: PostgreSQL's is the server's")
def test_a_full_disk_leaves_the_old_state_and_says_so(clerk):
    import resource

    rows = crowd(3000)
    small = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))  # noqa: E731
    run = program(
        clerk,
        "roster",
        "import",
        clerk.file(rows),
        "--credentials",
        clerk.folder / "l.csv",
        preexec_fn=small,
    )
    out, _ = run.communicate()
    assert run.returncode == 1
    assert "保存できませんでした" in out.decode()
    assert "Traceback" not in out.decode()
    assert not Member.select().exists()
    assert not list(clerk.folder.glob("l.csv*"))


def wait_for_the_killed() -> None:
    """Until PostgreSQL has ended what a killed program began: it hears of the death only when it
    next speaks to it."""
    others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    with models.database.connection_context():
        until = time.monotonic() + 20
        while models.database.execute_sql(others).fetchone()[0]:
            assert time.monotonic() < until, "a connection outlives its program"
            time.sleep(0.02)


@pytest.mark.slow
def test_killed_again_and_again_it_is_old_or_new_and_never_between(clerk, fresh, cluster):
    """Killed at chance moments: the database holds nobody or everybody, and a second run ends what
    the first began."""
    from accounts.keys import Keys, fold_typed

    keys = Keys(clerk.runner.app.config["SECRET_KEY"])
    people = crowd(300)
    path, out = clerk.file(people), clerk.folder / "out.csv"
    begun = time.monotonic()
    whole = program(clerk, "roster", "import", path, "--credentials", out)
    whole.communicate()
    took = time.monotonic() - begun
    assert whole.returncode == 0
    seen = set()
    for turn in range(20 if cluster else 50):
        models.database.close_all()
        fresh()
        assert clerk.run("db", "upgrade").exit_code == 0
        models.database.close_all()
        for leftover in clerk.folder.glob("out.csv*"):
            leftover.unlink()
        run = program(clerk, "roster", "import", path, "--credentials", out)
        # Start-up takes most of the time, and a busy machine changes its mind: the guess follows
        # what the last kill met.
        time.sleep(took * (0.8 + 0.3 * random.Random(turn).random()))
        run.send_signal(signal.SIGKILL)
        run.communicate()
        if cluster:
            wait_for_the_killed()
        number = Member.select().count()
        took *= 0.93 if number else 1.05
        seen.add((number, out.exists(), out.with_name("out.csv.part").exists()))
        assert number in (0, 300)
        assert number == Account.select().count()
        assert number or not out.exists()
        again = clerk.run(
            "roster", "import", path, *([] if out.exists() else ["--credentials", out])
        )
        assert again.exit_code == 0, again.output
        with out.open(encoding="utf-8-sig", newline="") as file:
            letters = list(csv.DictReader(file))
        hashes = dict(Account.select(Account.login_id, Account.temporary_hash).tuples())
        assert {fold_typed(row["ログインID"]) for row in letters} == set(hashes)
        assert all(
            keys.fits_temporary(row["仮パスワード"], hashes[fold_typed(row["ログインID"])])
            for row in letters
        )
        assert not out.with_name("out.csv.part").exists()
    assert len({state[0] for state in seen}) == 2, seen


def test_a_leftover_of_an_import_that_was_applied_becomes_the_credentials_file(clerk):
    clerk.roster([HEAD])
    (clerk.folder / "letters1.csv").rename(clerk.folder / "letters1.csv.part")
    done = clerk.run(
        "roster",
        "import",
        clerk.folder / "roster1.csv",
        "--credentials",
        clerk.folder / "letters1.csv",
    )
    assert done.exit_code == 0
    assert "前回の取り込みは終わっています" in done.output
    assert [row["氏名"] for row in clerk.letters] == ["佐倉 直人"]


def test_a_leftover_of_an_import_that_was_not_applied_is_thrown_away(clerk):
    (clerk.folder / "letters1.csv.part").write_text(
        "ログインID,仮パスワード\nA-222-333-444,AAAAA-AAAA-AAAAA\nA-2"
    )
    done = clerk.roster([HEAD])
    assert done["exit"] == 0
    assert "途中で止まり" in done["out"]
    assert len(clerk.letters) == 1


def test_a_taken_login_id_is_drawn_again(clerk, monkeypatch):
    from imports import credentials

    clerk.roster([HEAD])
    taken = Account.get().login_id
    monkeypatch.setattr(credentials, "_in_letters", lambda numbers: [taken] * len(numbers))
    done = clerk.roster([HEAD, WIFE])
    assert counts(done) == (1, 0, 0, 1, 0)
    assert len({a.login_id for a in Account.select()}) == 2


HIDDEN = HEAD | {"番号": "1", "枝番": "01", "本人家族区分": "家族", "不開示": "1"}


@pytest.mark.parametrize("used_before", [False, True])
def test_of_many_people_each_gets_a_letter_and_ids_that_nobody_ever_had(clerk, used_before):
    from accounts.keys import Keys, fold_typed

    if used_before:
        Audit.create(at=1, action="login.passed", member=7000)
    done = clerk.roster([*crowd(2500), HIDDEN])
    assert counts(done) == (2501, 0, 0, 0, 0)
    keys = Keys(clerk.runner.app.config["SECRET_KEY"])
    hashes = dict(Account.select(Account.login_id, Account.temporary_hash).tuples())
    assert len(hashes) == len(clerk.letters) == 2500
    numbers = dict(Account.select(Account.login_id, Member.number).join(Member).tuples())
    for row in clerk.letters:
        login_id = fold_typed(row["ログインID"])
        assert numbers[login_id] == row["番号"]
        assert keys.fits_temporary(row["仮パスワード"], hashes[login_id])
    assert len({m.public_id for m in Member.select()}) == 2501
    assert (Member.select().where(Member.id <= 7000).count() == 0) is used_before
    assert counts(clerk.roster(crowd(2500))) == (0, 0, 0, 2500, 0)


def test_no_id_says_where_its_owner_stands_in_the_roster(clerk):
    """A hidden person between two others of a household would show as a gap in ids that follow the
    rows."""
    hidden = [
        person | {"番号": "1", "不開示": "1"} if person is WIFE else person | {"番号": "1"}
        for person in (HEAD, WIFE, CHILD)
    ]
    clerk.roster([*hidden, *[row | {"記号": "群"} for row in crowd(1600)]])
    logins = [a.login_id for a in Account.select().order_by(Account.member)]
    for ids in ([m.public_id for m in Member.select().order_by(Member.id)], logins):
        assert len(set(ids)) == len(ids)
        ascending = sum(one < next for one, next in itertools.pairwise(ids))
        assert 0.4 < ascending / len(ids) < 0.6  # by chance one in 10**14
        tops = [
            sum(id > median(ids) for id in ids[start : start + 400])
            for start in range(0, 1600, 400)
        ]
        assert all(120 < top < 280 for top in tops), (
            tops
        )  # eight deviations from the middle: no batch has a place of its own


FAMILIES = [
    *[HEAD, WIFE, CHILD | {"不開示": "1"}],
    *[person | {"番号": "77"} for person in (HEAD, WIFE, CHILD)],
    *[HEAD | {"番号": "88", "不開示": "1"}, WIFE | {"番号": "88", "氏名": "=1+1"}],
    OTHER | {"交付事由": "7", "氏名": '見本 "●", 子', "事業所名称": "@社"},
    OTHER | {"番号": "３", "記号": "れい", "枝番": "", "資格喪失年月日": "2026-10-01"},
]

ORDERS = {
    "each household together": lambda rows: rows,
    "over the end of a batch": lambda rows: [
        *({**row, "記号": "群"} for row in crowd(BATCH - 2)),
        *rows,
    ],
    "an empty line": lambda rows: [rows[0], {}, *rows[1:]],
    "an empty line at the beginning": lambda rows: [dict.fromkeys(rows[0], ""), *rows],
    "dependents first": lambda rows: [*rows[:3], *rows[5:2:-1], *rows[6:]],
    "behind another's subscriber": lambda rows: [rows[3], *rows[1:3], rows[0], *rows[4:]],
}


@pytest.mark.parametrize("order", ORDERS)
def test_the_same_people_in_another_order_are_stored_alike(clerk, fresh, order):
    names = [name for name in Member._meta.fields if name not in ("id", "public_id")]
    found = []
    for rows in (FAMILIES, ORDERS[order](FAMILIES)):
        models.database.close_all()
        fresh()
        assert clerk.run("db", "upgrade").exit_code == 0
        done = clerk.roster(rows)
        assert counts(done) == (len([row for row in rows if any(row.values())]), 0, 0, 0, 0), done[
            "out"
        ]
        letters = sorted(tuple(row.values())[2:] for row in clerk.letters if row["記号"] != "群")
        accounts = sorted(
            a.member.number for a in Account.select().join(Member).where(Member.symbol != "群")
        )
        found.append(([row for row in stored(*names) if "群" not in row], letters, accounts))
    assert found[0] == found[1]
    assert len(found[0][1]) == len(FAMILIES) - 4


WRONG = {
    "a bad cell": [HEAD, WIFE | {"生年月日": "きのう"}],
    "a bad cell that may be empty": [HEAD, WIFE | {"資格喪失年月日": "きのう"}],
    "one person twice": [
        HEAD,
        HEAD | {"番号": "5"},
        OTHER | {"加入者ID": "P1"},
        WIFE | {"加入者ID": "P1"},
    ],
    "one branch twice": [HEAD, WIFE, CHILD | {"枝番": "01"}],
    "no subscriber": [HEAD, WIFE | {"番号": "9"}],
    "two subscribers": [HEAD, WIFE | {"本人家族区分": "本人"}],
    "two subscribers apart": [HEAD, OTHER, WIFE | {"本人家族区分": "本人"}],
    "two subscribers here and none there": [
        HEAD,
        WIFE | {"本人家族区分": "本人"},
        WIFE | {"番号": "9"},
    ],
    "company without a branch": [HEAD, WIFE | {"枝番": ""}],
    "without a branch in company": [HEAD | {"枝番": ""}, WIFE],
    "no date of issue": [
        {k: v for k, v in HEAD.items() if k != "交付年月日"} | {"交付事由": "1", "交付方法": "WEB"}
    ],
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_told_in_the_same_words_first_and_later_and_nothing_is_stored(
    clerk, wrong
):
    first = clerk.roster(WRONG[wrong])
    assert (first["exit"], first["added"]) == (1, 0)
    assert first["errors"] > 0
    assert Member.select().count() == Account.select().count() == 0
    clerk.roster([HEAD | {"番号": "55", "氏名": "別府 航"}])
    before = everything()
    later = clerk.roster(WRONG[wrong])
    assert [line for line in later["out"].splitlines() if line.startswith("line ")] == [
        line for line in first["out"].splitlines() if line.startswith("line ")
    ]
    assert everything() == before
    assert not list(clerk.folder.glob("letters[13]*"))


@pytest.mark.parametrize("broken", ["apply", "letters"])
def test_an_import_that_fails_half_way_ends_at_once_and_leaves_nothing(clerk, monkeypatch, broken):
    def fail(*_):
        raise OSError("no space")

    if broken == "apply":
        monkeypatch.setattr(
            "imports.apply.statements", lambda *_: [("INSERT INTO nowhere VALUES (1)", ())]
        )
    else:
        monkeypatch.setattr("os.fsync", fail)
    done = clerk.run(
        "roster", "import", clerk.file(crowd(5000)), "--credentials", clerk.folder / "l.csv"
    )
    assert done.exit_code == 1
    assert "保存できませんでした" in done.output
    assert Member.select().count() == 0
    assert not list(clerk.folder.glob("l.csv*"))


@pytest.mark.parametrize(("before", "after"), [("0012", "12"), ("１－２", "1−2"), ("12-3", "12‐3")])
@pytest.mark.parametrize("key", ["記号", "番号"])
@pytest.mark.parametrize("full", [(), ("--full",)])
def test_a_key_that_excel_or_another_program_changed_makes_no_second_person(
    clerk, key, before, after, full
):
    clerk.roster([HEAD | {key: before}])
    stored_then = everything()
    done = clerk.roster([HEAD | {key: after}], *full)
    assert (done["exit"], done["errors"]) == (1, 1), done["out"]
    assert "先頭の0やハイフンだけがちがう人" in done["out"]
    assert everything() == stored_then
    moved = [HEAD | {key: before, "資格喪失年月日": "2026-10-01"}]
    moved.append(HEAD | {key: after, "枝番": "01", "資格取得年月日": "2026-10-01"})
    assert clerk.roster(moved)["exit"] == 0


def test_somebody_who_is_stored_under_another_number_is_warned_of(clerk):
    clerk.roster([HEAD])
    done = clerk.roster([HEAD | {"番号": "77", "氏名": "佐倉　直人"}])
    assert (done["added"], done["warnings"]) == (1, 1)
    assert "同じ人（記号 128 番号 1024）が登録されていて、資格が続いています" in done["out"]
    assert clerk.roster([OTHER])["warnings"] == 0
