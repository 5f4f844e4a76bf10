"""Start servers to measure: this program, a bare callable, and a plain Flask view, each with the
same options of granian."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from flask import Flask

import dates
from database import connect, database
from front.admission import Wsgi
from tests.support.postgres import free_port
from tests.support.ready import children

ROOT = Path(__file__).resolve().parent.parent.parent


def hello() -> Wsgi:
    """Return the smallest possible WSGI application, which answers with as many bytes as a tick."""
    body = b"x" * 620

    def app(_environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response(
            "200 OK",
            [("Content-Type", "text/html; charset=utf-8"), ("Content-Length", str(len(body)))],
        )
        return [body]

    return app


def plain() -> Flask:
    """Return an application whose tick needs no lease: a Flask view with login_required, a query
    and a template."""
    import datetime as dt

    from flask import render_template_string
    from flask_login import LoginManager, login_required

    import models

    app = Flask(__name__)
    app.config.update(SECRET_KEY=os.environ["KAKUNIN_SECRET_KEY"], SESSION_COOKIE_NAME="session")
    connect(os.environ["KAKUNIN_DATABASE_URL"])
    login = LoginManager(app)

    @login.user_loader  # type: ignore[untyped-decorator]
    def load(session_id: str) -> Any:
        query = models.Session.select(models.Session, models.Account, models.Member)
        return (
            query.join(models.Account)
            .join(models.Member)
            .where(models.Session.id == session_id)
            .first()
        )

    @app.get("/certificates/<public_id>/clock/<display_id>")
    @login_required  # type: ignore[untyped-decorator]
    def clock(public_id: str, display_id: str) -> str:
        member = models.Member.get(models.Member.public_id == public_id)
        now = dt.datetime.now(dates.JST)
        return render_template_string(
            '<div id="clock" hx-get="/certificates/{{ m.public_id }}/clock/x" hx-trigger="every 1s">{{ now }}</div>',
            m=member,
            now=f"{now:%H:%M:%S}",
        )

    @app.before_request
    def begin() -> None:
        database.connect(reuse_if_open=True)

    @app.teardown_request
    def close(_error: BaseException | None) -> None:
        database.close()

    return app


@contextlib.contextmanager
def serving(target: str, **environment: str) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Serve `target` (module:factory) on a free port, by granian with the options of `make serve`.
    Yield port and process."""
    port = free_port()
    code = f"from commands import server; server.start('127.0.0.1', '{port}', '{target}')"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
                break
            time.sleep(0.05)
        else:
            raise RuntimeError(f"{target} did not start")
        time.sleep(1)
        yield port, process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()


def usage(process: subprocess.Popen[bytes]) -> tuple[float, float]:
    """Return the CPU seconds and the resident memory, in MB, of the server and its workers."""
    ticks = memory = 0.0
    for worker in [process.pid, *children(process.pid)]:
        with contextlib.suppress(OSError):
            numbers = Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()
            ticks += int(numbers[11]) + int(numbers[12])
            memory += int(numbers[21]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    return ticks / os.sysconf("SC_CLK_TCK"), memory


def environment(folder: Path) -> dict[str, str]:
    """Return the settings of a server to measure, whose database is in the folder."""
    return {
        "KAKUNIN_SECRET_KEY": secrets.token_hex(32),
        "KAKUNIN_DATABASE_URL": f"sqlite:///{folder}/kakunin.db",
        "KAKUNIN_MAIL_URL": "smtp://127.0.0.1:1",
        "KAKUNIN_MAIL_FROM": "noreply@kakunin.example",
        "KAKUNIN_BASE_URL": "http://127.0.0.1",
        "KAKUNIN_INSURERS": '{"06139463": {"name": "見本健康保険組合"}}',
        "KAKUNIN_INSECURE_COOKIES": "1",
    }
