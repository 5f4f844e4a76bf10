"""A 記号・番号 that is handed on: another person under the same key, another subscriber of the same
household."""

import pytest

from accounts.keys import Keys, fold_typed
from models import Account, Audit, Mail, Member, Session, Trust
from tests.test_imports import CHILD, HEAD, OTHER, WIFE, counts, crowd, everything, log_in

NEW = HEAD | {"氏名": "新山 太郎", "生年月日": "1990-01-01", "資格取得年月日": "2026-06-01"}
LOST = {"資格喪失年月日": "2026-06-01"}
ALLOW = "--allow-changes"


def with_ids(*people: dict) -> list[dict]:
    return [person | {"加入者ID": person["氏名"] + person["生年月日"]} for person in people]


def member(name: str) -> Member:
    return Member.get(Member.name == name)


def lines(done: dict) -> list[str]:
    """Where a message is, and its kind."""
    return [
        text.partition(", value")[0] + ("?" if "（警告）" in text else "")
        for text in done["out"].splitlines()
        if text[:5] == "line "
    ]


@pytest.mark.parametrize("change", [{"氏名": "別 人"}, {"性別": "2"}])
def test_another_birth_date_and_another_name_or_sex_is_another_person(clerk, change):
    clerk.roster([HEAD, OTHER])
    before = everything()
    done = clerk.roster([OTHER, HEAD | {"生年月日": "1990-01-01"} | change])
    assert (done["exit"], counts(done), lines(done)) == (
        1,
        (0, 0, 0, 0, 1),
        ["line 3, column 生年月日"],
    )
    assert "--allow-changes 1" in done["out"]
    assert clerk.roster([HEAD | {"生年月日": "1990-01-01"} | change], ALLOW, "2")["exit"] == 1
    assert everything() == before


@pytest.mark.parametrize(
    "change",
    [{"生年月日": "1990-01-01"}, {"氏名": "佐倉 直行", "性別": "2"}, {"氏名": "佐倉 直行"}],
)
def test_one_of_them_alone_is_a_correction(clerk, change):
    clerk.roster([HEAD])
    login = Account.get().login_id
    assert counts(clerk.roster([HEAD | change])) == (0, 1, 0, 0, 0)
    assert Account.get().login_id == login


def test_nothing_of_the_person_before_is_left_to_the_next(clerk):
    clerk.roster([HEAD | {"備考": "前の人のこと"}, WIFE, OTHER])
    before, old = member("佐倉 直人"), log_in("佐倉 直人", "old@example.jp")
    Member.update(shows_children=True, allowed_by=before.id).where(
        Member.name == "佐倉 美咲"
    ).execute()
    Mail.create(kind="code", account=old, address="old@example.jp", created_at=0, due_at=0)
    Mail.create(
        kind="taken",
        account=Account.get(Account.member != old.member_id),
        address="old@example.jp",
        created_at=0,
        due_at=0,
    )
    without = {name: cell for name, cell in NEW.items() if name not in ("備考", "不開示")}
    assert clerk.roster([without])["exit"] == 1
    assert Session.select().exists()
    done = clerk.roster([without], ALLOW, "1")
    assert counts(done) == (1, 0, 1, 0, 0)
    assert "別の人に替わる人 1人" in done["out"]
    for table in (Session, Trust, Mail):
        assert not table.select().exists()
    assert (
        not Account.select()
        .where((Account.member == before.id) | Account.email.is_null(False))
        .exists()
    )
    ended, new = Member.get_by_id(before.id), member("新山 太郎")
    assert (ended.name, ended.lost_on.isoformat(), ended.public_id) == (
        "佐倉 直人",
        "2026-11-23",
        before.public_id,
    )
    assert (new.public_id == before.public_id, new.remarks, new.lost_on) == (False, "", None)
    assert member("佐倉 美咲").allowed_by is None
    assert Audit.get(Audit.action == "member.replaced").member == before.id
    (letter,) = clerk.letters
    account = Account.get(Account.login_id == fold_typed(letter["ログインID"]))
    assert account.member == new
    assert Keys(clerk.runner.app.config["SECRET_KEY"]).fits_temporary(
        letter["仮パスワード"], account.temporary_hash
    )
    assert counts(clerk.roster([without])) == (0, 0, 0, 1, 0)


