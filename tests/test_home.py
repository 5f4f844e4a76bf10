"""Tests of the home page: which people of the household each member sees, and which sentence each
state shows."""

from __future__ import annotations

import datetime as dt

import pytest

import dates
import models
from models import Member
from tests.support.people import BORN, NAO, PASSWORD
from tests.support.phone import Phone


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
    phone = Phone(app)
    assert phone.get("/staff").status == 200
    assert phone.get("/help").status == 200
    assert phone.get("/healthz").status == 200
    assert phone.get("/").url == "/login"
    assert phone.get("/account").url == "/login"


def test_whoever_may_allow_is_offered_it_until_it_is_answered_or_put_off(enroll, time):
    phone = enroll("佐倉 直人")
    offered = "ほかの方が付き添うことがありますか"
    line = "ほかの方も表示できるようにする"
    assert offered not in phone.page.text, "not beside the end of the registration"
    time.pass_(5 * 60)
    assert offered in phone.get("/").text
    assert line not in phone.page.text
    assert offered in phone.get("/").text
    phone.send("/household/later")
    assert (phone.page.url, offered in phone.page.text) == ("/", False)
    assert line in phone.page.text
    assert not Member.select().where(Member.shows_children).exists()
    page = phone.get(phone.page.link("/household"))
    assert "佐倉 美咲" in page.text
    assert "佐倉 陽葵" not in page.text


@pytest.mark.parametrize("answer", ["yes", "no"])
def test_an_answer_ends_the_offer_and_putting_it_off_takes_nothing_back(enroll, answer):
    phone = enroll("佐倉 直人")
    adult = find("佐倉 美咲").public_id
    page = phone.post(f"/household/{adult}/allow", {"allow": answer})
    assert page.url == "/household"
    assert "付き添う" not in phone.get("/").text
    phone.post("/household/later")
    assert find("佐倉 美咲").shows_children is (answer == "yes")
    assert find("佐倉 フミ").allowed_by == find("佐倉 直人").id


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("佐倉 直人", {"birth_date": dt.date(2000, 1, 1)}),  # no child
        ("佐倉 直人", {"birth_date": dt.date(2020, 1, 1)}),  # no adult
        ("佐倉 美咲", {}),
        ("李 明", {}),
    ],
)
def test_nobody_else_is_offered_it_or_finds_its_page(enroll, name, change):
    phone = enroll(name)
    if change:
        Member.update(**change).where(Member.relation == models.DEPENDENT).execute()
    for path in ("/", "/household"):
        page = phone.get(path)
        assert page.url == "/"
        assert not [link for link in page.links if "household" in link]
        assert "付き添う" not in page.text


def test_an_allowed_adult_allows_nobody(enroll):
    misaki = enroll("佐倉 美咲")
    Member.update(shows_children=True, allowed_by=find("佐倉 直人").id).where(
        Member.name == "佐倉 美咲"
    ).execute()
    assert "佐倉 陽葵" in misaki.get("/").text
    assert misaki.get("/household").url == "/"
    misaki.post("/household/later")
    assert find("佐倉 美咲").shows_children


@pytest.mark.parametrize(
    ("agent", "shown"),
    [
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X)", ["「共有」"]),
        ("Mozilla/5.0 (Linux; Android 14; Pixel 8)", ["「︙」"]),
        ("Mozilla/5.0 (Windows NT 10.0)", ["「共有」", "「︙」"]),
    ],
)
def test_the_end_of_the_registration_is_said_for_five_minutes_with_the_icon_of_this_phone(
    app, letters, mails, time, agent, shown
):
    phone = Phone(app)
    phone.client.environ_base["HTTP_USER_AGENT"] = agent
    phone.get("/login")
    phone.send(username=letters["佐倉 美咲"][0], password=letters["佐倉 美咲"][1])
    phone.send(bday=BORN["佐倉 美咲"], new_password=PASSWORD, email="m@example.jp")
    phone.send(code=mails.code)
    assert phone.page.url == "/"
    assert "登録が終わりました" in phone.page.text
    assert letters["佐倉 美咲"][0] in phone.page.text
    assert phone.page.link("/certificates/")
    for word in ("「共有」", "「︙」"):
        assert (word in phone.page.text) is (word in shown)
    phone.send("/language/en")
    assert "You are registered" in phone.page.text
    phone.send("/language/ja")
    time.pass_(4 * 60)
    assert "登録が終わりました" in phone.get("/").text
    time.pass_(60)
    page = phone.get("/")
    assert "登録が終わりました" not in page.text
    assert "ホーム画面に追加" not in page.text


def test_whoever_has_opened_the_certificate_is_welcomed_no_more(enroll):
    phone = enroll(NAO)
    assert "登録が終わりました" in phone.get("/").text
    assert phone.get(phone.page.link("/certificates/")).clock
    assert "登録が終わりました" not in phone.get("/").text
    assert phone.page.link("/household"), "what was not offered before is offered now"


def test_whoever_has_nothing_to_show_is_told_of_no_icon(enroll):
    phone = enroll("戸田 さくら")
    assert "登録が終わりました" in phone.page.text
    assert "ホーム画面に追加" not in phone.page.text


def test_help_is_the_same_for_whoever_reads_it(app, enroll):
    alike = {enroll(name).get("/help").text for name in ("佐倉 直人", "佐倉 美咲", "戸田 さくら")}
    alike.add(Phone(app).get("/help").text)
    (text,) = alike
    for symptom in (
        "ログインできないとき",
        "メールが届かないとき",
        "お手紙やIDをなくしたとき",
        "表示できないまま受診するとき",
        "お子さまの資格確認書を見せるとき",
    ):
        assert symptom in text


def test_an_insurers_links_stand_on_home_and_its_policy_and_site_on_every_page(app, enroll):
    base = "https://insurer.example"
    links = [{"text": "医療費", "text_en": "Costs", "url": f"{base}/costs"}]
    more = {"links": links, "privacy_url": f"{base}/privacy", "site_url": f"{base}/"}
    app.config["INSURERS"]["06139463"] |= more
    phone = enroll("佐倉 美咲")
    for path in ("/", "/account", "/help"):
        page = phone.get(path)
        assert {f"{base}/privacy", f"{base}/"} <= set(page.links)
        assert ((f"{base}/costs" in page.links), "医療費" in page.text) == (path == "/",) * 2
    phone.client.set_cookie("lang", "en")
    assert "Costs" in phone.get("/").text


TO_CALL = "tel:03-0000-1234"


def test_wherever_a_sentence_says_to_call_the_number_is_a_button(app, enroll, letters):
    phone = Phone(app)
    phone.get("/login")
    for _ in range(11):
        phone.send(username=letters["佐倉 直人"][0], password="wrong")
    assert phone.page.status == 429
    assert TO_CALL in phone.page.links
    phone = enroll("戸田 さくら")
    for change in (
        {"delivery": "none"},
        {"delivery": "paper"},
        {"delivery": "web", "issued_on": dt.date(2020, 1, 1), "expires_on": dt.date(2021, 1, 1)},
    ):
        Member.update(**change).where(Member.name == "戸田 さくら").execute()
        assert TO_CALL in phone.get("/").links
    phone.post("/logout")
    phone.get("/login")
    phone.send(username=letters["戸田 さくら"][0], password=PASSWORD)
    models.Mail.update(state="failed").execute()
    assert TO_CALL in phone.get("/login/code").links
    for _ in range(31):
        phone.post("/login/code", {"code": "000000"})
    assert phone.page.status == 429
    assert TO_CALL in phone.page.links
    for path in ("/help", "/staff"):
        assert TO_CALL in phone.get(path).links
