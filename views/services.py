"""One typed object with the services that views use besides the tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from flask import current_app
from flask_htmx import HTMX

from accounts.keys import Keys
from accounts.mailer import Mailer
from front.clock import Clock

htmx = HTMX()
"""True in a request that htmx sent."""


@dataclass
class Services:
    """The application's keys, clock, mailer and source of time. They are stored in
    `app.extensions["kakunin"]`."""

    keys: Keys
    clock: Clock
    mailer: Mailer
    now: Callable[[], float]


def services() -> Services:
    return cast(Services, current_app.extensions["kakunin"])


def now() -> float:
    """Return the present moment, in seconds since 1970."""
    return services().now()
