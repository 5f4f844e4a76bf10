"""The commands alone, without the pages: what the clerk's tests drive, in this process or as `python -m tests.clerk`."""

import os

from flask import Flask

import commands
import models
import settings


def fresh_url(folder):
    """The address of an empty database: SQLite in the folder, or what TEST_DATABASE_URL names, emptied."""
    url = os.environ.get("TEST_DATABASE_URL")
    if not url:
        return f"sqlite:///{folder}/kakunin.db"
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    return url


def make_app() -> Flask:
    app = Flask("clerk", static_folder=None)
    settings.load(app)
    models.connect(app.config["DATABASE_URL"])
    commands.register(app)
    return app


if __name__ == "__main__":
    from flask.cli import FlaskGroup

    FlaskGroup(create_app=make_app, add_default_commands=False).main(prog_name="flask")
