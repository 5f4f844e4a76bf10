"""Tests of the forgotten password, changes of password and address, sessions and trusted phones."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from peewee import IntegrityError, ModelDelete

import accounts
import database
import models
from accounts import housekeeping, passwords, sessions
from models import Audit
from tests.support.people import PASSWORD
from tests.support.phone import Phone
from tests.support.sample import logins_in

NAO, NEW = "佐倉 直人", "four silent otters 31"


@pytest.fixture
def nao(enroll):
    return enroll(NAO, "nao@example.jp")


@pytest.fixture
def trusted(enroll):
    """Nao on a phone that is Nao's alone."""
    return enroll(NAO, "nao@example.jp", trust="yes")


def ask(app, login_id, email):
    phone = Phone(app)
    phone.get("/password/forgot")
    return phone, phone.send(username=login_id, email=email)


def test_a_reset_link_works_once_and_starts_no_session(nao, app, letters, mails):
    phone, _ = ask(app, letters[NAO][0].lower(), "ＮＡＯ@example.jp")
    link = mails.link.removeprefix("http://localhost")
    assert phone.get(link).status == 200
    assert nao.get("/").url == "/"  # opening it changed nothing
    assert phone.send(bday="昭和54年6月12日", new_password=NEW).url == "/login"
    assert phone.get("/").url == "/login"
    assert nao.get("/").url == "/login"  # every session is over
    assert phone.get(link).status == 410
    phone.get("/login")
    assert phone.send(username=letters[NAO][0], password=NEW).url == "/login/code"


def test_a_reset_on_a_phone_that_a_family_shares_leaves_nobody_else_logged_in(
    nao, enroll, letters, mails
):
    shared = enroll("佐倉 美咲", "misaki@example.jp")
    nao.get("/password/forgot")
    nao.send(username=letters[NAO][0], email="nao@example.jp")
    shared.get(mails.link.removeprefix("http://localhost"))
    assert shared.send(bday="19790612", new_password=NEW).url == "/login"
    assert "パスワードを変更しました" in shared.page.text
    assert shared.get("/").url == "/login"


@pytest.mark.parametrize("path", ["/account/password", "/account/email", "/account/passkey"])
def test_a_form_that_another_member_opened_in_this_browser_changes_nothing(
    nao, enroll, letters, mails, time, path
):
    """Both chose the same password, and share a phone."""
    time.pass_(15 * 60)  # a passkey asks the password again
    older = nao.get(path).form("username", "password")["fields"]
    enroll("佐倉 美咲", "misaki@example.jp")
    nao.post("/logout")
    login_id, account = letters["佐倉 美咲"][0], models.Account.get(email="misaki@example.jp")
    nao.send(username=login_id, password=PASSWORD)
    nao.send(code=mails.code)
    page = nao.post(path, older | {"password": PASSWORD, "new-password": NEW, "email": "x@y.jp"})
    assert (page.url, page.status) == (path, 422)
    assert "別のログインID" in page.text
    assert models.Account.get(email="misaki@example.jp").mark == account.mark
    assert page.form("username", "password")["fields"]["username"] == login_id


def test_a_form_whose_session_ended_is_there_again_after_the_login(trusted, letters, time):
    trusted.get("/account/password")
    time.pass_(13 * 3600)
    trusted.send(password=PASSWORD, new_password=NEW)
    assert trusted.page.url == "/login"
    trusted.send(username=letters[NAO][0], password=PASSWORD)
    assert trusted.page.url == "/account/password"


def test_a_reset_link_ends_after_thirty_minutes(nao, app, letters, mails, monkeypatch):
    import itsdangerous.timed

    phone, _ = ask(app, letters[NAO][0], "nao@example.jp")
    link = mails.link.removeprefix("http://localhost")
    later = itsdangerous.timed.time.time() + 30 * 60 + 2
    monkeypatch.setattr(
        itsdangerous.timed.TimestampSigner, "get_timestamp", lambda self: int(later)
    )
    assert phone.get(link).status == 410


def test_a_reset_link_ends_with_the_address_that_it_went_to(nao, app, letters, mails):
    phone, _ = ask(app, letters[NAO][0], "nao@example.jp")
    link = mails.link.removeprefix("http://localhost")
    nao.get("/account/email")
    nao.send(password=PASSWORD, email="new@example.jp")
    nao.send(code=mails.code)
    assert nao.page.url == "/account"
    assert phone.get(link).status == 410


