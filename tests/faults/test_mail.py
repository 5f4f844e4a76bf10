"""A mail server that is not found, refuses the login, or cannot be trusted: the waiting person is
told, and the code goes out once that is mended. No test here sends anything to another machine."""

from __future__ import annotations

import contextlib
import logging
import ssl
import subprocess

import pytest
from aiosmtpd.smtp import AuthResult

from accounts.mailer import Transport
from tests.support.browsers import Postbox, receiving
from tests.test_mailer import asked  # noqa: F401

pytestmark = [
    # of the test's own server, and of smtplib where a handshake fails
    pytest.mark.filterwarnings("ignore:Session.login_data is deprecated"),
    pytest.mark.filterwarnings("ignore:unclosed <s:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


SENDER = "noreply@kakunin.example"


@pytest.fixture
def certificate(tmp_path):
    """A key and a certificate of localhost that nobody signed but itself."""
    key, made = tmp_path / "key.pem", tmp_path / "made.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run(
        [*command, *names, "-keyout", key, "-out", made], check=True, capture_output=True
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made, key)
    return context


@pytest.fixture
def server(certificate):
    """server(**options) starts a mail server on a free port, which takes the login ana:right over
    TLS alone."""
    with contextlib.ExitStack() as started:
        yield lambda **options: started.enter_context(receiving(Postbox(), "localhost", **options))


def send(post, address: str) -> None:
    """Send what is due to the mail server at this address."""
    with contextlib.closing(Transport(address, SENDER)) as transport:
        post.drain(transport)


def knows(_server, _session, _envelope, _mechanism, login):
    right = (login.login, login.password) == (b"ana", b"right")
    return AuthResult(success=right, handled=right)


@pytest.mark.parametrize(
    ("address", "options", "error"),
    [
        ("smtp://nowhere.invalid:25", (), "gaierror"),
        (
            "smtp://ana:wrong@localhost:{port}?starttls=1",
            ("trusted", "login"),
            "SMTPAuthentication",
        ),
        ("smtp://ana:right@localhost:{port}", (), "SMTPNotSupportedError"),
        ("smtp://localhost:{port}?starttls=1", ("tls",), "SSLCertVerificationError"),
        ("smtp://localhost:{port}?starttls=1", (), "SMTPNotSupportedError"),
        ("smtps://localhost:{port}", (), "SSLError"),
    ],
)
def test_a_mail_server_that_takes_nothing_is_told_and_outlived(
    asked,  # noqa: F811
    time,
    server,
    certificate,
    monkeypatch,
    caplog,
    address,
    options,
    error,
):
    phone, post = asked
    known = {"tls_context": certificate} if options else {}
    if "login" in options:
        known |= {"authenticator": knows}
    if "trusted" in options:
        monkeypatch.setattr(ssl, "create_default_context", trusting)
    box = server(**known)
    broken = Transport(address.format(port=box.port), SENDER)
    with caplog.at_level(logging.WARNING, "kakunin.mail"):
        post.drain(broken)
        assert "送れませんでした" not in phone.get("/login/code").text
        time.pass_(4)
        post.drain(broken)
    told = [record.getMessage() for record in caplog.records if record.name == "kakunin.mail"]
    assert len(told) == 2
    assert all(f"(code) not sent: {error}" in line for line in told), told
    assert "送れませんでした" in phone.get("/login/code").text
    assert broken.smtp is None, "no connection is kept"
    time.pass_(16)
    mended = server()
    send(post, f"smtp://localhost:{mended.port}")
    assert len(mended.codes) == 1
    assert phone.send(code=mended.code()).url == "/"
    assert box.mails == []


def trusting() -> ssl.SSLContext:
    """A context that takes any certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def test_a_mail_server_that_takes_the_login_gets_the_code(
    asked,  # noqa: F811
    server,
    certificate,
    monkeypatch,
):
    monkeypatch.setattr(ssl, "create_default_context", trusting)
    box = server(tls_context=certificate, authenticator=knows)
    send(asked[1], f"smtp://ana:right@localhost:{box.port}?starttls=1")
    assert len(box.codes) == 1


class Greeted(Postbox):
    """Notes how each client calls itself."""

    def __init__(self):
        super().__init__()
        self.names = []

    async def handle_EHLO(self, _server, session, _envelope, hostname, responses):
        session.host_name = hostname
        self.names.append(hostname)
        return responses


def test_no_code_waits_until_dns_tells_the_machines_own_name(asked, monkeypatch):  # noqa: F811
    def silent(*_):
        raise AssertionError("DNS was asked for the name of this machine")

    monkeypatch.setattr("socket.getfqdn", silent)
    with receiving(Greeted()) as box:
        send(asked[1], f"smtp://127.0.0.1:{box.port}")
        assert (len(box.codes), box.names) == (1, ["kakunin.example"])
