"""Nobody can show another family's certificates, even if a 記号・番号 is given to another person or the
subscriber leaves."""

from __future__ import annotations

import datetime as dt

import pytest

from models import SUBSCRIBER, Member
from tests.support.people import NAO
from tests.test_certificate import ended, poll

TODAY = dt.date(2026, 11, 23)
WIFE, GIRL, BOY, NEW = "佐倉 美咲", "佐倉 陽葵", "佐倉 蓮", "戸田 海斗"


def find(name: str) -> Member:
    return Member.get(Member.name == name)


def change(name: str, **fields: object) -> None:
    Member.update(**fields).where(Member.name == name).execute()


def leave(name: str) -> None:
    change(name, lost_on=TODAY)


def hand_on() -> None:
    """Another becomes subscriber under the number of 佐倉 直人, who left."""
    leave(NAO)
    change(NEW, household=find(NAO).household, relation=SUBSCRIBER, qualified_on=TODAY)


def allow(phone, name: str, answer: str = "yes") -> int:
    return phone.post(f"/household/{find(name).public_id}/allow", {"allow": answer}).status


def card(phone, name: str):
    return phone.get(f"/certificates/{find(name).public_id}")


def test_a_former_subscriber_lists_shows_and_allows_nobody(enroll, time):
    phone = enroll(NAO)
    clock = card(phone, GIRL).clock["hx-get"]
    assert poll(phone, clock).ticks
    hand_on()
    time.pass_(11)
    assert ended(poll(phone, clock))
    page = phone.get("/")
    assert not [name for name in (WIFE, GIRL, BOY, NEW) if name in page.text]
    assert card(phone, GIRL).status == 404
    assert card(phone, WIFE).status == 404
    assert allow(phone, WIFE) == 404
    assert not Member.select().where(Member.shows_children).exists()


def test_a_subscriber_shows_others_on_the_last_day_of_cover_and_not_before_the_first(enroll):
    phone = enroll(NAO)
    change(NAO, lost_on=TODAY + dt.timedelta(days=1))
    assert card(phone, GIRL).status == 200
    assert GIRL in phone.get("/").text
    change(NAO, lost_on=None, qualified_on=TODAY + dt.timedelta(days=1))
    assert card(phone, GIRL).status == 404
    assert GIRL not in phone.get("/").text


def test_a_childs_certificate_names_the_subscriber_of_the_day(enroll):
    phone = enroll(NEW)
    hand_on()
    text = card(phone, GIRL).text
    assert NEW in text
    assert NAO not in text


def test_what_a_former_subscriber_allowed_does_not_hold_under_the_next(enroll, time):
    former, wife, new = enroll(NAO), enroll(WIFE), enroll(NEW)
    assert allow(former, WIFE) == 200
    clock = card(wife, GIRL).clock["hx-get"]
    assert poll(wife, clock).ticks
    hand_on()
    time.pass_(11)
    assert ended(poll(wife, clock))
    assert card(wife, GIRL).status == 404
    assert GIRL not in wife.get("/").text
    assert "許可中" not in new.get("/").text
    assert allow(new, WIFE) == 200
    assert card(wife, GIRL).status == 200
    assert poll(wife, wife.page.clock["hx-get"]).ticks


def test_what_a_subscriber_allowed_ends_with_their_cover(enroll, time):
    subscriber, wife = enroll(NAO), enroll(WIFE)
    allow(subscriber, WIFE)
    clock = card(wife, GIRL).clock["hx-get"]
    leave(NAO)
    time.pass_(11)
    assert ended(poll(wife, clock))
    assert card(wife, GIRL).status == 404


def test_what_a_subscriber_allowed_ends_when_they_turn_withheld_and_the_card_goes_on_naming_them(
    enroll, app, letters
):
    subscriber, wife = enroll(NAO), enroll(WIFE)
    allow(subscriber, WIFE)
    assert card(wife, GIRL).status == 200
    before = card(wife, WIFE).text
    done = app.test_cli_runner().invoke(args=["members", "withhold", letters[NAO][0]])
    assert done.exit_code == 0, done.output
    assert card(wife, GIRL).status == 404
    assert GIRL not in wife.get("/").text
    assert (find(WIFE).shows_children, find(WIFE).allowed_by) == (False, None)
    change(NAO, withheld=False)
    assert card(wife, GIRL).status == 404
    assert NAO in before
    assert NAO in card(wife, WIFE).text


@pytest.mark.parametrize("lost_on", [TODAY, dt.date(2020, 1, 1)])
def test_a_dependent_whose_cover_ended_is_gone_from_the_list(enroll, lost_on):
    phone = enroll(NAO)
    for name in (WIFE, GIRL):
        assert name in phone.get("/").text
        change(name, lost_on=lost_on)
        page = phone.get("/")
        assert name not in page.text
        assert find(name).public_id not in page.html
        assert card(phone, name).status == 404


def test_those_whose_certificate_can_be_shown_stand_first(enroll):
    phone = enroll(NAO)
    change(BOY, birth_date=dt.date(2020, 1, 1))
    change(GIRL, birth_date=dt.date(2021, 1, 1))
    assert phone.get("/").text.index(GIRL) < phone.page.text.index(BOY)
    change(GIRL, delivery="paper")
    text = phone.get("/").text
    assert text.index(BOY) < text.index(GIRL)
    assert text.index(BOY) < text.index(WIFE)


def test_the_icon_leads_home_where_others_can_be_shown_and_else_to_ones_own_card(enroll):
    subscriber, wife = enroll(NAO), enroll(WIFE)
    assert subscriber.get("/certificates/mine").url == "/"
    assert wife.get("/certificates/mine").url == f"/certificates/{find(WIFE).public_id}"
    allow(subscriber, WIFE)
    assert wife.get("/certificates/mine").url == "/"
    for name in (GIRL, BOY):
        change(name, delivery="paper")
    assert subscriber.get("/certificates/mine").url == f"/certificates/{find(NAO).public_id}"
    assert wife.get("/certificates/mine").url == f"/certificates/{find(WIFE).public_id}"


def test_a_dependent_whose_cover_has_not_begun_is_not_on_the_list(enroll):
    phone = enroll(NAO)
    assert GIRL in phone.get("/").text
    change(GIRL, qualified_on=TODAY + dt.timedelta(days=1))
    assert GIRL not in phone.get("/").text
