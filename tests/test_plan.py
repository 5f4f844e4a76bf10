"""Tests of what the clerk is told of an import: whom it changes, who has a certificate before and
after, and what is refused because it would do much in silence."""

import csv

import pytest

from models import Member
from roster.findings import LAST
from tests.support.office import text_of
from tests.test_imports import CHILD, HEAD, OTHER, WIFE, counts, crowd, everything
from tests.test_roster import PERSON

NONE = {"交付事由": "", "交付方法": "", "交付年月日": "", "有効期限": ""}
ISSUE = ("交付事由", "交付方法", "交付年月日", "有効期限")


def lines(done):
    return [line.strip() for line in done["out"].splitlines()]


def report(clerk, rows, *args, command="check"):
    path = clerk.folder / f"report{clerk.files}.csv"
    done = clerk.roster(rows, "--report", path, *args, command=command)
    with path.open(encoding="utf-8-sig", newline="") as file:
        return done, [tuple(row.values()) for row in csv.DictReader(file)]


@pytest.mark.parametrize(
    ("rows", "command", "letters", "says", "last"),
    [
        ([HEAD], "check", True, "確認だけです。何も変えていません", "added=1"),
        ([HEAD], "import", True, "取り込みました", "added=1"),
        ([HEAD], "import", False, "取り込んでいません（エラー1件）", "added=0"),
        (
            [HEAD, WIFE | {"性別": "9"}],
            "import",
            True,
            "取り込んでいません（エラー1件）",
            "added=0",
        ),
        (
            [HEAD, WIFE | {"性別": "9", "枝番": "x"}],
            "check",
            True,
            "確認だけです。何も変えていません（エラー2件）",
            "added=0",
        ),
    ],
)
def test_the_line_before_the_counts_says_what_was_done(clerk, rows, command, letters, says, last):
    done = clerk.roster(rows, command=command, letters=letters)
    told, counted = done["out"].splitlines()[-2:]
    assert told == says
    assert counted.startswith(f"{last} changed=0 ended=0 unchanged=0 ")
    assert Member.select().exists() == (says == "取り込みました")


def test_the_plan_says_who_has_which_certificate_before_and_after(clerk):
    paper = {"交付方法": "紙"}
    people = [HEAD, WIFE | paper, CHILD | NONE, OTHER]
    done = clerk.roster(people)
    now = "WEB 2人 紙 1人 なし 1人"
    assert f"資格確認書: {now}（いまの登録: WEB 0人 紙 0人 なし 0人）" in lines(done)
    hidden, ended = (
        WIFE | {"枝番": "05", "不開示": "1"},
        CHILD | {"枝番": "06", "資格喪失年月日": "2026-11-23"},
    )
    done = clerk.roster([HEAD | paper, WIFE, CHILD | NONE, hidden, ended], "--full")
    assert f"資格確認書: WEB 1人 紙 1人 なし 1人（いまの登録: {now}）" in lines(done)
    done = clerk.roster([HEAD | {"不開示": "1"}, WIFE | {"資格喪失年月日": "2026-11-20"}, OTHER])
    (told,) = [line for line in lines(done) if line.startswith("資格確認書: ")]
    assert told == "資格確認書: WEB 1人 紙 0人 なし 1人（いまの登録: WEB 1人 紙 1人 なし 1人）"


def test_columns_that_the_file_lacks_leave_the_counts(clerk):
    clerk.roster([HEAD, WIFE])
    without = [
        {k: v for k, v in row.items() if k not in ISSUE} for row in (HEAD, WIFE | {"備考": "x"})
    ]
    done = clerk.roster([*without, {k: v for k, v in OTHER.items() if k not in ISSUE}])
    assert "資格確認書: WEB 2人 紙 0人 なし 1人（いまの登録: WEB 2人 紙 0人 なし 0人）" in lines(
        done
    )


def test_the_plan_names_whom_it_changes_by_line_with_old_and_new(clerk):
    clerk.roster([HEAD, WIFE, CHILD, OTHER])
    new = OTHER | {"番号": "5", "氏名": "新 人"}
    done = clerk.roster(
        [HEAD | {"交付方法": "紙"}, WIFE | NONE, CHILD | {"資格喪失年月日": "2026-11-01"}, new],
        "--full",
        command="check",
    )
    told = lines(done)
    for sentence in (
        "5行目 新 人（WEB）",
        "2行目 佐倉 直人: WEB → 紙",
        "3行目 佐倉 美咲: WEB → なし",
        "3行目 佐倉 美咲: 2028-12-01 → 空",
        "4行目 佐倉 蓮: 空 → 2026-11-01",
        "戸田 さくら（番号 2048 枝番 00、資格確認書 WEB）",
    ):
        assert sentence in told, sentence
    assert counts(done) == (1, 3, 1, 0, 0)