def test_nobody_whose_letter_was_written_again_gets_a_reset_link(
    nao, app, letters, mails, tmp_path
):
    again = [
        "members",
        "reissue",
        letters[NAO][0],
        "--keep-email",
        "--credentials",
        str(tmp_path / "again.csv"),
    ]
    assert app.test_cli_runner().invoke(args=again).exit_code == 0
    sent = len(mails)
    _, page = ask(app, letters[NAO][0], "nao@example.jp")
    assert page.status == 200
    assert len(mails) == sent


def test_a_wrong_birth_date_resets_nothing(nao, app, letters, mails):
    phone, _ = ask(app, letters[NAO][0], "nao@example.jp")
    phone.get(mails.link.removeprefix("http://localhost"))
    assert phone.send(bday="19790613", new_password=NEW).status == 422
    assert nao.get("/").url == "/"


@pytest.mark.parametrize(
    ("login_id", "email"), [("Z999-999-999", "nao@example.jp"), (None, "other@example.jp")]
)
def test_forgotten_password_always_answers_the_same(nao, app, letters, mails, login_id, email):
    sent = len(mails)
    _, right = ask(app, letters[NAO][0], "nao@example.jp")
    assert len(mails) == sent + 1
    _, wrong = ask(app, login_id or letters[NAO][0], email)
    assert (right.status, right.text) == (wrong.status, wrong.text)
    assert len(mails) == sent + 1


def test_reset_mails_are_limited(nao, app, letters, mails):
    for _ in range(3):
        ask(app, letters[NAO][0], "nao@example.jp")
    _, page = ask(app, letters[NAO][0], "nao@example.jp")
    assert page.status == 429


def test_requests_with_another_address_use_up_no_mail_of_the_right_one(nao, app, letters, mails):
    for number in range(12):
        ask(app, letters[NAO][0], f"other{number}@example.jp")
    for _ in range(4):
        ask(app, letters[NAO][0], "other@example.jp")
    sent = len(mails)
    _, page = ask(app, letters[NAO][0], "nao@example.jp")
    assert (page.status, len(mails)) == (200, sent + 1)


def test_a_forgotten_password_of_nobody_leaves_no_mail(nao, app, letters, mails):
    before = models.Mail.select().count()
    ask(app, letters[NAO][0], "other@example.jp")
    ask(app, "Z999-999-999", "nao@example.jp")
    assert models.Mail.select().count() == before


def test_a_link_that_two_forms_use_at_once_answers_the_second_as_used(
    nao, app, letters, mails, monkeypatch, time
):
    import accounts

    phone, _ = ask(app, letters[NAO][0], "nao@example.jp")
    phone.get(mails.link.removeprefix("http://localhost"))
    real = passwords.password_fault

    def meanwhile(password, account, context):
        accounts.set_password(
            accounts.find(letters[NAO][0]), "another one of it 5", time(), "password.reset"
        )
        return real(password, account, context)

    monkeypatch.setattr(passwords, "password_fault", meanwhile)
    assert phone.send(bday="19790612", new_password=NEW).status == 410


def test_a_new_password_ends_every_session_and_every_trust(trusted, app, letters, log_in, mails):
    nao = trusted
    other = log_in(NAO)
    nao.get("/account/password")
    assert nao.send(password="wrong", new_password=NEW).status == 422
    page = nao.send(password=PASSWORD, new_password=NEW)
    assert page.url == "/login"
    assert other.get("/").url == "/login"
    assert not models.Trust.select().exists()
    assert "パスワード" in mails[-1].get_content()
    phone = Phone(app)
    phone.get("/login")
    assert phone.send(username=letters[NAO][0], password=NEW).url == "/login/code"


def test_a_new_address_counts_when_its_code_comes_back_and_the_old_one_is_told(nao, mails):
    nao.get("/account/email")
    nao.send(password=PASSWORD, email="new@example.jp")
    assert models.Account.get(models.Account.email.is_null(False)).email == "nao@example.jp"
    assert mails[-1]["To"] == "new@example.jp"
    assert nao.send(code=mails.code).url == "/account"
    assert models.Account.get(models.Account.email.is_null(False)).email == "new@example.jp"
    assert mails[-1]["To"] == "nao@example.jp"


