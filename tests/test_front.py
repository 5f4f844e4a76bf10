"""Tests of the layers in front of Flask: the headers on every answer, the Host check, the limits on
requests, and malformed input.
"""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from peewee import OperationalError

from front.admission import ConcurrencyLimit, Line
from tests.support.machines import until
from tests.support.people import NAO
from tests.support.phone import Phone

EVERYWHERE = [
    "Content-Security-Policy",
    "X-Content-Type-Options",
    "Referrer-Policy",
    "Cross-Origin-Opener-Policy",
    "Cross-Origin-Resource-Policy",
    "Permissions-Policy",
]


@pytest.mark.parametrize("path", ["/login", "/nothing", "/healthz", "/static/none.css"])
def test_security_headers_stand_on_every_answer(app, path):
    response = app.test_client().get(path)
    assert [name for name in EVERYWHERE if name not in response.headers] == []
    assert "unsafe" not in response.headers["Content-Security-Policy"]


def test_static_files_carry_them_too_and_are_kept_for_a_year(app):
    page = Phone(app).get("/login")
    (css,) = [
        part
        for part in page.html.split('"')
        if part.startswith("/static/app.") and part.endswith(".css")
    ]
    response = app.test_client().get(css, headers={"Accept-Encoding": "br"})
    assert response.status_code == 200
    assert [name for name in EVERYWHERE if name not in response.headers] == []
    assert response.headers["Cache-Control"] == "max-age=31536000, public, immutable"
    assert response.headers["Content-Encoding"] == "br"
    response.close()


def test_behind_tls_cookies_are_host_bound_and_hsts_stands(app, monkeypatch):
    monkeypatch.setenv("KAKUNIN_BASE_URL", "https://web.example.jp")
    monkeypatch.delenv("KAKUNIN_INSECURE_COOKIES")
    from app import create_app

    client = create_app().test_client()
    response = client.get("/login", base_url="https://web.example.jp")
    # of this host alone: whether its siblings have TLS is not for Kakunin to say
    assert response.headers["Strict-Transport-Security"] == "max-age=31536000"
    assert client.application.config["SESSION_COOKIE_NAME"] == "__Host-session"
    assert client.application.extensions["kakunin"].clock.lease_cookie == "__Secure-lease"


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "",
        "[",
        "localhost@evil.example",
        "evil@localhost",
        "localhost/x",
        "localhost#x",
        "localhost?x",
        "localhost:80:80",
        "localhost:x",
        "localhost ",
        "evil.example:80",
    ],
)
def test_a_host_that_is_not_ours_is_refused(app, host):
    assert app.test_client().get("/login", headers={"Host": host}).status_code == 400


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST", "localhost:8000", "127.0.0.1", "[::1]:8000"]
)
def test_our_own_host_is_taken_with_any_port(app, host):
    assert app.test_client().get("/login", headers={"Host": host}).status_code == 200


def test_the_health_check_is_answered_under_any_host(app):
    assert app.test_client().get("/healthz", headers={"Host": "10.0.0.7"}).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "options"),
    [
        ("GET", "/certificates/%00/clock/%ff", {}),
        ("GET", "/certificates/a%0d%0aSet-Cookie:%20x=1/clock/b;%20Domain=x", {}),
        ("GET", "/certificates/%E3%81%82/clock/%E3%81%82", {}),
        ("GET", "/certificates/" + "x" * 5000, {}),
        ("GET", "/password/reset/" + "é" * 300, {}),
        ("GET", "/login?next=%ff%fe", {}),
        ("PUT", "/login", {}),
        ("TRACE", "/login", {}),
        (
            "POST",
            "/login",
            {"data": b"\xff\xfe=\x00", "content_type": "application/x-www-form-urlencoded"},
        ),
        ("POST", "/login", {"data": "{", "content_type": "application/json"}),
        ("POST", "/login", {"data": {"username": "x" * 1_000_000, "password": "y"}}),
        ("POST", "/login", {"data": "--x\r\n", "content_type": "multipart/form-data; boundary=x"}),
        (
            "POST",
            "/login",
            {
                "data": "&".join(f"a{n}=1" for n in range(5000)),
                "content_type": "application/x-www-form-urlencoded",
            },
        ),
        ("GET", "/login", {"headers": {"Cookie": "session=" + "x" * 60000}}),
        ("GET", "/login", {"headers": {"Range": "bytes=0-0,9-"}}),
        ("POST", "/healthz", {}),
    ],
)
def test_bad_input_gets_a_page_and_never_a_500(app, method, path, options):
    headers = {"Sec-Fetch-Site": "same-origin"} | options.pop("headers", {})
    response = app.test_client(use_cookies=False).open(
        path, method=method, headers=headers, **options
    )
    assert response.status_code < 500, response.get_data(as_text=True)