def test_a_person_in_anothers_place_is_named_with_both(clerk):
    clerk.roster([HEAD])
    other = HEAD | {"氏名": "次 郎", "生年月日": "1990-01-01"}
    done = clerk.roster([other], "--allow-changes", "1", command="check")
    assert "2行目 佐倉 直人 → 次 郎" in lines(done)


def test_of_withheld_people_the_plan_says_nothing_but_the_line(clerk):
    clerk.roster([HEAD, WIFE])
    changed = WIFE | {"不開示": "1", "交付方法": "紙", "氏名": "秘密 名"}
    child = CHILD | {"不開示": "1", "氏名": "秘密 子"}
    done, rows = report(clerk, [HEAD, changed, child])
    assert "秘密" not in done["out"]
    assert "美咲" not in done["out"]
    assert "3行目 不開示の人" in lines(done)
    assert "秘密" not in str(rows)
    assert "美咲" not in str(rows)


def test_a_withheld_person_who_ends_or_is_replaced_is_not_named_either(clerk):
    clerk.roster([HEAD | {"不開示": "1"}, WIFE, OTHER | {"不開示": "1"}])
    next_one = HEAD | {"氏名": "次 郎", "生年月日": "1990-01-01"}
    done, rows = report(clerk, [next_one, WIFE], "--full", "--allow-changes", "1")
    assert done["errors"] == 0
    for name in ("直人", "次 郎", "戸田"):
        assert name not in done["out"]
        assert name not in str(rows)
    assert lines(done).count("不開示の人") == 1  # who ends has no line
    assert "2行目 不開示の人" in lines(done)


def test_twenty_are_named_on_screen_and_everybody_in_the_report_by_line(clerk):
    clerk.roster(crowd(60))
    rows = [row | {"氏名カナ": f"カナ {i}"} for i, row in enumerate(crowd(30))]
    rows = [*rows[:5], rows[5] | {"備考": "𠮷"}, *rows[6:], OTHER | {"番号": "900", "枝番": "1"}]
    done, found = report(clerk, rows, "--full", "--allow-ending", "30")
    named = [line for line in lines(done) if "行目 人 " in line and "カナ" in line]
    assert len(named) == 20
    assert "ほかに10人（--report FILE に全員を書き出します）" in lines(done)
    changes = [row for row in found if row[3] == "変更" and row[1] == "氏名カナ"]
    assert [row[0] for row in changes] == [str(line) for line in range(2, 32)]
    assert changes[3] == ("5", "氏名カナ", "カナ 3", "変更", "人 3: サクラ ナオト → カナ 3")
    assert sum(row[3] == "終了" for row in found) == 30
    assert ("32", "交付方法", "WEB", "追加", "戸田 さくら（WEB）") in found
    order = [int(row[0] or LAST) for row in found]
    assert order == sorted(order)
    assert {row[3] for row in found} == {"変更", "追加", "終了", "警告", "補正"}


def test_a_terminal_obeys_no_name(clerk):
    clerk.roster([HEAD])
    done = clerk.roster([HEAD | {"備考": "一\n\n二"}], command="check")
    assert "2行目 佐倉 直人: 空 → 一\\n\\n二" in lines(done)


@pytest.mark.parametrize(
    "change",
    [
        lambda row: {k: v for k, v in row.items() if k not in ("交付事由", "交付方法")},
        lambda row: row | {"交付事由": "", "交付方法": ""},
        lambda row: {
            k: v for k, v in row.items() if k not in ("交付事由", "交付方法", "交付年月日")
        },
        lambda row: row | {"交付事由": "", "交付方法": "", "交付年月日": ""},
        lambda row: {k: v for k, v in row.items() if k != "交付事由"} | {"交付方法": ""},
    ],
)
@pytest.mark.parametrize("before", [[], [HEAD, WIFE]])
def test_dates_without_delivery_and_reason_are_refused_with_two_ways_out(clerk, before, change):
    if before:
        clerk.roster(before)
    kept = everything()
    done = clerk.roster([change(HEAD), change(WIFE)])
    assert (done["exit"], counts(done)) == (1, (0, 0, 0, 0, 1)), done["out"]
    (error,) = [line for line in lines(done) if line.startswith("line ")]
    assert error.startswith("line 2, column ")
    assert "「交付方法」" in error
    assert "--targets" in error
    assert everything() == kept