def test_one_number_counts_the_corrected_and_the_replaced(clerk):
    people = crowd(30)
    clerk.roster(people)
    corrected = [person | {"性別": "2"} for person in people[:3]]
    rows = [*corrected, people[3] | {"生年月日": "1990-01-01", "氏名": "新"}, *people[4:]]
    done = clerk.roster(rows)
    assert (done["exit"], done["errors"]) == (1, 1)
    assert "--allow-changes 4" in done["out"]
    assert clerk.roster(rows, ALLOW, "1")["exit"] == 1
    assert counts(clerk.roster(rows, ALLOW, "4")) == (1, 3, 1, 26, 0)


def test_by_an_id_of_their_own_a_person_is_the_same_whatever_differs(clerk):
    clerk.roster([HEAD | {"加入者ID": "A"}])
    changed = HEAD | {"加入者ID": "A", "生年月日": "1990-01-01", "氏名": "別 人", "性別": "2"}
    done = clerk.roster([changed])
    assert (counts(done), lines(done)) == ((0, 1, 0, 0, 0), ["line 2, column 生年月日?"])
    assert "新しい加入者ID" in done["out"]
    for one in ({"生年月日": "1991-01-01"}, {"氏名": "別 名", "性別": "1"}):  # corrections
        changed |= one
        done = clerk.roster([changed])
        assert (counts(done), lines(done)) == ((0, 1, 0, 0, 0), [])


def test_who_replaces_a_withheld_person_stays_withheld_but_for_an_explicit_0(clerk):
    clerk.roster([HEAD, WIFE | {"不開示": "1"}])
    new = WIFE | {"氏名": "別 人", "生年月日": "1990-01-01"}
    assert counts(clerk.roster([new], ALLOW, "1", letters=False)) == (1, 0, 1, 0, 0)
    assert member("別 人").withheld
    assert Account.select().count() == 1
    again = new | {"氏名": "また 別", "生年月日": "1991-01-01", "不開示": "0"}
    assert counts(clerk.roster([again], ALLOW, "1")) == (1, 0, 1, 0, 0)
    assert not member("また 別").withheld
    assert [row["氏名"] for row in clerk.letters] == ["また 別"]


# Two subscribers of one household.


def test_a_loss_and_the_successor_go_into_one_file(clerk):
    """By ids, as the sentence that refuses the second says."""
    clerk.roster(with_ids(HEAD, WIFE))
    refused = clerk.roster(with_ids(NEW | {"枝番": "09"}))
    assert lines(refused) == ["line 2, column 番号", "line 2, column 本人家族区分?"]
    assert "前の人の資格喪失も同じファイルに" in refused["out"]
    for rows in (with_ids(HEAD | LOST, WIFE | LOST, NEW), with_ids(NEW, WIFE | LOST, HEAD | LOST)):
        done = clerk.roster(rows, command="check")
        assert (done["exit"], done["errors"], done["warnings"]) == (0, 0, 0), done["out"]
    assert counts(
        clerk.roster(
            with_ids(NEW, WIFE | LOST, HEAD | LOST, CHILD | {"資格取得年月日": "2026-07-01"})
        )
    ) == (
        2,
        2,
        0,
        0,
        0,
    )
    assert [row["宛名"] for row in clerk.letters] == ["新山 太郎"] * 2


def test_without_ids_another_branch_tells_the_successor_apart(clerk):
    clerk.roster([HEAD, WIFE])
    done = clerk.roster([HEAD | LOST, WIFE | LOST, NEW | {"枝番": "10"}])
    assert (counts(done), done["warnings"]) == ((1, 2, 0, 0, 0), 0), done["out"]
    assert "2行目と同じ人です" in clerk.roster([HEAD | LOST, NEW])["out"]


@pytest.mark.parametrize(
    ("lost", "qualified", "errors"),
    [("06-01", "06-01", 0), ("06-02", "06-01", 1), ("", "06-01", 1), ("05-31", "06-01", 0)],
)
def test_two_subscribers_of_a_file_may_follow_one_another_but_not_overlap(
    clerk, lost, qualified, errors
):
    rows = [
        HEAD | {"資格喪失年月日": lost and f"2026-{lost}"},
        NEW | {"枝番": "10", "資格取得年月日": f"2026-{qualified}"},
    ]
    for people in (rows, rows[::-1], with_ids(*rows)):
        done = clerk.roster(people, command="check")
        assert (done["errors"], lines(done)) == (errors, ["line 3, column 本人家族区分"] * errors)