def test_an_error_page_explains_itself_in_japanese(app):
    page = Phone(app).get("/static/none.css")
    assert page.status in (303, 404) or page.url == "/login"
    page = Phone(app).post("/login", {"username": "x" * 100_000})
    assert page.status == 413
    assert "長すぎます" in page.text


def looks_like_the_others(app, page) -> bool:
    """Return whether a page has the brand, a stylesheet that is there, and a button."""
    (style,) = re.findall(r'<link rel="stylesheet" href="([^"]+)"', page.html)
    with app.test_client().get(style) as answer:
        there = answer.status_code == 200
    return there and "WEB資格確認書" in page.text and 'class="button main"' in page.html


def test_what_stands_before_flask_answers_with_the_face_of_the_other_pages(app):
    assert looks_like_the_others(app, Phone(app).post("/login", {"username": "x" * 100_000}))


@pytest.mark.parametrize(
    ("language", "words"),
    [("ja", ["もう一度開く", "混み合っているか"]), ("en", ["Try again", "under maintenance"])],
)
def test_while_the_database_is_away_the_page_says_so_and_whom_to_call(app, language, words):
    def away():
        raise OperationalError

    app.view_functions["home.help"] = away
    phone = Phone(app)
    phone.client.set_cookie("lang", language)
    page = phone.get("/help")
    assert (page.status, page.response.headers["Retry-After"]) == (503, "10")
    assert "tel:03-0000-1234" in page.links
    for word in words:
        assert word in page.text
    if language == "ja":
        assert looks_like_the_others(app, page)


class Stuck:
    """Views that do not end: whoever is admitted stays, but for health checks."""

    def __init__(self, most: int, known: bool) -> None:
        self.leave = threading.Event()
        self.door = ConcurrencyLimit(self.view, most, lambda environ: "somebody" if known else "")
        self.threads: list[threading.Thread] = []

    def view(self, environ, start_response):
        if environ.get("PATH_INFO") != "/healthz":
            self.entered.set()
            self.leave.wait(60)
        start_response("200 OK", [])
        return [b""]

    def send(self, method: str) -> tuple[str, dict] | None:
        """Return None if the request was admitted or waits in line; else its status and when to
        come again."""
        answers, before = [], self.in_line()
        self.entered = threading.Event()

        def ask():
            self.door(
                {"REQUEST_METHOD": method},
                lambda status, headers: answers.append((status, dict(headers))),
            )
            self.entered.set()

        thread = threading.Thread(target=ask)
        thread.start()
        self.threads.append(thread)
        until(lambda: self.entered.is_set() or self.in_line() > before)
        return answers[0] if answers else None

    def in_line(self) -> int:
        """Return how many wait. Whoever finds a line full is in it for a moment, under its lock."""
        waiting = 0
        for line in (self.door.strangers, self.door.known, self.door.pages):
            with line.lock:
                waiting += len(line.waiting)
        return waiting


@pytest.mark.slow
@pytest.mark.parametrize(("known", "forms"), [(False, 2 + 9), (True, 2 + 5)])
def test_whatever_forms_are_stuck_pages_are_admitted_and_no_more_than_there_are_places(
    known, forms
):
    stuck = Stuck(32, known)
    try:
        sent = [stuck.send("POST") for _ in range(40)]
        assert sent.count(None) == forms
        pages = [stuck.send("GET") for _ in range(40)]
        assert pages.count(None) == 3 + 7
        status, headers = pages[-1]
        assert (status, headers["Retry-After"]) == ("503 Service Unavailable", "3")
    finally:
        stuck.leave.set()
        for thread in stuck.threads:
            thread.join()
    status = [(stuck.send("POST") or ("200 OK",))[0] for _ in range(40)]
    assert set(status) == {"200 OK"}  # what was taken was given back


@pytest.mark.slow
def test_whatever_is_stuck_health_checks_are_answered_in_two_seconds():
    stuck = Stuck(32, known=False)
    statuses, begun = [], 0.0
    try:
        for method in ["POST"] * 40 + ["GET"] * 40:
            stuck.send(method)
        begun = time.monotonic()
        for _ in range(3):
            asked = {"REQUEST_METHOD": "GET", "PATH_INFO": "/healthz"}
            stuck.door(asked, lambda status, _: statuses.append(status))
        assert statuses == ["200 OK"] * 3
        assert time.monotonic() - begun < 2
    finally:
        stuck.leave.set()
        for thread in stuck.threads:
            thread.join()


def waiting_for(line: Line, *senders: str) -> dict[str, Future[bool]]:
    """Let these senders come, one after the other. Each future tells whether its sender got in."""
    asked: dict[str, Future[bool]] = {}
    for sender in senders:
        asked[sender] = Future()
        threading.Thread(target=lambda s=sender: asked[s].set_result(line.enter(s))).start()
        until(
            lambda: (
                len(line.waiting) + sum(future.done() for future in asked.values()) == len(asked)
            )
        )
    return asked


