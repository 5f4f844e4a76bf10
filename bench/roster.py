"""The import's figures: a million rows into an empty database, and once more unchanged, beside sqlite3's own import; the same
on PostgreSQL beside \\copy."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple

from bench import roster_file
from tests import postgres

ROOT = Path(__file__).resolve().parent.parent
FLASK = [sys.executable, "-m", "flask"]
CONTROL = "CREATE TABLE r (" + ", ".join(f"c{i}" for i in range(21)) + "); CREATE INDEX x ON r (c1, c2, c3, c4)"


class Run(NamedTuple):
    seconds: float
    memory: int  # bytes at the peak, all its processes together
    said: str
    waited: float  # seconds, the longest that another writer waited for the database


def measure(command: list[str], env: dict[str, str], database: Path | None = None) -> Run:
    """Run a program and watch it, 20 times a second: its and its children's memory, and how long the database lets write."""
    begun, peak, waited, over = time.monotonic(), 0, 0.0, threading.Event()
    with tempfile.TemporaryFile("w+") as out:
        run = subprocess.Popen(command, cwd=ROOT, env=env, stdout=out, stderr=subprocess.STDOUT)

        def watch() -> None:
            nonlocal peak
            while not over.wait(0.05):
                peak = max(peak, _resident(run.pid))

        def write() -> None:
            nonlocal waited
            with contextlib.closing(sqlite3.connect(str(database), timeout=60, isolation_level=None)) as login:
                while not over.wait(0.05):
                    asked = time.monotonic()
                    login.execute("BEGIN IMMEDIATE")
                    login.execute("ROLLBACK")
                    waited = max(waited, time.monotonic() - asked)

        watchers = [threading.Thread(target=watch)] + ([threading.Thread(target=write)] if database else [])
        for watcher in watchers:
            watcher.start()
        status = run.wait()
        seconds = time.monotonic() - begun
        over.set()
        for watcher in watchers:
            watcher.join()
        out.seek(0)
        lines = out.read().splitlines()
    if status:
        raise SystemExit("\n".join(lines[-5:]))
    return Run(seconds, peak, lines[-1] if lines else "", waited)


def _resident(pid: int) -> int:
    """Bytes that the process and its children hold, what they share counted once in parts (Pss)."""
    total = 0
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
    except (OSError, ValueError):
        return total
    return total + sum(_resident(int(child)) for child in children)


def on_server(source: Path, env: dict[str, str], letters: Path) -> None:
    """The same on a PostgreSQL of the measurement's own, as it comes, beside psql's \\copy into one indexed table."""
    if not postgres.programs():
        print("PostgreSQL: not measured, its programs are not here")
        return
    with postgres.Cluster(options="") as cluster:
        columns = ", ".join(f"c{i} text" for i in range(21))
        made = f"CREATE TABLE r ({columns}); CREATE INDEX x ON r (c1, c2, c3, c4)"
        measure(["psql", cluster.url(), "-q", "-c", made], env)
        copy = f"\\copy r FROM '{source}' WITH (FORMAT csv, HEADER)"
        control = measure(["psql", cluster.url(), "-q", "-c", copy], env)
        measure(["psql", cluster.url(), "-q", "-c", "DROP TABLE r"], env)
        env = env | {"KAKUNIN_DATABASE_URL": cluster.url()}
        measure([*FLASK, "db", "upgrade"], env)
        first = measure([*FLASK, "roster", "import", str(source), "--credentials", str(letters)], env)
        again = measure([*FLASK, "roster", "import", str(source)], env)
    print(f"PostgreSQL, \\copy of them into one indexed table: {control.seconds:.1f} s")
    for name, run in (("into an empty database, with letters", first), ("the same file again", again)):
        print(f"{name}: {run.seconds:.1f} s, ratio {run.seconds / control.seconds:.1f}, {run.memory / 1e6:.0f} MB")


def main(rows: int = 1_000_000) -> None:
    folder = Path(tempfile.mkdtemp(prefix="kakunin-bench-"))
    try:
        source = folder / "roster.csv"
        roster_file.write(source, rows)
        env = os.environ | {
            "KAKUNIN_SECRET_KEY": secrets.token_hex(32),
            "KAKUNIN_DATABASE_URL": f"sqlite:///{folder}/kakunin.db",
            "KAKUNIN_INSURERS": json.dumps({"06139463": {"name": "見本健康保険組合"}}),
        }
        measure([*FLASK, "db", "upgrade"], env)
        plain = ["sqlite3", str(folder / "plain.db"), CONTROL, ".mode csv", f".import --skip 1 {source} r"]
        control = measure(plain, env)
        (folder / "plain.db").unlink()
        first = measure(
            [*FLASK, "roster", "import", str(source), "--credentials", str(folder / "letters.csv")],
            env,
            folder / "kakunin.db",
        )
        again = measure([*FLASK, "roster", "import", str(source)], env, folder / "kakunin.db")
        print(f"sqlite3 .import of {rows:,} rows into one indexed table: {control.seconds:.1f} s")
        for name, run in (("into an empty database, with letters", first), ("the same file again", again)):
            ratio, memory = run.seconds / control.seconds, run.memory / 1e6
            print(f"{name}: {run.seconds:.1f} s, ratio {ratio:.1f} (target 3), {memory:.0f} MB (target 300)")
            print(f"  another writer waited {run.waited:.1f} s at most (target 10)")
            print(f"  {run.said}")
        on_server(source, env, folder / "letters-server.csv")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
