"""Passkeys: what a phone made by hand, with keys of its own, may and may not do.
test_passkeys_browser.py has a real browser."""

from __future__ import annotations

import base64
import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import accounts
import models
from accounts import passkeys
from accounts.passkeys import AT_MOST, LIFE
from models import SESSION_IDLE, Audit, Passkey, Session
from tests.support.lock import (
    ADD_OPTIONS,
    KEEP,
    LOGIN,
    OPTIONS,
    PRESENT,
    VERIFIED,
    Lock,
    add,
    asked,
    encoded,
    unlock,
)
from tests.support.people import KEY, NAO, PASSWORD
from tests.support.phone import Phone

MISAKI = "佐倉 美咲"
WRONG = "このスマホの顔や指では、ログインできませんでした"


@pytest.fixture
def lock():
    return Lock()


@pytest.fixture
def nao(enroll, lock):
    """Nao, logged in, on a phone with a passkey."""
    return add(enroll(NAO, "nao@example.jp"), lock)


@pytest.fixture
def stranger(app):
    """A phone where nobody is logged in."""
    return Phone(app)


def assert_refused(phone: Phone, page) -> None:
    assert (page.status, WRONG in page.text) == (422, True), page.text
    assert phone.get("/").url == "/login"


def test_a_passkey_replaces_id_password_and_code(nao, stranger, lock, mails):
    sent = len(mails)
    assert unlock(stranger, lock).url == "/"
    assert NAO in stranger.page.text
    assert len(mails) == sent
    lock.uses = 3
    assert unlock(stranger, lock).url == "/"
    assert Passkey.get().uses == 3


def test_a_login_leads_on_to_where_the_person_wanted_and_nowhere_else(nao, stranger, lock):
    for target, reached in (("/account", "/account"), ("//evil.example", "/")):
        answer = lock.get(asked(stranger, OPTIONS))
        assert stranger.post(LOGIN, {"answer": answer, "next": target}).url == reached


def test_a_passkey_session_idles_as_a_trusted_phones(nao, stranger, lock, time):
    unlock(stranger, lock)
    time.pass_(SESSION_IDLE + 60)
    assert nao.get("/").url == "/login"
    assert stranger.get("/").url == "/"


def test_a_login_by_passkey_ends_the_session_before_it_on_that_browser(nao, lock):
    before = Session.get()
    unlock(nao, lock)
    assert Session.get_by_id(before.id).ended_at is not None
    assert Session.select().where(Session.ended_at.is_null()).count() == 1


@pytest.mark.parametrize(
    "answer",
    [
        {"id": "\ud800", "response": {"userHandle": ""}},
        {"id": ["\ud800"], "response": {"userHandle": ""}},
        {"id": "加", "response": {"userHandle": ""}},
        {"id": "\0", "response": {"userHandle": ""}},
        {"id": "x", "response": {"userHandle": "\ud800"}},
        {"id": 1e400, "response": {"userHandle": "e"}},
        {"id": "x", "response": []},
        {},
        [],
        None,
    ],
    ids=ascii,
)
def test_an_answer_that_no_phone_gives_is_refused_as_any_other(stranger, answer):
    asked(stranger, OPTIONS)
    assert_refused(stranger, stranger.post(LOGIN, {"answer": json.dumps(answer)}))


def test_a_challenge_is_good_once_also_for_a_copy_of_its_cookie(nao, stranger, lock, app):
    options = asked(stranger, OPTIONS)
    copy = Phone(app)
    copy.client.set_cookie("challenge", stranger.client.get_cookie("challenge").value)
    answer = lock.get(options)
    assert stranger.post(LOGIN, {"answer": answer}).url == "/"
    assert_refused(copy, copy.post(LOGIN, {"answer": answer}))


def test_of_twenty_answers_to_one_challenge_at_once_one_is_looked_at(app, time):
    keys = app.extensions["kakunin"].keys
    _, cookie = passkeys.ask(keys, "login", time())

    def once(_) -> bool:
        with models.database.connection_context():
            try:
                return bool(passkeys.asked(keys, "login", cookie, time()))
            except passkeys.Unproven:
                return False

    with ThreadPoolExecutor(20) as pool:
        assert sum(pool.map(once, range(20))) == 1