def test_an_address_that_is_taken_looks_the_same_on_the_screen(nao, enroll, mails):
    enroll("佐倉 美咲", "misaki@example.jp")
    nao.get("/account/email")
    page = nao.send(password=PASSWORD, email="Misaki@example.jp")
    assert page.url == "/account/email/code"
    assert "すでに登録されています" in mails[-1].get_content()


def test_one_tap_ends_every_other_session(nao, log_in):
    other = log_in(NAO)
    nao.get("/account")
    nao.post("/account/sessions/end")
    assert other.get("/").url == "/login"
    assert nao.get("/").url == "/"


def test_a_trusted_phone_is_listed_and_removable(trusted, log_in, letters):
    nao = trusted
    page = nao.get("/account")
    trust = page.form("trust")["fields"]["trust"]
    other = log_in(NAO)
    other.post("/account/trusts/remove", {"trust": trust})
    assert nao.get("/").url == "/login"
    nao.get("/login")
    assert nao.send(username=letters[NAO][0], password=PASSWORD).url == "/login/code"


def test_nobody_removes_the_trust_of_another(trusted, enroll):
    nao = trusted
    trust = models.Trust.get().id
    enroll("佐倉 美咲").post("/account/trusts/remove", {"trust": trust})
    assert models.Trust.select().where(models.Trust.id == trust).exists()
    assert nao.get("/").url == "/"


def test_what_is_over_is_deleted_and_the_trail_is_kept_as_long_as_set(nao, time):

    day = 86400
    nao.post("/account/password", {"password": "wrong", "new-password": NEW})
    assert models.Challenge.select().exists()
    assert models.Counter.select().exists()
    housekeeping.sweep(time() + 2 * day, audit_days=30)
    assert not models.Challenge.select().exists()
    assert not models.Counter.select().exists()
    assert not models.Mail.select().where(models.Mail.challenge.is_null(False)).exists()
    assert models.Session.select().exists()
    assert models.Audit.select().exists()
    housekeeping.sweep(time() + 31 * day, audit_days=30)
    assert not models.Session.select().exists()
    assert not models.Audit.select().exists()
    assert models.Account.get(models.Account.email == "nao@example.jp").password_hash


def test_lines_of_the_trail_that_name_nobody_go_after_a_week(nao, app, time):
    models.Audit.delete().execute()
    stranger = Phone(app)
    for path in map(str, app.url_map.iter_rules()):  # whatever form a stranger sends
        sent = {"username": "nobody", "password": "x", "email": "x@example.jp", "answer": "{}"}
        stranger.client.post(path, data=sent, headers={"Sec-Fetch-Site": "same-origin"})
    strangers = {line.action for line in models.Audit.select()}
    assert strangers == {"login.failed", "passkey.failed", "reset.asked"}
    assert not models.Audit.select().where(models.Audit.member.is_null(False)).exists()
    for action in ("roster.imported", "members.purged"):
        Audit.note(time(), action, None)
    for action in ("login.failed", "reset.asked"):
        Audit.note(time(), action, None, models.Account.get().member_id)

    def kept():
        lines = models.Audit.select().order_by(models.Audit.id)
        return [(line.action, line.member is None) for line in lines]

    housekeeping.sweep(time() + 7 * 86400, audit_days=30)
    assert len(kept()) == 7
    housekeeping.sweep(time() + 7 * 86400 + 1, audit_days=30)
    assert kept() == [
        ("roster.imported", True),
        ("members.purged", True),
        ("login.failed", False),
        ("reset.asked", False),
    ]


@pytest.mark.parametrize("email", ["nao@example.jp", "other@example.jp"])
def test_an_address_that_a_reissue_kept_is_told_if_the_letter_registers_another(
    nao, app, letters, time, mails, monkeypatch, tmp_path, email
):
    monkeypatch.setattr("commands.people.moment", time)
    letter = tmp_path / "letter.csv"
    arguments = ["--keep-email", "--credentials", str(letter)]
    done = app.test_cli_runner().invoke(args=["members", "reissue", letters[NAO][0], *arguments])
    assert done.exit_code == 0, done.output
    time.pass_(16 * 60)
    mails.clear()
    phone = Phone(app)
    phone.get("/login")
    login_id, temporary = logins_in(tmp_path, "letter.csv")[NAO]
    phone.send(username=login_id, password=temporary)
    phone.send(bday="19790612", new_password=NEW, email=email)
    phone.send(code=mails.code)
    assert phone.page.url == "/", phone.page.text
    told = [mail["To"] for mail in mails if "変わりました" in mail["Subject"]]
    assert told == ["nao@example.jp"] * (email != "nao@example.jp")


