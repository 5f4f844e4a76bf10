"""The commands alone, without the pages: what the clerk's tests drive, in this process or as
`python -m tests.support.clerk`.

TEST_MIGRATIONS names another folder than migrations/.
"""

import os
from pathlib import Path

from flask import Flask

import commands
import database
import settings


def make_app() -> Flask:
    app = Flask("clerk", static_folder=None)
    settings.load(app)
    database.connect(app.config["DATABASE_URL"])
    commands.register(app)
    return app


if __name__ == "__main__":
    from flask.cli import FlaskGroup

    settings.MIGRATIONS = Path(os.environ.get("TEST_MIGRATIONS", settings.MIGRATIONS))
    FlaskGroup(create_app=make_app, add_default_commands=False).main(prog_name="flask")
