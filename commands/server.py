"""flask serve, and how granian is started."""

from __future__ import annotations

import ipaddress
import os
import re
import resource
import socket
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
    start(*listening("serve"))


def listening(command: str) -> tuple[str, str]:
    """Return $HOST and $PORT. Raise BadSetting if no server can listen there now.

    HOST may be localhost, although granian accepts only addresses.
    """
    host, port = os.environ.get("HOST", "127.0.0.1"), os.environ.get("PORT", "8000")
    host = "127.0.0.1" if host == "localhost" else host
    try:
        family = {4: socket.AF_INET, 6: socket.AF_INET6}[ipaddress.ip_address(host).version]
    except ValueError as error:
        raise settings.BadSetting(
            f"HOST must be an address of this machine, such as 127.0.0.1, and not {host}: "
            f"make {command} HOST=127.0.0.1"
        ) from error
    if not re.fullmatch(r"\d{1,5}", port) or not 0 < int(port) < 65536:
        raise settings.BadSetting(f"PORT must be a number from 1 to 65535, and not {port}.")
    try:
        socket.create_server((host, int(port)), family=family).close()
    except OSError as error:
        raise settings.BadSetting(
            f"Nothing can listen on {host}, port {port}: {os.strerror(error.errno or 0)}. "
            f"Try another: make {command} PORT=8001"
        ) from error
    return host, port


def start(host: str, port: str, target: str = "app:serve") -> NoReturn:
    """Replace this process by granian, with as many open files as the machine allows, since each
    phone needs one.

    macOS reports no limit, but refuses more than 10240. Source: its setrlimit(2).
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    except ValueError:
        resource.setrlimit(resource.RLIMIT_NOFILE, (10240, most))
    # glibc keeps freed memory for the thread that freed it; with one arena, a worker stays below 150 MB
    os.environ.setdefault("MALLOC_ARENA_MAX", "1")
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
