"""flask serve, and how granian is started."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path
from typing import NoReturn

import click
from flask import current_app
from flask.cli import with_appcontext

import settings


@click.command()
@with_appcontext
def serve() -> None:
    """Serve on $HOST:$PORT, as the environment says."""
    settings.check_serving(current_app.config)
    settings.check_schema()
    start(os.environ.get("HOST", "127.0.0.1"), os.environ.get("PORT", "8000"))


def start(host: str, port: str, target: str = "app:serve") -> NoReturn:
    """Become granian, with as many open files as this machine allows: each phone holds one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    options = settings.server_options(os.cpu_count() or 1)
    granian = Path(sys.executable).parent / "granian"
    os.chdir(settings.ROOT)
    os.execv(  # noqa: S606 - our own server, no shell
        granian,
        [
            *(str(granian), "--interface", "wsgi", "--factory", target, "--http", "1", "--no-ws"),
            *("--host", host, "--port", port, "--workers", str(options["WORKERS"])),
            *("--blocking-threads", str(options["THREADS"]), "--backlog", str(options["BACKLOG"])),
            *("--backpressure", str(options["BACKPRESSURE"]), "--http1-buffer-size", "65536"),
            *("--respawn-failed-workers", "--workers-kill-timeout", "30"),
        ],
    )
