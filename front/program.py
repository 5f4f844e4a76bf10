"""The subclass of Flask that this program uses."""

from __future__ import annotations

import logging
import traceback
from typing import Any

from flask import Flask, request
from flask.sessions import SecureCookieSessionInterface

from accounts.keys import Stamps
from front.middleware import REQUEST_ID


class Sessions(SecureCookieSessionInterface):
    """Flask's session cookies, accepted also if the clock of the machine that signed them is up to
    AHEAD seconds ahead."""

    def get_signing_serializer(self, app: Flask) -> Any:
        serializer = super().get_signing_serializer(app)
        if serializer is not None:
            serializer.signer = Stamps
        return serializer


class Lines(logging.Formatter):
    """Write the level and the time of each message. For systemd's journal, which has the time
    itself, begin each line with the level as sd-daemon(3) has it, so that `journalctl -p warning`
    finds it."""

    def __init__(self, *, journal: bool) -> None:
        super().__init__("%(message)s" if journal else "%(asctime)s %(levelname)s %(message)s")
        self.journal = journal

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        level = "<3>" if record.levelno >= logging.ERROR else "<4>"
        return level + text.replace("\n", f"\n{level}") if self.journal else text


def log_to_stderr(*, journal: bool) -> None:
    """Write warnings and errors to stderr, in the form of Lines."""
    handler = logging.StreamHandler()
    handler.setFormatter(Lines(journal=journal))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)


class Program(Flask):
    """Flask with an error log that contains no URLs, since a reset link is one."""

    session_interface = Sessions()

    def log_exception(self, exc_info: Any) -> None:
        own = request.environ.get(REQUEST_ID, "-")
        self.logger.error(
            "Exception in %s [%s], request %s\n%s",
            request.endpoint,
            request.method,
            own,
            _places(exc_info[1]),
        )


def _places(error: BaseException | None) -> str:
    """Return the traceback of an error and its causes with their types. Leave out their messages,
    which may hold an address."""
    told = ""
    while error is not None:
        told += "".join(traceback.format_tb(error.__traceback__)) + f"{type(error).__qualname__}\n"
        error = error.__cause__ or error.__context__
    return told