def test_a_challenge_is_good_for_five_minutes(nao, stranger, lock, time):
    answer = lock.get(asked(stranger, OPTIONS))
    time.pass_(LIFE - 1)
    assert stranger.post(LOGIN, {"answer": answer}).url == "/"
    stranger.post("/logout")
    answer = lock.get(asked(stranger, OPTIONS))
    time.pass_(LIFE)
    assert_refused(stranger, stranger.post(LOGIN, {"answer": answer}))


def test_a_challenge_belongs_to_the_browser_that_asked(nao, stranger, lock, app):
    answer = lock.get(asked(stranger, OPTIONS))
    other = Phone(app)
    assert_refused(other, other.post(LOGIN, {"answer": answer}))
    asked(other, OPTIONS)
    assert_refused(other, other.post(LOGIN, {"answer": answer}))


@pytest.mark.parametrize("forged", ["", "x", "W10", "eyJ9.x.y"])
def test_a_challenge_of_ones_own_is_none(nao, stranger, lock, forged):
    options = asked(stranger, OPTIONS)
    stranger.client.set_cookie("challenge", forged)
    assert_refused(stranger, stranger.post(LOGIN, {"answer": lock.get(options)}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("flags", PRESENT),  # its owner was not verified
        ("flags", VERIFIED),  # and not there
        ("origin", "https://evil.example"),
        ("host", "evil.example"),
        ("owner", "somebody else"),
        ("owner", ""),
        ("key", ec.generate_private_key(ec.SECP256R1())),
        ("credential", b"\x08" * 20),
    ],
)
def test_an_answer_with_one_thing_wrong_is_refused(nao, stranger, lock, name, value):
    setattr(lock, name, value)
    assert_refused(stranger, unlock(stranger, lock))
    assert Passkey.get().used_at is None


def test_what_was_signed_to_make_a_key_is_no_login(nao, stranger, lock):
    assert_refused(
        stranger,
        stranger.post(LOGIN, {"answer": lock.get(asked(stranger, OPTIONS), "webauthn.create")}),
    )
    assert_refused(stranger, stranger.post(LOGIN, {"answer": lock.create(asked(nao, ADD_OPTIONS))}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("flags", PRESENT),
        ("flags", VERIFIED),
        ("origin", "https://evil.example"),
        ("host", "evil.example"),
    ],
)
def test_a_new_key_with_one_thing_wrong_is_not_kept(enroll, mails, name, value):
    phone, lock = enroll(NAO, "nao@example.jp"), Lock()
    setattr(lock, name, value)
    sent = len(mails)
    page = phone.post(KEEP, {"answer": lock.create(asked(phone, ADD_OPTIONS))})
    assert "登録できませんでした" in page.text
    assert (Passkey.select().count(), len(mails)) == (0, sent)


def test_a_challenge_for_a_key_is_that_sessions_and_good_once(enroll, lock):
    nao, misaki = enroll(NAO, "nao@example.jp"), enroll(MISAKI, "misaki@example.jp")
    answer = lock.create(asked(nao, ADD_OPTIONS))
    misaki.client.set_cookie("challenge", nao.client.get_cookie("challenge").value)
    misaki.post(KEEP, {"answer": answer})
    assert Passkey.select().count() == 0
    add(nao, lock)
    nao.post(KEEP, {"answer": answer})
    options = asked(nao, OPTIONS)  # one for a login makes no key
    nao.post(KEEP, {"answer": Lock(b"\x09" * 20).create(options | {"user": {"id": encoded(b"x")}})})
    assert Passkey.select().count() == 1


