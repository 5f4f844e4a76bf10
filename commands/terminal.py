"""What the commands have in common: errors in one sentence, the database, and the keys."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import peewee
import psycopg
from flask import current_app

import settings
from accounts.keys import Keys
from database import Busy, database, database_exists, database_place
from dates import BadDate, parse_date
from imports.letters import CannotWrite
from models import Member

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
NEW_FILE = click.Path(dir_okay=False, path_type=Path)


class Failed(click.ClickException):
    """An error, which prints one sentence on stderr and sets the exit status 1."""

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
    """Return the keys that hash temporary passwords. Raise Failed if there is none, and BadSetting
    if it can be guessed."""
    if not current_app.config["SECRET_KEY"]:
        raise Failed(
            f"KAKUNIN_SECRET_KEY がありません。仮パスワードはこの鍵で守られます。{WHERE}。"
        )
    settings.check_keys(current_app.config)
    return Keys(current_app.config["SECRET_KEY"], current_app.config["SECRET_KEY_FALLBACKS"])


WHERE = "設定は環境変数から読みます。サーバーの設定ファイル（/etc/kakunin.env など）を読み込んでから、もう一度実行してください"
"""What a clerk can do about a missing setting."""


def insurers_served() -> dict[str, Any]:
    """Return the insurers by their numbers. Raise Failed if the setting is missing."""
    if not current_app.config["INSURERS"]:
        raise Failed(f"KAKUNIN_INSURERS がありません。{WHERE}。")
    return current_app.config["INSURERS"]


def _no_database() -> Failed:
    place, named = database_place(), "KAKUNIN_DATABASE_URL" in os.environ
    if named:
        return Failed(
            f"データベース {place} がまだありません。KAKUNIN_DATABASE_URL が正しければ、先に flask db upgrade を実行してください。"
        )
    return Failed(
        f"KAKUNIN_DATABASE_URL がないので {place} を見ましたが、データベースがありません。{WHERE}。"
        "初めてのときは、先に flask db upgrade を実行してください。"
    )


@contextlib.contextmanager
def store() -> Iterator[None]:
    """Connect to the database, and report any failure in one sentence. Raise Failed. A missing file
    is not created."""
    if not database_exists():
        raise _no_database()
    try:
        with database.connection_context():
            if not database.table_exists(Member):
                raise _no_database()
            yield
    except (Busy, CannotWrite) as refused:
        raise Failed(str(refused)) from refused
    except (sqlite3.Error, psycopg.Error, peewee.DatabaseError, OSError) as broken:
        raise Failed(
            f"保存できませんでした。データベースは元のままです（{broken}）。空き容量などを確かめてください。"
        ) from broken