def test_of_whom_less_was_noted_goes_first_and_of_whom_most_waits_no_longer():
    line = Line(1, 2)
    assert line.enter("first")
    for sender, times in (("often", 3), ("once", 1)):
        for _ in range(times):
            line.note(sender)
    asked = waiting_for(line, "often", "once", "newcomer", "second newcomer", "often again")
    assert (
        asked["often"].result(5)
        is asked["once"].result(5)
        is asked["often again"].result(5)
        is False
    )
    assert not asked["newcomer"].done()
    line.leave("first")
    assert asked["newcomer"].result(5)
    assert not asked["second newcomer"].done()
    line.leave("newcomer")
    assert asked["second newcomer"].result(5)
    line.leave("second newcomer")
    assert (line.free, line.here) == (1, {})


def test_nobody_waits_in_line_longer_than_its_patience():
    line = Line(1, 2, patience=0.05)
    assert line.enter("first")
    began = time.monotonic()
    assert not line.enter("second")
    assert time.monotonic() - began < 5
    line.leave("first")
    assert line.enter("third")
    assert line.here == {"third": 1}


def test_each_minute_halves_what_is_noted_of_a_sender():
    moment = [0.0]
    line = Line(1, 1, now=lambda: moment[0])
    for _ in range(5):
        line.note("clumsy")
    moment[0] = 125
    line.note("other")
    assert line.noted == {"clumsy": 1, "other": 1}
    moment[0] = 180
    line.note("other")
    assert line.noted == {"other": 1}


# method, path, and of each connection of the flood: address and cookie
FLOODS = {
    "wrong passwords from many addresses": ("POST", lambda n: (f"10.0.{n}.1", "")),
    "forms by one member": ("POST", lambda n: (f"10.0.{n}.1", "member")),
    "forms by the logins of one address": ("POST", lambda n: ("10.0.0.1", f"login {n}")),
    "pages by one address": ("GET", lambda n: ("10.0.0.1", "")),
    "pages by many addresses": ("GET", lambda n: (f"10.0.{n}.1", "")),
    "pages by one member": ("GET", lambda n: (f"10.0.{n}.1", "member")),
}


@pytest.mark.slow
@pytest.mark.parametrize("flood", FLOODS)
def test_whoever_floods_keeps_nobody_else_out(flood):
    method, sender = FLOODS[flood]
    over, coming = threading.Event(), threading.Barrier(41)

    def view(environ, start_response):
        time.sleep(0.005)
        wrong = environ["REMOTE_ADDR"].startswith("10.") and not environ["known"]
        start_response("422 Unprocessable Content" if wrong else "200 OK", [])
        return [b""]

    door = ConcurrencyLimit(view, 32, lambda environ: environ["known"])

    def send(address: str, known: str) -> str:
        answers = []
        asked = {"REQUEST_METHOD": method, "REMOTE_ADDR": address, "known": known}
        door(asked, lambda status, headers: answers.append(status[:3]))
        return answers[0]

    def pour(number: int) -> Counter[str]:
        seen = Counter({send(*sender(number)): 1})
        coming.wait(20)
        while not over.is_set():
            seen[send(*sender(number))] += 1
            time.sleep(0.005)
        return seen

    with ThreadPoolExecutor(40) as pool:
        floods = [pool.submit(pour, number) for number in range(40)]
        coming.wait(20)
        others = "person " if sender(0)[1] else ""
        answers = [send(f"203.0.113.{n}", others and f"{others}{n}") for n in range(50)]
        over.set()
    seen = sum((flood.result() for flood in floods), Counter())
    assert set(answers) == {"200"}
    assert seen["503"] > 50, "there was no flood"


@pytest.mark.parametrize(
    "path", ["/login", "/password/forgot", "/password/reset/x", "/welcome", "/code/login/resend"]
)
def test_a_stranger_takes_a_strangers_place(app, path):
    assert not known(app, path)


def test_whoever_was_right_about_a_password_takes_another(app, enroll, letters):
    phones = [Phone(app), Phone(app)]
    for phone in phones:
        phone.get("/login")
        phone.send(username=letters[NAO][0], password=letters[NAO][1])
    (name,) = {known(app, "/welcome", phone) for phone in phones}  # one letter is one sender
    assert name
    phone = enroll(NAO)
    for path in ("/account/password", "/login/code", "/code/login/resend", "/logout"):
        assert known(app, path, phone)
    assert not known(app, "/login", phone)  # that form is open to everybody
    (cookie,) = [c for c in phone.client._cookies.values() if c.key == "session"]
    # the last letter but one: of the last, base64 ignores two bits
    altered = "A" if cookie.value[-2] != "A" else "B"
    phone.client.set_cookie("session", cookie.value[:-2] + altered + cookie.value[-1])
    assert not known(app, "/welcome", phone)


