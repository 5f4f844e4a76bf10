"""Tests of the letters: their addresses, and the pages that are printed from the credentials file."""

from models import Member
from tests.test_imports import CHILD, HEAD, OTHER, WIFE


def addresses(clerk):
    return {row["氏名"]: row["住所"] for row in clerk.letters}


def test_letters_have_the_address_of_whom_they_go_to_and_nothing_stores_it(clerk):
    home = "東京都千代田区見本町1-2-3"
    rows = [
        HEAD | {"住所": home},
        WIFE | {"住所": "北海道見本市9-9"},
        CHILD | {"住所": ""},
        OTHER | {"住所": "", "加入者ID": ""},
        OTHER
        | {"住所": "沖縄県見本市8", "氏名": "戸田 かえで", "枝番": "01", "本人家族区分": "家族"},
    ]
    clerk.roster(rows)
    assert addresses(clerk) == {
        "佐倉 直人": home,
        "佐倉 美咲": home,
        "佐倉 蓮": home,
        "戸田 さくら": "",
        "戸田 かえで": "沖縄県見本市8",
    }
    assert not any(home in str(row) for row in Member.select().dicts())


def test_a_dependent_who_comes_later_has_the_address_of_their_own_row(clerk):
    clerk.roster([HEAD | {"住所": "東京都千代田区見本町1-2-3"}])
    clerk.roster([CHILD | {"住所": "東京都新宿区見本町4"}])
    assert addresses(clerk) == {"佐倉 蓮": "東京都新宿区見本町4"}


def test_an_address_alone_changes_nobody(clerk):
    clerk.roster([HEAD, WIFE])
    done = clerk.roster([HEAD | {"住所": "東京都新宿区見本町4"}, WIFE])
    assert (done["changed"], done["unchanged"]) == (0, 2)


def test_letters_of_a_roster_without_addresses_have_no_such_column(clerk):
    clerk.roster([{name: value for name, value in HEAD.items() if name != "住所"}])
    assert list(clerk.letters[0])[-1] == "事業所名称"
