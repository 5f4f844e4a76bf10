"""What stands before Flask: headers on every answer, the Host check, admission; and input that is none."""

from __future__ import annotations

import threading
import time

import pytest

from front import Admission
from tests.phone import Phone

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
    (css,) = [part for part in page.html.split('"') if part.startswith("/static/app.") and part.endswith(".css")]
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
    assert "max-age=" in response.headers["Strict-Transport-Security"]
    assert client.application.config["SESSION_COOKIE_NAME"] == "__Host-session"
    assert client.application.extensions["kakunin"].clock.lease_cookie == "__Secure-lease"


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "", "[", "localhost@evil.example", "evil.example:80"]
)
def test_a_host_that_is_not_ours_is_refused(app, host):
    assert app.test_client().get("/login", headers={"Host": host}).status_code == 400


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
        ("POST", "/login", {"data": b"\xff\xfe=\x00", "content_type": "application/x-www-form-urlencoded"}),
        ("POST", "/login", {"data": "{", "content_type": "application/json"}),
        ("POST", "/login", {"data": {"username": "x" * 1_000_000, "password": "y"}}),
        ("POST", "/login", {"data": "--x\r\n", "content_type": "multipart/form-data; boundary=x"}),
        (
            "POST",
            "/login",
            {"data": "&".join(f"a{n}=1" for n in range(5000)), "content_type": "application/x-www-form-urlencoded"},
        ),
        ("GET", "/login", {"headers": {"Cookie": "session=" + "x" * 60000}}),
        ("GET", "/login", {"headers": {"Range": "bytes=0-0,9-"}}),
        ("POST", "/healthz", {}),
    ],
)
def test_bad_input_gets_a_page_and_never_a_500(app, method, path, options):
    headers = {"Sec-Fetch-Site": "same-origin"} | options.pop("headers", {})
    response = app.test_client(use_cookies=False).open(path, method=method, headers=headers, **options)
    assert response.status_code < 500, response.get_data(as_text=True)


def test_an_error_page_explains_itself_in_japanese(app):
    page = Phone(app).get("/static/none.css")
    assert page.status in (303, 404) or page.url == "/login"
    page = Phone(app).post("/login", {"username": "x" * 100_000})
    assert page.status == 413
    assert "長すぎます" in page.text


def test_no_more_are_admitted_than_the_half_of_the_threads():
    entered, leave, answers = threading.Semaphore(0), threading.Event(), []

    def slow(environ, start_response):
        entered.release()
        leave.wait(5)
        start_response("200 OK", [])
        return [b""]

    door = Admission(slow, 2)

    def request():
        door({}, lambda status, headers: answers.append((status, dict(headers))))

    threads = [threading.Thread(target=request) for _ in range(2)]
    for thread in threads:
        thread.start()
        entered.acquire(timeout=5)
    request()
    assert answers[0][0] == "503 Service Unavailable"
    assert answers[0][1]["Retry-After"] == "3"
    leave.set()
    for thread in threads:
        thread.join()
    request()
    assert [status for status, _ in answers[1:]] == ["200 OK"] * 3


@pytest.fixture
def eight(app, monkeypatch):
    """The program of a server with eight threads."""
    monkeypatch.setenv("THREADS", "8")
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
    """Return the statuses of `count` requests at once, of which those that got in are let go when the rest is answered."""
    answers: list[int] = []
    threads = [threading.Thread(target=lambda: answers.append(ask().status_code)) for _ in range(count)]
    for thread in threads:
        thread.start()
    until = time.monotonic() + 10
    while held.inside + len(answers) < count and time.monotonic() < until:
        time.sleep(0.01)
    held.gate.set()
    for thread in threads:
        thread.join()
    return sorted(answers)


def test_slow_pages_take_half_of_the_threads_at_most(eight):
    held = Held()
    eight.view_functions["home.help"] = lambda: held().decode()
    answers = answers_of(held, lambda: eight.test_client().get("/help"), 8)
    assert answers == [200] * 4 + [503] * 4


def test_one_address_cannot_take_every_reader_of_bodies(eight):
    held = Held()

    def send(address: str):
        sent = {"wsgi.input": held, "CONTENT_LENGTH": "9", "REMOTE_ADDR": address}
        return eight.test_client().post("/login", headers={"Sec-Fetch-Site": "same-origin"}, environ_overrides=sent)

    addresses = iter(["203.0.113.7"] * 7 + ["198.51.100.1"])
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
    response = app.test_client(use_cookies=False).get("/login", headers={"Cookie": "session=" + "x" * 20_000})
    assert response.status_code == 431
    assert "Cookie" in response.get_data(as_text=True)


def test_an_address_puts_nothing_into_a_cookie(app):
    response = app.test_client().get("/certificates/a%0d%0aX:%20y/clock/b;%20Domain=x")
    (cookie,) = response.headers.getlist("Set-Cookie")
    assert "Domain" not in cookie.replace("%20Domain", "")
    assert "X" not in response.headers
