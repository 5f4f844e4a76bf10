"""An application with the commands alone and no pages, for tests. It also runs as `python -m
tests.support.clerk`.

The variable TEST_MIGRATIONS may name a folder to use instead of migrations/.
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