@pytest.mark.parametrize(
    ("kept", "stated", "taken"),
    [(0, 0, True), (0, 1, True), (5, 6, True), (5, 5, False), (5, 4, False), (5, 0, False)],
)
def test_a_count_of_uses_that_goes_back_or_stands_still_is_refused_but_none_is_normal(
    nao, stranger, lock, kept, stated, taken
):
    Passkey.update(uses=kept).execute()
    lock.uses = stated
    page = unlock(stranger, lock)
    assert (page.url == "/") is taken
    assert Passkey.get().uses == (stated if taken else kept)


def test_of_two_logins_with_one_count_at_once_one_is_taken(nao, app, lock, time):
    lock.uses = 9
    site = passkeys.Site("localhost", "http://localhost")
    challenge = base64.urlsafe_b64encode(bytes(32)).decode().rstrip("=")
    first, second = (
        passkeys.prove(lock.get({"challenge": challenge}), bytes(32), site) for _ in range(2)
    )
    passkeys.use(first, time())
    with pytest.raises(models.Stale):
        passkeys.use(second, time())


def test_a_key_that_is_kept_already_belongs_to_nobody_else(nao, enroll, lock):
    misaki = enroll(MISAKI, "misaki@example.jp")
    assert asked(misaki, ADD_OPTIONS)["excludeCredentials"] == []
    (known,) = asked(nao, ADD_OPTIONS)["excludeCredentials"]
    assert known["id"] == encoded(lock.credential)
    page = misaki.post(KEEP, {"answer": lock.create(asked(misaki, ADD_OPTIONS))})
    assert "登録できませんでした" in page.text
    assert Passkey.get().account.member.name == NAO


def test_the_phone_itself_keeps_the_key_and_verifies_its_owner(nao):
    options = asked(nao, ADD_OPTIONS)
    wanted = options["authenticatorSelection"]
    assert (wanted["authenticatorAttachment"], wanted["residentKey"]) == ("platform", "required")
    assert wanted["userVerification"] == asked(nao, OPTIONS)["userVerification"] == "required"
    assert options["rp"]["id"] == asked(nao, OPTIONS)["rpId"] == "localhost"
    assert "allowCredentials" not in asked(nao, OPTIONS)  # which would tell who exists


def test_the_owner_is_told_of_each_new_one_without_a_link(nao, mails):
    assert mails[-1]["To"] == "nao@example.jp"
    assert "パスキー" in mails[-1].get_content()
    assert "http" not in mails[-1].get_content()
    sent = len(mails)
    add(nao, Lock(b"\x08" * 20))
    assert len(mails) == sent + 1


def test_ten_at_most_also_at_once(nao, app, mails, time):
    account = models.Account.get(models.Account.email == "nao@example.jp")
    site, challenge = passkeys.Site("localhost", "http://localhost"), bytes(32)
    options = passkeys.to_create(account, site, "見本", encoded(challenge))

    def once(number: int) -> bool:
        with models.database.connection_context():
            try:
                passkeys.add(
                    account,
                    Lock(bytes([number]) * 20).create(options),
                    challenge,
                    site,
                    "iPhone",
                    time(),
                )
            except passkeys.TooMany:
                return False
            return True

    with ThreadPoolExecutor(15) as pool:
        assert sum(pool.map(once, range(100, 115))) == AT_MOST - 1
    assert Passkey.select().count() == AT_MOST
    page = nao.post(KEEP, {"answer": Lock(b"\x63" * 20).create(asked(nao, ADD_OPTIONS))})
    assert "10台まで" in page.text
    assert "/account/passkey" not in page.links
    assert Passkey.select().count() == AT_MOST


def test_each_is_named_and_listed_with_its_last_use(nao, stranger, lock, time):
    page = nao.get("/account")
    assert "iPhone" in page.text
    assert "まだ使っていません" in page.text
    time.pass_(60)
    unlock(stranger, lock)
    assert "最後に使った日時 11月23日(月) 14時6分" in nao.get("/account").text


