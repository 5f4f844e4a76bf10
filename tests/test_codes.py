"""Tests of login IDs, temporary passwords and one-time codes."""

import datetime as dt
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import models
from accounts import limits
from accounts.codes import CODE_LIFE, CODE_TRIES, CODES_WITHIN, send_code, take_code
from accounts.keys import (
    LETTERS,
    SYMBOLS,
    Keys,
    fold_typed,
    grouped,
    login_ids,
    temporary_passwords,
)

KEYS = Keys("a" * 32)


@pytest.fixture
def account(store):
    member = models.Member.create(
        public_id="p",
        household="h",
        insurer_number="06139463",
        number="1",
        name="佐倉 直人",
        birth_date=dt.date(1979, 6, 12),
        sex=1,
        relation=1,
        qualified_on=dt.date(2004, 4, 1),
        delivery="web",
    )
    return models.Account.create(
        member=member, login_id="K234567892", email="a@example.jp", email_key="a@example.jp"
    )


@pytest.mark.parametrize(
    "typed", ["k234-567-892", "Ｋ２３４－５６７－８９２", " K234 567 892 ", "K234ー567‐892"]
)
def test_an_id_is_read_whatever_width_capitals_and_hyphens_it_is_typed_with(typed):
    assert fold_typed(typed) == "K234567892"


def test_ids_and_temporary_passwords_begin_with_a_letter_are_grouped_and_have_no_look_alikes():
    for text in [*login_ids(200), *temporary_passwords(200)]:
        assert text[0] in LETTERS
        assert not set(text[1:]) - set(SYMBOLS + "23456789")
        assert "-" in grouped(text)
        assert fold_typed(grouped(text).lower()) == text
    assert len(set(temporary_passwords(1000))) == 1000


def test_a_temporary_password_fits_under_the_present_key_and_each_fallback():
    (stored,) = Keys("b" * 32).hash_temporary(["KAAAA-AAAA-AAAAA"])
    assert Keys("c" * 32, ["b" * 32]).fits_temporary("kaaaa aaaa aaaaa", stored)
    assert not Keys("c" * 32).fits_temporary("KAAAA-AAAA-AAAAA", stored)
    assert not Keys("b" * 32).fits_temporary("KAAAA-AAAA-AAAAC", stored)
    assert not Keys("b" * 32).fits_temporary("", None)


def test_the_right_code_is_taken_once(account, now):
    challenge = send_code(account, "login", now)
    code = KEYS.code(challenge)
    assert len(code) == 6
    assert code.isdigit()
    assert take_code(challenge, code, KEYS, now + 1)
    assert not take_code(challenge, code, KEYS, now + 2)


def test_of_many_with_the_right_code_at_once_one_gets_in(account, now):
    challenge, crowd = send_code(account, "login", now), 12
    models.Challenge.update(tries=-100).execute()
    counted = threading.Barrier(crowd)

    class Together(Keys):
        """All have been counted before the first is looked at."""

        def fits_code(self, typed, challenge):
            counted.wait(20)
            return super().fits_code(typed, challenge)

    keys = Together("a" * 32)

    def enter(_):
        with models.database.connection_context():
            return take_code(challenge, keys.code(challenge), keys, now)

    with ThreadPoolExecutor(crowd) as pool:
        assert sum(pool.map(enter, range(crowd))) == 1


def test_the_fifth_wrong_code_voids_it(account, now):
    challenge = send_code(account, "login", now)
    code = KEYS.code(challenge)
    wrong = f"{(int(code) + 1) % 10**6:06}"
    for _ in range(CODE_TRIES - 1):
        assert not take_code(challenge, wrong, KEYS, now)
    models.Challenge.update(tries=CODE_TRIES - 1).execute()
    assert take_code(challenge, code, KEYS, now)
    second = send_code(account, "login", now)
    for _ in range(CODE_TRIES):
        take_code(second, "x", KEYS, now)
    assert not take_code(second, KEYS.code(second), KEYS, now)


@pytest.mark.parametrize(("seconds", "fits"), [(CODE_LIFE - 1, True), (CODE_LIFE, False)])
def test_a_code_lives_for_ten_minutes(account, now, seconds, fits):
    challenge = send_code(account, "login", now)
    assert take_code(challenge, KEYS.code(challenge), KEYS, int(now) + seconds) is fits


def test_a_new_code_voids_the_old_one(account, now):
    first = send_code(account, "login", now)
    second = send_code(account, "login", now)
    assert not take_code(first, KEYS.code(first), KEYS, now)
    assert take_code(second, KEYS.code(second), KEYS, now)


def test_five_codes_in_fifteen_minutes_and_no_sixth(account, now):
    for n in range(5):
        send_code(account, "login", now + n)
    with pytest.raises(limits.TooMany) as refusal:
        send_code(account, "register", now + 10)
    assert refusal.value.until == int(now) + CODES_WITHIN
    assert models.Mail.select().count() == 5
    send_code(account, "login", refusal.value.until)


def test_no_code_fits_where_the_address_is_somebody_elses(account, now):
    challenge = send_code(account, "register", now, email="taken@example.jp", decoy=True)
    assert not take_code(challenge, KEYS.code(challenge), KEYS, now)
    assert models.Mail.get().kind == "taken"


def test_the_database_holds_no_code(account, now):
    challenge = send_code(account, "login", now)
    rows = [*models.Challenge.select().dicts(), *models.Mail.select().dicts()]
    assert KEYS.code(challenge) not in str(rows)


def test_a_code_from_before_the_key_changed_still_fits(account, now):
    challenge = send_code(account, "login", now)
    code = KEYS.code(challenge)
    assert take_code(challenge, code, Keys("n" * 32, ["a" * 32]), now)