def test_one_row_with_dates_alone_that_loses_its_certificate_is_warned_of(clerk):
    clerk.roster([HEAD, WIFE, CHILD | NONE])
    bare = {"交付事由": "", "交付方法": ""}
    done = clerk.roster([HEAD, WIFE | bare, CHILD | bare])
    assert (done["errors"], done["warnings"]) == (0, 1)
    assert "line 3, column 交付年月日, value 2025-11-15: （警告）日付がありますが" in done["out"]


def test_a_file_without_any_dates_may_have_no_reasons(clerk):
    assert counts(clerk.roster([HEAD | NONE, WIFE | NONE])) == (2, 0, 0, 0, 0)


@pytest.mark.parametrize(
    "lose", [NONE, {"交付事由": "", "交付方法": "WEB"}, {"有効期限": "2026-11-22"}]
)
def test_many_who_lose_their_certificate_are_refused_unless_the_number_is_named(clerk, lose):
    """Many is more than 5 % of those who have one, and more than 20. Paper is one, and so is not
    what has expired or ended."""
    people = crowd(400)
    spare = [{"番号": f"n{n}"} for n in range(180)]
    no_more = NONE, {"有効期限": "2026-11-22"}, {"資格喪失年月日": "2026-11-20"}
    others = [HEAD | number | no_more[n % 3] for n, number in enumerate(spare)]
    people = [*[row | {"交付方法": "紙"} for row in people[:30]], *people[30:]]
    clerk.roster([*people, *others])
    assert counts(clerk.roster([row | lose for row in people[:20]])) == (0, 20, 0, 0, 0)
    before = everything()
    refused = clerk.roster([row | lose for row in people[20:41]])
    assert (refused["exit"], refused["errors"]) == (1, 1)
    assert "--allow-withdrawals 21" in refused["out"]
    assert "380人の5%" in refused["out"]
    assert (
        clerk.roster([row | lose for row in people[20:41]], "--allow-withdrawals", "20")["exit"]
        == 1
    )
    assert everything() == before
    done = clerk.roster([row | lose for row in people[20:41]], "--allow-withdrawals", "21")
    assert counts(done) == (0, 21, 0, 0, 0)


def test_a_turn_to_paper_an_end_and_a_withheld_person_are_no_withdrawals(clerk):
    people = crowd(60)
    clerk.roster(people)
    changes = [{"交付方法": "紙"}] * 21 + [{"資格喪失年月日": "2026-11-20"}] * 21 + [NONE] * 18
    done = clerk.roster([row | change for row, change in zip(people, changes, strict=True)])
    assert counts(done) == (0, 60, 0, 0, 0)


def test_sex_3_without_a_remark_is_warned_of(clerk):
    bare, told = (
        PERSON | {"性別": "3"},
        PERSON | {"性別": "3", "番号": "7", "備考": "戸籍上の性別は男", "加入者ID": "A2"},
    )
    done = clerk.roster([bare, told])
    assert (done["errors"], done["warnings"]) == (0, 1)
    assert "line 2, column 性別, value 3: （警告）" in done["out"]
    without = {k: v for k, v in bare.items() if k != "備考"} | {"加入者ID": "A3", "番号": "8"}
    assert clerk.roster([without])["warnings"] == 1


@pytest.mark.parametrize(
    ("encoding", "name"),
    [("utf-8-sig", "UTF-8"), ("utf-8", "UTF-8"), ("cp932", "Shift_JIS（CP932）")],
)
def test_the_encoding_has_the_name_that_clerks_know(clerk, encoding, name):
    path = clerk.folder / "named.csv"
    path.write_text(text_of([HEAD]), encoding=encoding)
    assert lines(clerk.roster(path, command="check"))[0] == f"文字コード {name}、1行を読みました。"


def test_days_that_were_misread_are_told_once_with_their_number(clerk):
    days = {"交付年月日": "5071115", "有効期限": "5101201"}  # 令和 by the claims' codes
    done = clerk.roster([HEAD | days, WIFE | days, OTHER], command="check")
    for says in ("2人の有効期限がもう過ぎています", "2人の交付年月日が、資格確認書のはじまった"):
        assert done["out"].count(f"の2行目など{says}") == 1
    right = clerk.roster([HEAD | days, WIFE | days], "--era-codes", "receipt", command="check")
    assert "行目など" not in right["out"]
