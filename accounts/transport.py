"""How one mail goes out: to a mail server, or into a folder."""

from __future__ import annotations

import secrets
import smtplib
import ssl
import sys
import time
from email.message import EmailMessage
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

TIMEOUT = 20
"""Seconds that a mail server may take for a step."""


class Transport:
    """A connection to the mail server or the folder that KAKUNIN_MAIL_URL names. It must be used by
    one thread only.

    It greets with the domain of `sender`. smtplib would look up the name of the machine for each
    connection, for which a code would wait five seconds if DNS does not answer.
    """

    def __init__(self, url: str, sender: str) -> None:
        self.url, self.own_name = urlsplit(url), sender.rpartition("@")[2]
        self.smtp: smtplib.SMTP | None = None

    def send(self, message: EmailMessage) -> None:
        """Send a message. Raise OSError or smtplib.SMTPException if that fails."""
        if self.url.scheme == "outbox":
            return self._to_outbox(message)
        try:
            self.connect().send_message(message)
        except BaseException:
            self.close()
            raise

    def connect(self) -> smtplib.SMTP:
        """Return the connection to the mail server, which is made and logged in first if there is
        none."""
        if self.smtp is None:
            self.smtp = self._connect()
        return self.smtp

    def close(self) -> None:
        if self.smtp is not None:
            self.smtp.close()
            self.smtp = None

    def _connect(self) -> smtplib.SMTP:
        host, tls = self.url.hostname or "localhost", ssl.create_default_context()
        if self.url.scheme == "smtps":
            smtp: smtplib.SMTP = smtplib.SMTP_SSL(
                host, self.url.port or 465, self.own_name, timeout=TIMEOUT, context=tls
            )
        else:
            smtp = smtplib.SMTP(host, self.url.port or 25, self.own_name, timeout=TIMEOUT)
        try:
            if parse_qs(self.url.query).get("starttls") == ["1"]:
                smtp.starttls(context=tls)
            if self.url.username:
                smtp.login(unquote(self.url.username), unquote(self.url.password or ""))
        except BaseException:
            smtp.close()
            raise
        return smtp

    def _to_outbox(self, message: EmailMessage) -> None:
        """Write the mail into a folder and onto the terminal, as the demo does."""
        folder = Path(self.url.path)
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{time.strftime('%H%M%S')}-{secrets.token_hex(3)}.eml"
        (folder / name).write_bytes(message.as_bytes())
        body = message.get_content()
        sys.stdout.write(f"\n--- mail to {message['To']}: {message['Subject']}\n{body}---\n")
        sys.stdout.flush()