@pytest.mark.parametrize("ending", ["reissue", "trust removed"])
def test_a_login_that_had_begun_does_not_outlive_what_ends_it(
    trusted, app, letters, time, monkeypatch, tmp_path, ending
):
    monkeypatch.setattr("commands.people.moment", time)
    held, go_on, noted = threading.Event(), threading.Event(), Audit.note

    def slow(now, action, *rest):
        if action == "login":  # start_session holds the account here
            held.set()
            go_on.wait(20)
        noted(now, action, *rest)

    monkeypatch.setattr(Audit, "note", slow)
    account, trust = accounts.find(letters[NAO][0]), models.Trust.get()
    models.database.close()
    with ThreadPoolExecutor(1) as pool:
        login = pool.submit(sessions.start_session, account, "x", time(), trust, time() + 86400)
        assert held.wait(20)
        threading.Timer(0.3, go_on.set).start()  # while the other waits for it
        if ending == "reissue":
            out = ["--credentials", str(tmp_path / "letter.csv")]
            done = app.test_cli_runner().invoke(
                args=["members", "reissue", letters[NAO][0], "--addressee", NAO, *out]
            )
            assert done.exit_code == 0, done.output
        else:
            trusted.post("/account/trusts/remove", {"trust": trust.id})
        started = login.result(20)
    assert models.Session.get_by_id(started.id).ended_at is not None


@pytest.mark.parametrize("page", ["certificate", "forgot"])
def test_an_account_that_is_deleted_while_a_page_uses_it_is_no_error(
    nao, letters, monkeypatch, page
):
    member = accounts.find(letters[NAO][0]).member_id
    table, name = {"certificate": (models.Display, "create"), "forgot": (models.Mail, "queue")}[
        page
    ]
    real = getattr(table, name)

    def meanwhile(*args, **values):
        accounts.withhold([member])
        return real(*args, **values)

    path = nao.page.link("/certificates/")
    monkeypatch.setattr(table, name, meanwhile)
    if page == "certificate":
        assert nao.get(path).url == "/login"
    else:
        ask = {"username": letters[NAO][0], "email": "nao@example.jp"}
        assert nao.post("/password/forgot", ask).status == 200


def test_a_trail_of_no_days_ends_no_login_that_runs(nao, time):

    assert models.Audit.select().where(models.Audit.action != "roster.imported").exists()
    time.pass_(60)
    housekeeping.sweep(time(), audit_days=0)
    assert nao.get("/").url == "/"
    assert not models.Audit.select().where(models.Audit.action != "roster.imported").exists()


def test_a_key_that_rotates_logs_nobody_out_and_voids_no_link(
    nao, app, letters, mails, monkeypatch, time
):
    import json

    from app import create_app
    from tests.support.people import KEY

    ask(app, letters[NAO][0], "nao@example.jp")
    link = mails.link.removeprefix("http://localhost")
    (cookie,) = [c for c in nao.client._cookies.values() if c.key == "session"]
    monkeypatch.setenv("KAKUNIN_SECRET_KEY", "b7" * 32)
    monkeypatch.setenv("KAKUNIN_SECRET_KEY_FALLBACKS", json.dumps([KEY]))
    rotated = Phone(create_app(now=time))
    rotated.client.set_cookie("session", cookie.value)
    assert rotated.get("/").url == "/"
    assert rotated.get(link).status == 200
    stranger = Phone(rotated.client.application)
    stranger.get("/login")
    assert (
        stranger.send(username=letters["佐倉 美咲"][0], password=letters["佐倉 美咲"][1]).url
        == "/welcome"
    )
    monkeypatch.delenv("KAKUNIN_SECRET_KEY_FALLBACKS")
    forgotten = Phone(create_app(now=time))
    forgotten.client.set_cookie("session", cookie.value)
    assert forgotten.get("/").url == "/login"


