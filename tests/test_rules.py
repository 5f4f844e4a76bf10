"""Rules that are checked for every endpoint, cookie and form: which URLs are private, which flags
cookies have, and which guesses are counted.
"""

from __future__ import annotations

import re

import pytest

from models import Counter
from tests.support.lock import Lock, add, unlock
from tests.support.people import BORN, NAO, PASSWORD
from tests.support.phone import Phone

PUBLIC = {
    "login.login",
    "login.code",
    "passkeys.login",
    "passkeys.login_options",
    "code.resend",
    "code.mail_state",
    "welcome.details",
    "welcome.code",
    "password.forgot",
    "password.reset",
    "certificate.clock",
    "home.help",
    "home.staff",
    "home.healthz",
    "language.switch",
}
"""What strangers may ask. Written out once more: adding an endpoint to the program's own list is a
decision."""

OWN = {"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost"}
NEW = "four silent otters 31"


def address_of(rule) -> str:
    """Return an address that the rule fits."""
    return re.sub(r"<(?:any\(([^,)]+)[^>]*|[^>]+)>", lambda found: found[1] or "1", rule.rule)


def test_strangers_are_sent_to_the_login_from_every_address_but_the_public_ones(app):
    asked = set()
    for rule in app.url_map.iter_rules():
        for method in sorted({"GET", "POST"} & rule.methods) if rule.endpoint not in PUBLIC else ():
            asked.add(rule.endpoint)
            told = app.test_client().open(address_of(rule), method=method, headers=OWN)
            place = told.headers.get("Location", "").partition("?")[0]
            assert (told.status_code, place) == (303, "/login"), f"{method} {rule}"
            told = app.test_client().open(
                address_of(rule), method=method, headers=OWN | {"HX-Request": "true"}
            )
            place = told.headers.get("HX-Redirect", "").partition("?")[0]
            assert (told.status_code, place, told.data) == (401, "/login", b""), (
                f"{method} {rule} of htmx"
            )
    assert len(asked) >= 10
    assert {rule.endpoint for rule in app.url_map.iter_rules()} >= PUBLIC


FLAGS = {
    "session": {"Path=/", "HttpOnly", "SameSite=Lax"},
    "trust": {"Path=/", "HttpOnly", "SameSite=Lax", "Max-Age=TRUST"},
    "browser": {"Path=/", "HttpOnly", "SameSite=Lax", "Max-Age=34560000"},
    "passkey": {"Path=/", "HttpOnly", "SameSite=Lax", "Max-Age=34560000"},
    "challenge": {"Path=/", "HttpOnly", "SameSite=Lax", "Max-Age=300"},
    "lang": {"Path=/", "HttpOnly", "SameSite=Lax", "Max-Age=31536000"},
    "lease": {"Path=CLOCK", "HttpOnly", "SameSite=Strict", "Max-Age=10"},
}
"""Every cookie that there is. TRUST stands for the seconds of KAKUNIN_TRUST_DAYS, CLOCK for the
address of a clock."""
SECURE_NAMES = {
    "session": "__Host-session",
    "trust": "__Host-trust",
    "browser": "__Host-browser",
    "passkey": "__Host-passkey",
    "challenge": "__Host-challenge",
    "lang": "lang",
    "lease": "__Secure-lease",
}


@pytest.mark.parametrize("secure", [False, True])
def test_every_cookie_of_a_whole_journey_is_in_the_table_with_its_flags(
    app, letters, mails, time, monkeypatch, secure
):
    if secure:
        monkeypatch.setenv("KAKUNIN_BASE_URL", "https://localhost")
        monkeypatch.delenv("KAKUNIN_INSECURE_COOKIES")
        from app import create_app

        app = create_app(now=time)
        mailer = app.extensions["kakunin"].mailer
        monkeypatch.setattr(mailer, "wake", lambda: mailer.drain(mails))
    taken = cookies_of(app)
    through_everything(SecurePhone(app) if secure else Phone(app), letters[NAO], mails, time)
    kinds = {SECURE_NAMES[kind] if secure else kind: kind for kind in FLAGS}
    for text in taken:
        name, _, value = text.partition("=")
        assert name in kinds, f"a cookie that is not in the table: {text}"
        flags = {shape_of(flag, app.config["TRUST_DAYS"]) for flag in value.split("; ")[1:]} - {""}
        expected = FLAGS[kinds[name]] | ({"Secure"} if secure else set())
        if value.startswith(";"):  # it is taken away
            flags, expected = (
                {flag for flag in some if "Max-Age" not in flag} for some in (flags, expected)
            )
        assert flags == expected, text
    assert {text.partition("=")[0] for text in taken} == set(kinds)