def test_one_that_is_removed_is_over_with_its_sessions(nao, stranger, lock):
    unlock(stranger, lock)
    passkey = nao.get("/account").form("passkey")["fields"]["passkey"]
    assert nao.send("/account/passkey/remove", passkey=passkey).url == "/account"
    assert stranger.get("/").url == "/login"
    assert_refused(stranger, unlock(stranger, lock))


def test_whoever_removes_the_one_they_came_with_is_logged_out_and_told_so(nao, stranger, lock):
    unlock(stranger, lock)
    stranger.get("/account")
    page = stranger.send("/account/passkey/remove", passkey=Passkey.get().id)
    assert page.url == "/login"
    assert "しばらく使わなかったため" not in page.text
    assert "data-suggest" in page.html


def test_nobody_removes_anothers(nao, enroll, stranger, lock):
    unlock(stranger, lock)
    enroll(MISAKI, "misaki@example.jp").post(
        "/account/passkey/remove", {"passkey": Passkey.get().id}
    )
    assert stranger.get("/").url == "/"
    assert unlock(stranger, lock).url == "/"


def by_password(nao, app, letters, mails):
    nao.get("/account/password")
    nao.send(password=PASSWORD, new_password="four silent otters 31")


def by_reset(nao, app, letters, mails):
    phone = Phone(app)
    phone.get("/password/forgot")
    phone.send(username=letters[NAO][0], email="nao@example.jp")
    phone.get(mails.link.removeprefix("http://localhost"))
    phone.send(bday="19790612", new_password="four silent otters 31")


def withheld(nao, app, letters, mails):
    done = app.test_cli_runner().invoke(args=["members", "withhold", letters[NAO][0]])
    assert done.exit_code == 0, done.output


def reissued(nao, app, letters, mails, tmp_path):
    file = str(tmp_path / "again.csv")
    done = app.test_cli_runner().invoke(
        args=["members", "reissue", letters[NAO][0], "--credentials", file, "--keep-email"]
    )
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("way", [by_password, by_reset, withheld, reissued])
def test_a_new_password_a_reissue_and_a_withheld_person_end_every_passkey(
    nao, app, stranger, lock, letters, mails, tmp_path, way
):
    other = add(nao, Lock(b"\x08" * 20))
    unlock(stranger, lock)
    way(*(nao, app, letters, mails), *[tmp_path] * (way is reissued))
    assert Passkey.select().count() == 0
    for phone in (stranger, other):
        assert phone.get("/").url == "/login"
    assert_refused(stranger, unlock(stranger, lock))


def test_a_login_in_the_moment_of_a_new_password_is_none(
    nao, app, stranger, lock, letters, monkeypatch, time
):
    real = passkeys.prove

    def meanwhile(*args):
        proof = real(*args)
        accounts.set_password(
            accounts.find(letters[NAO][0]), "four silent otters 31", time(), "password.changed"
        )
        return proof

    monkeypatch.setattr(passkeys, "prove", meanwhile)
    unlock(stranger, lock)
    assert stranger.get("/").url == "/login"


def test_a_key_that_is_added_in_the_moment_of_a_new_password_is_none(nao, letters, time):
    account = accounts.find(letters[NAO][0])
    site = passkeys.Site("localhost", "http://localhost")
    answer = Lock(b"\x08" * 20).create(
        passkeys.to_create(account, site, "見本", encoded(bytes(32)))
    )
    accounts.set_password(
        accounts.find(letters[NAO][0]), "four silent otters 31", time(), "password.changed"
    )
    with pytest.raises(models.Stale):
        passkeys.add(account, answer, bytes(32), site, "iPhone", time())
    assert Passkey.select().count() == 0


def test_a_session_that_is_not_fresh_asks_the_password_first(enroll, lock, time):
    phone = enroll(NAO, "nao@example.jp")
    answer = lock.create(asked(phone, ADD_OPTIONS))
    time.pass_(15 * 60)
    assert phone.post(ADD_OPTIONS).status == 403
    assert phone.post(KEEP, {"answer": answer}).url == "/account/passkey"
    assert Passkey.select().count() == 0
    assert phone.send(password="wrong").status == 422
    assert phone.post(ADD_OPTIONS).status == 403
    phone.get("/account/passkey")
    assert phone.send(password=PASSWORD).url == "/account/passkey"
    assert not any("password" in form["fields"] for form in phone.page.forms)
    add(phone, lock)
    assert phone.post(ADD_OPTIONS).status == 403  # the password was asked for this one