def test_a_password_is_hashed_anew_when_the_parameters_rise(nao, log_in, monkeypatch, slow_hasher):
    own = models.Account.email == "nao@example.jp"
    assert "m=8,t=1,p=1" in models.Account.get(own).password_hash
    monkeypatch.setattr(passwords, "HASHER", slow_hasher)
    log_in(NAO)
    # OWASP's first choice for argon2id
    assert models.Account.get(own).password_hash.startswith("$argon2id$v=19$m=19456,t=2,p=1$")


def test_the_database_file_is_its_owners_alone(tmp_path):
    database.connect(f"sqlite:///{tmp_path}/new.db")
    database.make_database()
    assert (tmp_path / "new.db").stat().st_mode & 0o777 == 0o600


def broken(_):
    """As PostgreSQL puts it: with the value, and in the cause as well."""
    words = "Key (email_key)=(nao@example.jp) already exists."
    try:
        raise ValueError(words)
    except ValueError as cause:
        raise IntegrityError(words) from cause


def test_trail_and_logs_hold_nothing_that_names_anybody(
    nao, app, letters, mails, log_in, caplog, capsys, monkeypatch
):
    from tests.test_mailer import Broken

    monkeypatch.setattr(app.extensions["kakunin"].clock.app, "log", True)
    certificate = nao.get("/").link("/certificates/")
    clock = nao.get(certificate).clock["hx-get"]
    log_in(NAO)
    stranger = Phone(app)
    stranger.get("/login")
    stranger.send(username=letters[NAO][0], password="a wrong password 1")
    ask(app, letters[NAO][0], "nao@example.jp")
    post = app.extensions["kakunin"].mailer
    monkeypatch.setattr(
        post, "wake", lambda: post.drain(Broken(ConnectionRefusedError("nao@example.jp")))
    )
    nao.post("/login")
    ask(app, letters[NAO][0], "nao@example.jp")
    nao.get(mails.link.removeprefix("http://localhost"))
    nao.get(f"{clock}x")  # a tick that is refused
    monkeypatch.setattr("views.home.today", broken)
    monkeypatch.setitem(app.config, "PROPAGATE_EXCEPTIONS", False)
    assert nao.get("/").status == 500
    lines = capsys.readouterr().err
    trail = str(list(models.Audit.select().dicts())) + caplog.text + lines
    for endpoint in (
        "login.login",
        "certificate.show",
        "certificate.clock",
        "password.reset",
        "home.home",
    ):
        assert f'"endpoint": "{endpoint}"' in lines
    assert "login.failed" in trail
    assert "IntegrityError" in trail
    assert "def broken" not in trail
    assert "in broken" in trail, "the log does not say where"
    assert "not sent" in trail
    for secret in (
        letters[NAO][0],
        letters[NAO][0].replace("-", ""),
        PASSWORD,
        "a wrong password",
        "nao@example.jp",
        "佐倉",
        "203.0.113.7",
        certificate.rpartition("/")[2],
        clock.rpartition("/")[2],
        next(cookie.value for cookie in nao.client._cookies.values() if "session" in cookie.key),
    ):
        assert secret not in trail
    assert mails.link.rpartition("/")[2] not in trail


def test_what_is_over_is_deleted_in_portions(app, time, monkeypatch):
    """Eleven nameless rows go by threes, none of which is more than its statement may delete."""
    monkeypatch.setattr(housekeeping, "PORTION", 3)
    for number in range(11):
        models.Audit.create(at=int(time()) - 8 * 86400, action="login.failed", detail=str(number))
    deleted, real = [], ModelDelete.execute

    def counted(query, *given):
        deleted.append(real(query, *given))
        return deleted[-1]

    before = models.Audit.select().where(models.Audit.action != "login.failed").count()
    monkeypatch.setattr(ModelDelete, "execute", counted)
    housekeeping.sweep(time(), audit_days=30)
    assert deleted[-4:] == [3, 3, 3, 2]
    left = models.Audit.select(models.Audit.action)
    assert "login.failed" not in {row.action for row in left}
    assert left.count() == before


def test_a_new_password_is_told_once(nao, mails):
    sent = len(mails)
    nao.get("/account/password")
    nao.send(password=PASSWORD, new_password="a quite new one 77")
    assert len(mails) == sent + 1