def shape_of(flag: str, trust_days: int) -> str:
    """Return a cookie's flag as the table has it; nothing for Expires, which says the same as
    Max-Age."""
    if re.fullmatch(r"Path=/certificates/[\w-]+/clock/[\w-]+", flag):
        return "Path=CLOCK"
    if flag == f"Max-Age={trust_days * 86400}":
        return "Max-Age=TRUST"
    return "" if flag.startswith("Expires=") else flag


def cookies_of(app) -> list[str]:
    """Return a list that each Set-Cookie of the program is added to from now on."""
    taken: list[str] = []
    inside = app.wsgi_app

    def watched(environ, start_response):
        def start(status, headers, *rest):
            taken.extend(value for name, value in headers if name == "Set-Cookie")
            return start_response(status, headers, *rest)

        return inside(environ, start)

    app.wsgi_app = watched
    return taken


class SecurePhone(Phone):
    """A phone behind TLS."""

    def get(self, path, **options):
        return super().get(path, base_url="https://localhost", **options)

    def post(self, path, data=None, **options):
        return super().post(
            path,
            data,
            base_url="https://localhost",
            headers={"Sec-Fetch-Site": "same-origin"},
            **options,
        )


def through_everything(phone, login, mails, time) -> None:
    """First use, trust, a passkey, a certificate until it ends, the other language, the account,
    logout, and a login each by passkey, by trust, and by a passkey that is over."""
    phone.get("/login")
    phone.send(username=login[0], password=login[1])
    phone.send(bday=BORN[NAO], new_password=PASSWORD, email="nao@example.jp")
    phone.send(code=mails.code, trust="yes")
    lock = Lock()
    lock.origin = phone.page.response.request.host_url.rstrip("/")
    add(phone, lock)
    phone.get(phone.page.link("/certificates/"))
    clock = phone.page.clock["hx-get"]
    for _ in range(12):
        assert phone.get(clock).ticks
        time.pass_(3)
    phone.get(f"{clock}x")
    phone.post("/language/en?next=/")
    phone.get("/account")
    phone.post("/logout")
    assert unlock(phone, lock).url == "/"
    phone.post("/logout")
    phone.get("/login")
    phone.send(username=login[0], password=PASSWORD)
    assert phone.page.url == "/", "a trusted phone needs no code"
    phone.get("/account/email")
    phone.send(password=PASSWORD, email="new@example.jp")
    phone.send(code=mails.code)
    assert phone.page.url == "/account"
    phone.post("/account/password", {"password": PASSWORD, "new-password": NEW})
    assert phone.page.url == "/login"
    assert unlock(phone, lock).status == 422


@pytest.fixture
def people(app, letters, mails, enroll):
    """What the forms below need to be reached."""

    class People:
        def stranger(self, path="/login", **fields):
            phone = Phone(app, "198.51.100.9")
            phone.get(path)
            return phone

        def with_letter(self, name=NAO):
            phone = self.stranger()
            phone.send(username=letters[name][0], password=letters[name][1])
            return phone

        def at_code(self):
            enroll(NAO)
            phone = self.stranger()
            phone.send(username=letters[NAO][0], password=PASSWORD)
            return phone

        def member(self):
            return enroll(NAO, "nao@example.jp")

        login_id = letters[NAO][0]

    people = People()
    people.mails = mails
    return people


def wrong_code(people) -> dict[str, str]:
    return {"code": f"{(int(people.mails.code) + 1) % 10**6:06}"}


def login_password(people):
    people.member()
    right = {"username": people.login_id, "password": PASSWORD}
    return people.stranger(), "/login", right | {"password": "a wrong password"}, right


def letter_password(people):
    return (
        people.stranger(),
        "/login",
        {"username": people.login_id, "password": "KAAAA-AAAA-AAAAA"},
        None,
    )


def unknown_id(people):
    return people.stranger(), "/login", {"username": "Z999-999-999", "password": "wrong"}, None


def birth_at_first_use(people):
    right = {"bday": BORN[NAO], "new-password": PASSWORD, "email": "n@example.jp"}
    return people.with_letter(), "/welcome", right | {"bday": "19790613"}, right


def code_at_first_use(people):
    phone = people.with_letter()
    phone.send(bday=BORN[NAO], new_password=PASSWORD, email="n@example.jp")
    return phone, "/welcome/code", wrong_code(people), {"code": people.mails.code}