def known(app, path: str, phone: Phone | None = None) -> str:
    """Return under which name a form sent there takes a place of those who are known, if it does."""
    layer = app.wsgi_app
    while not isinstance(layer, ConcurrencyLimit):
        layer = getattr(layer, "application", None) or layer.app
    cookies = (
        "; ".join(f"{c.key}={c.value}" for c in phone.client._cookies.values()) if phone else ""
    )
    return layer.known_as({"PATH_INFO": path, "HTTP_COOKIE": cookies})


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8:0:0:1::1", "2001:db8::2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:203.0.113.7", "203.0.113.7", True),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("203.0.113.7", "203.0.113.8", False),
        ("203.0.113.7:50000", "203.0.113.7:50001", True),
        ("203.0.113.7:50000", "203.0.113.8:50000", False),
        ("[2001:db8::1]:50000", "2001:db8::2", True),
    ],
)
def test_an_ipv6_network_counts_as_one_address(app, one, other, same):
    from views.forms import address

    found = []
    for client in (one, other):
        with app.test_request_context(environ_base={"REMOTE_ADDR": client}):
            found.append(address())
    assert (found[0] == found[1]) is same


@pytest.fixture
def sixteen(app, monkeypatch):
    """The program of a server with sixteen threads."""
    monkeypatch.setenv("THREADS", "16")
    from app import create_app

    return create_app()


class Held:
    """Lets threads wait in it until leave() says otherwise, and counts them."""

    def __init__(self) -> None:
        self.entered, self.gate, self.inside = threading.Semaphore(0), threading.Event(), 0

    def __call__(self, *_) -> bytes:
        self.inside += 1
        self.entered.release()
        assert self.gate.wait(20)
        return b""

    read = __call__


def answers_of(held: Held, ask, count: int) -> list[int]:
    """Return the statuses of `count` requests at once, of which those that got in are let go when
    the rest is answered."""
    answers: list[int] = []
    threads = [
        threading.Thread(target=lambda: answers.append(ask().status_code)) for _ in range(count)
    ]
    for thread in threads:
        thread.start()
    until = time.monotonic() + 10
    while held.inside + len(answers) < count and time.monotonic() < until:
        time.sleep(0.01)
    held.gate.set()
    for thread in threads:
        thread.join()
    return sorted(answers)


@pytest.mark.slow
def test_of_slow_pages_a_fifth_of_the_threads_are_held_at_most(sixteen):
    held = Held()
    sixteen.view_functions["home.help"] = lambda: held().decode()
    answers = answers_of(held, lambda: sixteen.test_client().get("/help"), 8)
    assert answers == [200] * 3 + [503] * 5


@pytest.mark.parametrize("one", ["203.0.113.7", "2001:db8::{}"])
def test_one_address_cannot_take_every_reader_of_bodies(sixteen, one):
    held = Held()

    def send(address: str):
        sent = {"wsgi.input": held, "CONTENT_LENGTH": "9", "REMOTE_ADDR": address}
        return sixteen.test_client().post(
            "/login", headers={"Sec-Fetch-Site": "same-origin"}, environ_overrides=sent
        )

    addresses = iter([*(one.format(number) for number in range(1, 8)), "198.51.100.1"])
    others: list[int] = []

    def ask():
        address = next(addresses)
        answer = send(address)
        others.extend([answer.status_code] if address.startswith("198") else [])
        return answer

    answers_of(held, ask, 8)
    assert 0 < held.inside < 4
    assert others
    assert 503 not in others


def test_a_head_that_is_too_long_is_refused_with_a_sentence(app):
    response = app.test_client(use_cookies=False).get(
        "/login", headers={"Cookie": "session=" + "x" * 20_000}
    )
    assert response.status_code == 431
    assert "Cookie" in response.get_data(as_text=True)


def test_an_address_puts_nothing_into_a_cookie(app):
    response = app.test_client().get("/certificates/a%0d%0aX:%20y/clock/b;%20Domain=x")
    (cookie,) = response.headers.getlist("Set-Cookie")
    assert "Domain" not in cookie.replace("%20Domain", "")
    assert "X" not in response.headers


def test_a_page_is_noted_of_a_stranger_alone():
    door = ConcurrencyLimit(
        lambda _, start: start("200 OK", []) or [b""], 32, lambda environ: environ["known"]
    )
    for known in ("", "member"):
        asked = {"REQUEST_METHOD": "GET", "REMOTE_ADDR": "10.0.0.1", "known": known}
        door(asked, lambda *_: None)
    assert door.pages.noted == {"10.0.0.1": 1}
