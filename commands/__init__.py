"""flask db | roster | letters | members | audit | mail | stats | serve | demo: what the operator and the
clerk type."""

from __future__ import annotations

from flask import Flask

from commands.letters import letters
from commands.operations import db, mail, stats
from commands.people import audit, members
from commands.rosters import roster
from commands.server import demo, serve


def register(app: Flask) -> None:
    for command in (db, roster, letters, members, audit, mail, stats, serve, demo):
        app.cli.add_command(command)
