"""Home and the household: who sees whom, and what each is told."""

from __future__ import annotations

import datetime as dt

import pytest

import dates
import models
from models import Member


def find(name: str) -> Member:
    return Member.get(Member.name == name)


def test_the_subscriber_sees_children_and_adults_and_opens_only_the_childrens(enroll):
    phone = enroll("佐倉 直人")
    text = phone.page.text
    for name in ("佐倉 美咲", "佐倉 陽葵", "佐倉 蓮", "佐倉 フミ"):
        assert name in text
    assert "紙" in text
    for name in ("佐倉 陽葵", "佐倉 蓮"):
        assert find(name).name in phone.get(f"/certificates/{find(name).public_id}").text
    for name in ("佐倉 美咲", "佐倉 フミ", "戸田 海斗", "野々村 誠"):
        page = phone.get(f"/certificates/{find(name).public_id}")
        assert page.status == 404
        assert name not in page.text
    assert phone.get("/certificates/nothing").text == page.text


def test_a_dependents_certificate_names_the_subscriber(enroll):
    phone = enroll("佐倉 直人")
    assert "佐倉 直人" in phone.get(f"/certificates/{find('佐倉 陽葵').public_id}").text


def test_an_adult_dependent_sees_only_herself(enroll):
    phone = enroll("佐倉 美咲")
    assert "佐倉 美咲" in phone.page.text
    for name in ("佐倉 直人", "佐倉 陽葵", "佐倉 フミ"):
        assert name not in phone.page.text
        assert phone.get(f"/certificates/{find(name).public_id}").status == 404


def test_a_subscriber_lets_an_adult_show_the_childrens_and_takes_it_back(enroll):
    subscriber, misaki = enroll("佐倉 直人"), enroll("佐倉 美咲")
    child, adult = find("佐倉 陽葵").public_id, find("佐倉 美咲").public_id
    subscriber.post(f"/household/{adult}/allow", {"allow": "yes"})
    assert "佐倉 陽葵" in misaki.get("/").text
    assert misaki.get(f"/certificates/{child}").status == 200
    assert misaki.get(f"/certificates/{find('佐倉 直人').public_id}").status == 404
    subscriber.post(f"/household/{adult}/allow", {"allow": "no"})
    assert misaki.get(f"/certificates/{child}").status == 404


def test_nobody_allows_what_is_not_theirs(enroll):
    misaki = enroll("佐倉 美咲")
    assert (
        misaki.post(f"/household/{find('佐倉 美咲').public_id}/allow", {"allow": "yes"}).status
        == 404
    )
    naoto = enroll("佐倉 直人")
    for name in ("佐倉 陽葵", "戸田 海斗"):
        assert (
            naoto.post(f"/household/{find(name).public_id}/allow", {"allow": "yes"}).status == 404
        )
    assert not Member.select().where(Member.shows_children).exists()


def test_a_withheld_person_leaves_no_trace(enroll, letters):
    phone = enroll("野々村 葵")
    assert "誠" not in phone.page.text
    assert "野々村 誠" not in letters
    assert not models.Account.select().where(models.Account.member == find("野々村 誠")).exists()


def test_a_dependent_is_listed_until_the_day_before_the_eligibility_ends(enroll, time):
    phone = enroll("佐倉 直人")
    day = dates.today(time())
    for lost_on, listed in (
        (day + dt.timedelta(days=1), True),
        (day, False),
        (day - dt.timedelta(days=400), False),
    ):
        Member.update(lost_on=lost_on).where(Member.name.in_(["佐倉 美咲", "佐倉 蓮"])).execute()
        text = phone.get("/").text
        assert [name in text for name in ("佐倉 美咲", "佐倉 蓮")] == [listed, listed]
        assert "佐倉 陽葵" in text


@pytest.mark.parametrize(
    "change", [{"delivery": "paper"}, {"expires_on": dt.date(2026, 11, 22)}, {"delivery": "none"}]
)
def test_a_child_whose_certificate_is_not_valid_is_listed_without_a_link(enroll, change):
    phone, child = enroll("佐倉 直人"), find("佐倉 陽葵")
    assert f"/certificates/{child.public_id}" in phone.page.links
    Member.update(**change).where(Member.id == child.id).execute()
    page = phone.get("/")
    assert "佐倉 陽葵" in page.text
    assert f"/certificates/{child.public_id}" not in page.links


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("戸田 さくら", "マイナ保険証"),
        ("森川 剛", "令和8年3月31日"),
        ("戸田 海斗", "資格確認書を表示する"),
    ],
)
def test_home_says_why_there_is_no_certificate_and_what_to_do(enroll, name, sentence):
    phone = enroll(name)
    assert sentence in phone.page.text
    assert bool([link for link in phone.page.links if "/certificates/" in link]) is (
        name == "戸田 海斗"
    )


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"delivery": "paper"}, "紙の資格確認書"),
        ({"issued_on": dt.date(2026, 12, 1)}, "令和8年12月1日"),
        ({"expires_on": dt.date(2026, 11, 22)}, "令和8年11月22日"),
        ({"birth_date": dt.date(1951, 11, 23)}, "令和8年11月22日"),
    ],
)
def test_each_other_state_has_its_sentence_and_no_link(enroll, change, sentence):
    phone = enroll("佐倉 直人")
    Member.update(**change).where(Member.name == "佐倉 直人").execute()
    page = phone.get("/")
    assert sentence in page.text
    assert find("佐倉 直人").public_id not in page.html
    assert phone.get(f"/certificates/{find('佐倉 直人').public_id}").url == "/"


def test_pages_for_everyone_need_no_login(app):
    from tests.support.phone import Phone

    phone = Phone(app)
    assert phone.get("/staff").status == 200
    assert phone.get("/help").status == 200
    assert phone.get("/healthz").status == 200
    assert phone.get("/").url == "/login"
    assert phone.get("/account").url == "/login"
