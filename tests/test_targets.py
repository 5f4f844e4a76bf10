"""Tests of the list of who gets a certificate, beside a roster that says nothing of it."""

import csv

import pytest

from models import Account, Mail, Member
from tests.support.exports import map_of
from tests.support.office import text_of
from tests.test_imports import CHILD, HEAD, OTHER, WIFE, counts, everything, log_in, stored
from tests.test_plan import ISSUE, lines

WITHOUT = {*ISSUE, "不開示", "一部負担金の割合", "発効期日"}
DAYS = ("--issued-on", "2026-12-01", "--expires-on", "R8.12.31")
KEYS = ("保険者番号", "記号", "番号", "枝番")
PEOPLE = [HEAD, WIFE, CHILD, OTHER]


def bare(*people):
    return [{k: v for k, v in person.items() if k not in WITHOUT} for person in people]


def listed(*people, **values):
    return [{k: person[k] for k in KEYS} | {"交付事由": "2"} | values for person in people]


@pytest.fixture
def give(clerk):
    """give(rows of the list, rows of the roster, options) imports both."""

    def give(entries, people=None, *args, days=DAYS, **options):
        path = clerk.folder / "list.csv"
        path.write_text(text_of(entries), encoding="cp932")
        rows = bare(*PEOPLE) if people is None else people
        return clerk.roster(rows, "--targets", path, *days, *args, **options)

    return give


def certificates():
    found = stored("name", "delivery", "issued_on", "expires_on")
    return {name: (how, *(day and day.isoformat() for day in days)) for name, how, *days in found}


GIVEN = ("web", "2026-12-01", "2026-12-31")
NOTHING = ("none", None, None)


def test_who_is_in_the_list_gets_a_certificate_and_nobody_else(give):
    done = give(listed(HEAD, CHILD))
    assert (done["exit"], counts(done)) == (0, (4, 0, 0, 0, 0)), done["out"]
    assert certificates() == {
        "佐倉 直人": GIVEN,
        "佐倉 美咲": NOTHING,
        "佐倉 蓮": GIVEN,
        "戸田 さくら": NOTHING,
    }
    assert "資格確認書: WEB 2人 紙 0人 なし 2人（いまの登録: WEB 0人 紙 0人 なし 0人）" in lines(
        done
    )


@pytest.mark.parametrize("columns", ["none", "empty", "dates alone", "all"])
def test_whoever_is_not_in_the_list_keeps_what_is_stored_whatever_the_roster_says(
    clerk, give, columns
):
    clerk.roster([HEAD, WIFE | {"交付方法": "紙"}, OTHER])
    kept = certificates()
    drop = {
        "none": {},
        "empty": dict.fromkeys(ISSUE, ""),
        "dates alone": {"交付事由": "", "交付方法": ""},
    }
    change = drop.get(columns, {"交付方法": "紙", "有効期限": "2027-01-01"})
    rows = bare(*PEOPLE) if columns == "none" else [row | change for row in PEOPLE]
    done = give(listed(OTHER), rows)
    assert done["errors"] == 0, done["out"]
    assert certificates() == kept | {"戸田 さくら": GIVEN, "佐倉 蓮": NOTHING}


def test_the_same_files_again_change_nothing(give):
    give(listed(HEAD, CHILD))
    assert counts(give(listed(HEAD, CHILD))) == (0, 0, 0, 4, 0)


def test_the_list_may_say_paper_and_days_of_its_own(give):
    own = {"交付年月日": "2026-11-15", "有効期限": "2027-11-14"}
    entries = [
        *listed(HEAD, 交付方法="紙", **own),
        *listed(WIFE, 交付方法="", 交付年月日="", 有効期限=""),
    ]
    assert give(entries)["errors"] == 0
    assert certificates()["佐倉 直人"] == ("paper", "2026-11-15", "2027-11-14")
    assert certificates()["佐倉 美咲"] == GIVEN
    assert give(listed(WIFE, **own), days=())["errors"] == 0
    assert certificates()["佐倉 美咲"] == ("web", "2026-11-15", "2027-11-14")


def test_people_who_are_stored_and_not_in_the_roster_get_theirs_too(clerk, give):
    clerk.roster([HEAD, WIFE, OTHER | dict.fromkeys(ISSUE, "")])
    log_in("戸田 さくら")
    done = give(listed(OTHER, HEAD), bare(HEAD))
    assert counts(done) == (0, 2, 0, 0, 0)
    assert certificates()["戸田 さくら"] == certificates()["佐倉 直人"] == GIVEN
    told = lines(done)
    assert "list.csv 2行目 戸田 さくら: なし → WEB" in told
    assert "2行目 佐倉 直人: 2025-11-15 → 2026-12-01" in told
    assert [mail.kind for mail in Mail.select()] == ["turned_web"]
    assert "資格確認書: WEB 3人 紙 0人 なし 0人（いまの登録: WEB 2人 紙 0人 なし 1人）" in told
    assert counts(give(listed(OTHER, HEAD), bare(HEAD))) == (0, 0, 0, 1, 0)


