"""flask db | roster | letters | members | audit | mail | config | stats | serve | demo: what the
operator and the clerk type."""

from __future__ import annotations

from flask import Flask

from commands.config import config
from commands.demo import demo
from commands.letters import letters
from commands.operations import db, mail, stats
from commands.people import audit, members
from commands.rosters import roster
from commands.server import serve


def register(app: Flask) -> None:
    for command in (db, roster, letters, members, audit, mail, config, stats, serve, demo):
        app.cli.add_command(command)
