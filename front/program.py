"""Flask, as this program needs it."""

from __future__ import annotations

import traceback
from typing import Any

from flask import Flask, request
from flask.sessions import SecureCookieSessionInterface

from accounts.keys import Stamps
from front.middleware import REQUEST_ID


class Sessions(SecureCookieSessionInterface):
    """Flask's own sessions, for machines whose clocks differ a little."""

    def get_signing_serializer(self, app: Flask) -> Any:
        serializer = super().get_signing_serializer(app)
        if serializer is not None:
            serializer.signer = Stamps
        return serializer


class Program(Flask):
    """Flask, with a log that holds no address: a reset link is one."""

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
    """Return where an error and its causes were raised, and their types: none of their words, which
    may be an address."""
    told = ""
    while error is not None:
        told += "".join(traceback.format_tb(error.__traceback__)) + f"{type(error).__qualname__}\n"
        error = error.__cause__ or error.__context__
    return told