def test_the_persons_own_id_is_a_key_too(clerk, give):
    people = [HEAD | {"加入者ID": "A"}, WIFE | {"加入者ID": "B"}, OTHER | {"加入者ID": "C"}]
    clerk.roster([people[2]])
    entries = [{"加入者ID": key, "交付事由": "④"} for key in ("B", "C")]
    assert give(entries, bare(*people[:2]))["errors"] == 0
    assert certificates()["佐倉 美咲"] == certificates()["戸田 さくら"] == GIVEN
    assert certificates()["佐倉 直人"] == NOTHING


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        (
            [*listed(HEAD), *listed(OTHER | {"番号": "7"})],
            "line 3, column 番号, value 7: （list.csvの行）この人は",
        ),
        (
            [*listed(HEAD), *listed(HEAD)],
            "line 3, column 枝番, value 00: （list.csvの行）2行目と同じ",
        ),
        (
            listed(HEAD, 交付事由="9"),
            "line 2, column 交付事由, value 9: （list.csvの行）使えない値",
        ),
        (listed(HEAD, 交付事由=""), "line 2, column 交付事由, value : （list.csvの行）空です"),
        (
            [{k: HEAD[k] for k in KEYS}],
            "line 1, column 交付事由, value : （list.csvの行）この列がありません",
        ),
        (
            [{"氏名": "佐倉 直人", "交付事由": "2"}],
            "line 1, column 番号, value : （list.csvの行）この列がありません",
        ),
        (
            listed(HEAD, 生年月日="1979-06-13"),
            "line 2, column 生年月日, value 1979-06-13: （list.csvの行）同じ記号・番号・枝番の人の生年月日は 1979-06-12",
        ),
        (
            listed(HEAD, 交付年月日="2026-12-01", 有効期限="2026-12-01"),
            "line 2, column 有効期限, value 2026-12-01: （list.csvの行）交付年月日",
        ),
        (
            listed(HEAD, 保険者番号="06139464"),
            "line 2, column 保険者番号, value 06139464: （list.csv",
        ),
    ],
)
def test_what_is_wrong_with_the_list_is_said_with_its_line_and_nothing_is_stored(
    clerk, give, entries, says
):
    clerk.roster([OTHER])
    before = everything()
    done = give(entries)
    assert says in done["out"]
    assert (done["exit"], done["added"], done["changed"]) == (1, 0, 0)
    assert everything() == before


@pytest.mark.parametrize("days", [(), DAYS[:2], DAYS[2:]])
def test_without_days_in_the_list_both_options_are_needed(give, days):
    done = give(listed(HEAD), days=days)
    assert done["exit"] == 1
    named = [
        option for option in ("--issued-on", "--expires-on") if f"{option} 日付" in done["out"]
    ]
    assert named == [option for option in ("--issued-on", "--expires-on") if option not in days]
    assert not Member.select().exists()


@pytest.mark.parametrize(
    "args",
    [
        DAYS,
        ("--targets", __file__, "--issued-on", "2026-12-01", "--expires-on", "2026-12-01"),
        ("--targets", __file__, "--issued-on", "2026-12-01", "--expires-on", "2031-12-01"),
        ("--targets", __file__, "--issued-on", "someday"),
        ("--targets", "no such file"),
    ],
)
def test_days_that_cannot_be_are_wrong_usage(clerk, args):
    assert clerk.run("roster", "check", clerk.file(bare(HEAD)), *args).exit_code == 2


def test_reason_seven_and_whoever_is_withheld_stay_paper_and_withheld(clerk, give):
    clerk.roster([HEAD, WIFE | {"不開示": "1"}, OTHER])
    log_in("戸田 さくら")
    entries = [*listed(WIFE, CHILD), *listed(HEAD, OTHER, 交付事由="7")]
    done = give(entries, bare(HEAD, WIFE, CHILD))
    assert done["errors"] == 0, done["out"]
    found = {name: row for name, *row in stored("name", "delivery", "withheld")}
    assert found == {
        "佐倉 直人": ["paper", True],
        "佐倉 美咲": ["paper", True],
        "戸田 さくら": ["paper", True],
        "佐倉 蓮": ["web", False],
    }
    assert [account.member.name for account in Account.select()] == ["佐倉 蓮"]
    assert "戸田" not in done["out"]
    assert not Mail.select().exists()
    assert counts(give(entries, bare(HEAD, WIFE, CHILD))) == (0, 0, 0, 3, 0)