def code_at_login(people):
    phone = people.at_code()
    return phone, "/login/code", wrong_code(people), {"code": people.mails.code}


def code_of_a_new_address(people):
    phone = people.member()
    phone.post("/account/email", {"password": PASSWORD, "email": "new@example.jp"})
    return phone, "/account/email/code", wrong_code(people), {"code": people.mails.code}


def own_password_for_a_new_one(people):
    right = {"password": PASSWORD, "new-password": NEW}
    return people.member(), "/account/password", right | {"password": "a wrong password"}, right


def own_password_for_a_new_address(people):
    right = {"password": PASSWORD, "email": "new@example.jp"}
    return people.member(), "/account/email", right | {"password": "a wrong password"}, right


def own_password_for_a_passkey(people):
    right = {"password": PASSWORD}
    return people.member(), "/account/passkey", {"password": "a wrong password"}, right


def id_and_address(people):
    people.member()
    wrong = {"username": people.login_id, "email": "other@example.jp"}
    return people.stranger(), "/password/forgot", wrong, None


def birth_at_reset(people):
    people.member()
    phone = people.stranger("/password/forgot")
    phone.send(username=people.login_id, email="nao@example.jp")
    link = people.mails.link.removeprefix("http://localhost")
    right = {"bday": BORN[NAO], "new-password": NEW}
    return phone, link, right | {"bday": "19790613"}, right


GUESSED = {
    "login.login": [login_password, letter_password, unknown_id],
    "welcome.details": [birth_at_first_use],
    "welcome.code": [code_at_first_use],
    "login.code": [code_at_login],
    "account.email_code": [code_of_a_new_address],
    "account.password": [own_password_for_a_new_one],
    "account.email": [own_password_for_a_new_address],
    "passkeys.add": [own_password_for_a_passkey],
    "password.forgot": [id_and_address],
    "password.reset": [birth_at_reset],
}
TAKES_NO_SECRET = {
    "code.resend",
    "login.logout",
    "account.end_others",
    "account.remove_trust",
    "passkeys.login_options",
    "passkeys.login",  # what it takes nobody guesses; failures are counted all the same
    "passkeys.add_options",
    "passkeys.keep",
    "passkeys.later",
    "passkeys.remove",
    "home.allow",
    "home.later",
    "language.switch",
}
GUESSES = 20
"""Wrong ones at the most, whichever form it is, until the next has to wait."""


@pytest.mark.parametrize(
    "reach",
    [reach for forms in GUESSED.values() for reach in forms],
    ids=lambda reach: reach.__name__,
)
def test_a_guess_is_counted_and_the_right_one_waits_with_the_wrong_ones(people, reach):
    phone, path, wrong, right = reach(people)
    answers = [phone.post(path, wrong).status for _ in range(GUESSES + 1)]
    assert answers[0] in (200, 422), phone.page.text
    assert answers[-1] == 429, answers
    assert int(phone.page.response.headers["Retry-After"]) >= 1
    if right is not None:
        assert phone.post(path, right).status == 429


def test_every_form_is_either_guessed_above_or_takes_no_secret(app):
    forms = {rule.endpoint for rule in app.url_map.iter_rules() if "POST" in rule.methods}
    assert forms == set(GUESSED) | TAKES_NO_SECRET


@pytest.mark.parametrize(
    ("proxies", "first", "second", "one"),
    [
        # what anybody may write into a header is not believed
        ("0", "198.51.100.1", "198.51.100.2", True),
        ("1", "198.51.100.1", "198.51.100.2", False),
        ("1", "198.51.100.1", "198.51.100.1", True),
        ("1", "2001:db8:1:2::1", "2001:db8:1:2:ffff::2", True),
        ("1", "2001:db8:1:2::1", "2001:db8:1:3::1", False),
    ],
)
def test_tries_are_counted_by_the_address_that_the_last_proxy_names(
    app, time, monkeypatch, proxies, first, second, one
):
    monkeypatch.setenv("KAKUNIN_PROXIES", proxies)
    from app import create_app

    client = create_app(now=time).test_client()
    counters = []
    for address in (first, second):
        headers = OWN | {"X-Forwarded-For": f"192.0.2.1, {address}"}
        client.post(
            "/login", data={"username": "Z999-999-999", "password": "wrong"}, headers=headers
        )
        counters.append(Counter.select().count())
    assert counters[0] == 3  # of the ID, of the address, and of the two together
    assert counters[1] - counters[0] == (0 if one else 2)