@pytest.mark.parametrize(("lost", "errors"), [("2026-12-01", 0), ("2026-12-02", 1)])
def test_a_stored_subscriber_and_the_next_may_not_overlap_from_today_on(clerk, lost, errors):
    clerk.roster([HEAD | {"資格喪失年月日": lost}])
    done = clerk.roster([NEW | {"枝番": "10", "資格取得年月日": "2026-12-01"}], command="check")
    assert (done["errors"], lines(done)) == (errors, ["line 2, column 番号"] * errors)


def test_a_whole_roster_ends_the_subscriber_it_lacks_and_takes_the_next(clerk):
    clerk.roster([HEAD, WIFE])
    # whose subscriber would end
    assert lines(clerk.roster([WIFE], "--full")) == ["line 2, column 番号"]
    assert counts(clerk.roster([NEW | {"枝番": "10"}], "--full")) == (1, 0, 2, 0, 0)


def test_a_subscriber_who_ends_while_dependents_run_is_warned_of(clerk):
    clerk.roster([HEAD, WIFE, CHILD])
    done = clerk.roster([OTHER, HEAD | LOST], command="check")
    assert (done["errors"], lines(done)) == (0, ["line 3, column 資格喪失年月日?"])
    assert "家族が2人" in done["out"]
    assert "家族が1人" in clerk.roster([HEAD | LOST, WIFE | LOST], command="check")["out"]
    assert lines(clerk.roster([HEAD | LOST, WIFE | LOST, CHILD | LOST], command="check")) == []
    clerk.roster([HEAD | LOST])
    assert lines(clerk.roster([HEAD | LOST, WIFE], command="check")) == []  # nothing new


def test_a_new_subscriber_over_another_familys_dependents_is_warned_of(clerk):
    clerk.roster([HEAD, WIFE, CHILD])
    new = NEW | {"枝番": "10"}
    for rows in ([HEAD | LOST, new], [HEAD | LOST, new, WIFE, CHILD]):
        done = clerk.roster(rows, command="check")
        assert (done["errors"], lines(done)) == (0, ["line 3, column 本人家族区分?"])
        assert "前からいる家族が2人" in done["out"]
    assert "家族が1人" in clerk.roster([HEAD | LOST, new, WIFE | LOST], command="check")["out"]
    moved = OTHER | {"加入者ID": "O"}
    clerk.roster([HEAD | LOST, moved])
    assert lines(clerk.roster([moved | {"番号": "1024", "枝番": "10"}], command="check")) == [
        "line 2, column 本人家族区分?"
    ]


def test_a_file_without_a_column_of_losses_keeps_them(clerk):
    clerk.roster([HEAD | LOST])
    rows = [
        {k: v for k, v in row.items() if k != "資格喪失年月日"}
        for row in (HEAD, NEW | {"枝番": "10"})
    ]
    done = clerk.roster(rows)
    assert counts(done) == (1, 0, 0, 1, 0), done["out"]
    assert member("佐倉 直人").lost_on.isoformat() == "2026-06-01"


def test_letters_go_to_the_subscriber_of_the_dependents_first_day(clerk):
    """The family before still gets its letters, and the next family's go to the next subscriber,
    who begins in December."""
    old, new = (
        HEAD | {"資格喪失年月日": "2026-12-01"},
        NEW | {"氏名": "新山　太郎", "枝番": "10", "資格取得年月日": "2026-12-01"},
    )
    clerk.roster([old])
    girl = CHILD | {"枝番": "12", "氏名": "新山 花", "資格取得年月日": "2026-12-01"}
    for rows in ([old, new, WIFE, girl], [girl, WIFE, new, old]):
        clerk.roster(rows, command="check")
    clerk.roster([new, WIFE, girl])
    assert {row["氏名"]: row["宛名"] for row in clerk.letters} == {
        "新山　太郎": "新山　太郎",
        "佐倉 美咲": "佐倉 直人",
        "新山 花": "新山　太郎",
    }
    clerk.files += 1
    for name, addressee in (("佐倉 美咲", "佐倉 直人"), ("新山 花", "新山　太郎")):
        path = clerk.folder / f"{name}.csv"
        login = Account.get(Account.member == member(name)).login_id
        assert clerk.run("members", "reissue", login, "--credentials", path).exit_code == 0
        assert addressee in path.read_text("utf-8-sig").replace(f",{name},", "")
