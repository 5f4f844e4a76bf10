"""What tests share: an empty database, and a moment to stand in."""

import datetime as dt

import pytest

import models


@pytest.fixture
def now():
    """Monday 2026-11-23, 14:05:33 in Tokyo, in seconds since 1970."""
    return dt.datetime(2026, 11, 23, 14, 5, 33, tzinfo=models.JST).timestamp()


@pytest.fixture
def store(tmp_path):
    """An empty database with every table."""
    models.connect(f"sqlite:///{tmp_path}/kakunin.db")
    models.database.create_tables(models.TABLES)
    yield models.database
    models.database.close_all()
