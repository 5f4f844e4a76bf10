"""What all commands share: failures told in one sentence, the database, the keys."""

from __future__ import annotations

import contextlib
import datetime as dt
import sqlite3
import time
from collections.abc import Iterator
from typing import Any

import click
import peewee
import psycopg
from flask import current_app

import settings
from accounts.keys import Keys
from database import Busy, database
from dates import BadDate, parse_date
from imports.letters import CannotWrite
from models import Member


class Failed(click.ClickException):
    """One sentence on stderr, exit status 1."""

    def show(self, file: Any = None) -> None:
        click.echo(self.message, err=True)


class Day(click.ParamType[dt.date]):
    """A day in any form of the roster."""

    name = "date"

    def convert(self, value: Any, param: Any, ctx: Any) -> dt.date:
        try:
            return value if isinstance(value, dt.date) else parse_date(value)
        except BadDate as wrong:
            self.fail(f"{value}: {wrong}", param, ctx)


def moment() -> float:
    return time.time()


def keys() -> Keys:
    """Return the keys that letters are hashed with. Raise Failed if there is none, and BadSetting
    if it can be guessed."""
    if not current_app.config["SECRET_KEY"]:
        raise Failed(
            "KAKUNIN_SECRET_KEY がありません。仮パスワードはこの鍵で守られます。設定してからもう一度実行してください。"
        )
    settings.check_keys(current_app.config)
    return Keys(current_app.config["SECRET_KEY"], current_app.config["SECRET_KEY_FALLBACKS"])


@contextlib.contextmanager
def store() -> Iterator[None]:
    """Connect to the database, and tell in one sentence whatever goes wrong with it. Raise Failed."""
    try:
        with database.connection_context():
            if not database.table_exists(Member):
                raise Failed(
                    "データベースがまだありません。先に flask db upgrade を実行してください。"
                )
            yield
    except (Busy, CannotWrite) as refused:
        raise Failed(str(refused)) from refused
    except (sqlite3.Error, psycopg.Error, peewee.DatabaseError, OSError) as broken:
        raise Failed(
            f"保存できませんでした。データベースは元のままです（{broken}）。空き容量などを確かめてください。"
        ) from broken