def test_failures_are_counted_by_address_apart_from_passwords_and_successes_are_not(
    nao, app, lock, letters, time
):
    for number in range(100):
        phone = Phone(app)
        if number % 2:
            assert unlock(phone, lock).url == "/"
        else:
            assert phone.post(LOGIN, {"answer": "{}"}).status == 422
    for _ in range(50):
        stranger = Phone(app)
        assert stranger.post(LOGIN, {"answer": "{}"}).status == 422
    assert unlock(Phone(app), lock).status == 429
    assert unlock(Phone(app, "203.0.113.8"), lock).url == "/"
    stranger.get("/login")
    assert stranger.send(username=letters[NAO][0], password=PASSWORD).url == "/login/code"
    time.pass_(61)
    assert unlock(Phone(app), lock).url == "/"


def test_home_offers_it_after_a_code_until_it_is_refused(enroll, log_in, mails):
    phone = enroll(NAO, "nao@example.jp")
    assert "次からは顔や指でログイン" in phone.page.text
    assert phone.send("/account/passkey/later").url == "/"
    assert "次からは顔や指でログイン" not in phone.page.text
    phone.post("/logout")
    assert "次からは顔や指でログイン" in log_in(NAO, phone).page.text
    add(phone, Lock())
    assert "次からは顔や指でログイン" not in phone.get("/").text
    assert "次からは顔や指でログイン" in log_in(NAO).page.text  # on another phone


def test_home_offers_nothing_after_a_passkey_a_trust_a_while_or_where_nothing_is_shown(
    enroll, log_in, stranger, lock, letters, time
):
    phone = add(enroll(NAO, "nao@example.jp", trust="yes"), lock)
    phone.post("/logout")
    phone.client.delete_cookie("passkey")
    phone.get("/login")
    assert phone.send(username=letters[NAO][0], password=PASSWORD).url == "/"
    assert "次からは顔や指でログイン" not in phone.page.text
    assert "次からは顔や指でログイン" not in unlock(stranger, lock).text
    late = log_in(NAO)
    time.pass_(15 * 60)
    assert "次からは顔や指でログイン" not in late.get("/").text
    models.Member.update(delivery="none").execute()
    assert "次からは顔や指でログイン" not in log_in(NAO).page.text


def test_the_login_page_begins_with_the_button_where_one_was_made_or_used_until_it_is_over(
    nao, stranger, lock
):
    def begins() -> bool:
        page = stranger.get("/login")
        assert page.form("username", "password")
        assert page.html.count("data-options") == 1
        assert ("data-suggest" in page.html) is ('class="quick"' not in page.html)
        return "data-suggest" not in page.html

    assert not begins()
    nao.post("/logout")
    assert "data-suggest" not in nao.get("/login").html
    unlock(stranger, lock)
    stranger.post("/logout")
    assert begins()
    lock.flags = PRESENT
    unlock(stranger, lock)
    assert begins()  # it may still be good
    Passkey.delete().execute()
    assert "data-options" not in unlock(stranger, lock).html
    assert not begins()


def test_inputs_keep_their_standard_tokens(stranger):
    assert 'name="username" autocomplete="username"' in stranger.get("/login").html


def test_none_where_they_are_forbidden_or_the_site_is_reached_by_an_ip_address(
    nao, stranger, app, lock
):
    def gone() -> None:
        for path in (OPTIONS, LOGIN):
            assert stranger.post(path).status == 404
        for path in (ADD_OPTIONS, KEEP):
            assert nao.post(path).status == 404
        for page in (stranger.get("/login"), nao.get("/"), nao.get("/account")):
            assert "passkey" not in page.html.replace("次からは", "")
        assert nao.get("/account/passkey").status == 404

    app.config["PASSKEYS"] = "0"
    gone()
    app.config["PASSKEYS"] = "1"
    for base in ("https://192.0.2.1", "https://[2001:db8::1]", ""):
        app.config.update(INSECURE_COOKIES=0, BASE_URL=base)
        with app.test_request_context("/login"):
            from views.forms import passkey_site

            assert passkey_site() is None