def test_a_reason_seven_in_the_roster_counts_beside_a_list(give):
    people = [HEAD, WIFE | {"交付事由": "7", "交付方法": "紙"}, CHILD]
    assert give(listed(HEAD, WIFE), people)["errors"] == 0
    assert stored("delivery", "withheld") == [("none", False), ("paper", True), ("web", False)]


def test_in_a_whole_roster_the_list_has_nobody_else(clerk, give):
    clerk.roster([HEAD, OTHER])
    before = everything()
    done = give(listed(HEAD, OTHER), bare(HEAD), "--full")
    assert (
        "line 3, column 番号, value 2048: （list.csvの行）この人は加入者の名簿にいないので"
        in done["out"]
    )
    assert everything() == before
    done = give(listed(HEAD), bare(HEAD), "--full")
    assert counts(done) == (0, 1, 1, 0, 0)


def test_of_two_with_one_key_the_one_whose_cover_runs_gets_it(give):
    past = HEAD | {"資格喪失年月日": "2026-10-01", "加入者ID": "A", "氏名": "前 人", "枝番": ""}
    present = HEAD | {
        "資格取得年月日": "2026-10-01",
        "加入者ID": "B",
        "枝番": "",
        "生年月日": "1990-01-01",
    }
    assert give(listed(HEAD | {"枝番": ""}), bare(past, present))["errors"] == 0
    assert certificates() == {"前 人": NOTHING, "佐倉 直人": GIVEN}


def test_an_ended_person_in_the_list_is_warned_of(give):
    done = give(listed(HEAD), bare(HEAD | {"資格喪失年月日": "2026-11-23"}))
    assert (done["errors"], done["warnings"]) == (0, 1)
    assert "この人の資格は終わっています" in done["out"]


@pytest.mark.parametrize("content", ["", "氏,名\n1,2\n", "交付事由,番号,保険者番号\n"])
def test_a_list_that_is_none_is_refused_by_its_name(clerk, content):
    (clerk.folder / "list.csv").write_text(content)
    done = clerk.roster(bare(HEAD), "--targets", clerk.folder / "list.csv", *DAYS)
    assert done["exit"] == 1
    assert "list.csv: " in done["out"]
    assert not Member.select().exists()


def test_messages_of_the_roster_come_before_those_of_the_list(clerk, give):
    report = clerk.folder / "report.csv"
    people = bare(HEAD | {"性別": "9"}, OTHER | {"性別": "9"})
    done = give([*listed(HEAD, 交付事由="9"), *listed(OTHER, 枝番="x")], people, "--report", report)
    told = [line for line in lines(done) if line.startswith("line ")]
    assert ["list.csv" in line for line in told] == [False, False, True, True]
    with report.open(encoding="utf-8-sig", newline="") as file:
        rows = [(row["行"], "list.csv" in row["内容"]) for row in csv.DictReader(file)]
    assert [row for row in rows if row[0] != "1"] == [
        ("2", False),
        ("3", False),
        ("2", True),
        ("3", True),
    ]


def test_a_list_in_other_words_or_with_a_column_twice_or_of_my_number(clerk, give):
    words = [
        {"InsurerNumber": HEAD["保険者番号"], "証記号": "128", "証番号": "1024", "枝番号": "0"}
    ]
    assert give([words[0] | {"交付事由": "2"}])["errors"] == 0
    assert certificates()["佐倉 直人"] == GIVEN
    twice = [entry | {"証番号": "2048"} for entry in listed(WIFE)]
    assert "（list.csvの行）同じ列が2つあります" in give(twice)["out"]
    done = give([entry | {"個人番号": "1"} for entry in listed(WIFE)])
    assert "list.csv: 「個人番号」の列があります" in done["out"]
    assert certificates()["佐倉 美咲"] == NOTHING


def test_a_list_with_titles_of_its_own_is_read_by_a_map(clerk, give):
    mapped = clerk.folder / "map.csv"
    mapped.write_text(map_of(("番号", "通し"), ("交付事由", "区分", "B", "2")), encoding="utf-8")
    theirs = [
        {"保険者番号": row["保険者番号"], "記号": row["記号"], "通し": row["番号"]}
        | {"枝番": row["枝番"], "区分": "B"}
        for row in listed(HEAD)
    ]
    assert give(theirs)["exit"] == 1
    done = give(theirs, None, "--targets-columns", mapped)
    assert done["exit"] == 0, done["out"]
    assert certificates()["佐倉 直人"] == GIVEN
    assert clerk.run("roster", "check", mapped, "--targets-columns", mapped).exit_code == 2