@pytest.mark.parametrize(
    ("base", "chosen", "host", "origin"),
    [
        ("https://Kakunin.example.jp/", "1", "kakunin.example.jp", "https://kakunin.example.jp"),
        ("https://kakunin.example.jp:443", "1", "kakunin.example.jp", "https://kakunin.example.jp"),
        (
            "https://kakunin.example.jp:8443",
            "1",
            "kakunin.example.jp",
            "https://kakunin.example.jp:8443",
        ),
        ("https://new.example.jp", "old.example.com", "old.example.com", "https://new.example.jp"),
    ],
)
def test_keys_are_bound_to_the_host_of_the_address_or_to_the_one_that_is_set(
    app, base, chosen, host, origin
):
    from views.forms import passkey_site

    app.config.update(INSECURE_COOKIES=0, BASE_URL=base, PASSKEYS=chosen)
    with app.test_request_context("/login", base_url="https://elsewhere.example"):
        assert passkey_site() == (host, origin)


def test_a_passkey_of_the_old_host_logs_in_under_the_new_one(nao, app, stranger, lock):
    app.config["PASSKEYS"] = "old.example.jp"
    assert_refused(stranger, unlock(stranger, lock))
    lock.host = "old.example.jp"
    assert unlock(stranger, lock).url == "/"


def test_a_passkey_outlives_a_key_that_rotates(nao, lock, monkeypatch, time):
    from app import create_app

    monkeypatch.setenv("KAKUNIN_SECRET_KEY", "b7" * 32)
    monkeypatch.setenv("KAKUNIN_SECRET_KEY_FALLBACKS", json.dumps([KEY]))
    assert unlock(Phone(create_app(now=time)), lock).url == "/"


def test_the_trail_names_what_happened(nao, stranger, lock):
    stranger.post(LOGIN, {"answer": "{}"})
    nao.post("/account/passkey/remove", {"passkey": Passkey.get().id})
    noted = [
        (one.action, one.member)
        for one in Audit.select().where(Audit.action.startswith("passkey."))
    ]
    member = models.Account.get(models.Account.email == "nao@example.jp").member_id
    assert noted == [
        ("passkey.added", member),
        ("passkey.failed", None),
        ("passkey.removed", member),
    ]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=5,
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    part=st.sampled_from(
        [
            "id",
            "rawId",
            "type",
            "clientDataJSON",
            "authenticatorData",
            "signature",
            "userHandle",
            "attestationObject",
        ]
    ),
    value=JSON,
)
def test_no_answer_is_an_error_of_the_server(nao, app, part, value):
    lock, phone = Lock(), Phone(app)
    lock.owner = Passkey.get().account.member.public_id
    for target, ask, answer in ((phone, OPTIONS, lock.get), (nao, ADD_OPTIONS, lock.create)):
        made = json.loads(answer(asked(target, ask)))
        into = made if part in made else made["response"]
        into[part] = value
        page = target.post(LOGIN if target is phone else KEEP, {"answer": json.dumps(made)})
        assert page.status in (200, 422, 429)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "{",
        "[]",
        "null",
        "[" * 20_000,
        '{"id": "\\u0000", "response": {"userHandle": ""}}',
        "\ud800".encode("utf-8", "replace").decode(),
    ],
)
def test_no_text_is_an_error_of_the_server(nao, stranger, answer):
    asked(stranger, OPTIONS)
    assert_refused(stranger, stranger.post(LOGIN, {"answer": answer}))
    asked(nao, ADD_OPTIONS)
    assert "登録できませんでした" in nao.post(KEEP, {"answer": answer}).text
