"""Measure the import of a million rows into an empty database, and of the same rows again, beside
sqlite3's own import. Measure the same on PostgreSQL beside \\copy.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

from bench import roster_file
from tests.support import postgres, ready

ROOT = Path(__file__).resolve().parent.parent
FLASK = [sys.executable, "-m", "flask"]
CONTROL = (
    "CREATE TABLE r ("
    + ", ".join(f"c{i} text" for i in range(21))
    + "); CREATE INDEX x ON r (c1, c2, c3, c4)"
)


def run(command: list[str], env: dict[str, str]) -> float:
    """Run the command and return the seconds that it took. Nothing else runs meanwhile."""
    begun = time.monotonic()
    done = subprocess.run(
        command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode:
        raise SystemExit("\n".join(done.stdout.splitlines()[-5:]))
    return time.monotonic() - begun


def watch(command: list[str], env: dict[str, str], database: Path | None) -> tuple[int, float]:
    """Run the command and return the peak memory of all its processes, in bytes, and the longest
    wait of another writer, in seconds. Looking 20 times a second slows the command.
    """
    peak, waited, over = 0, 0.0, threading.Event()

    def look(pid: int) -> None:
        nonlocal peak
        while not over.wait(0.05):
            peak = max(peak, _resident(pid))

    def write() -> None:
        nonlocal waited
        with contextlib.closing(
            sqlite3.connect(str(database), timeout=60, isolation_level=None)
        ) as login:
            while not over.wait(0.05):
                asked = time.monotonic()
                login.execute("BEGIN IMMEDIATE")
                login.execute("ROLLBACK")
                waited = max(waited, time.monotonic() - asked)

    running = subprocess.Popen(
        command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    watchers = [threading.Thread(target=look, args=(running.pid,))]
    watchers += [threading.Thread(target=write)] if database else []
    for watcher in watchers:
        watcher.start()
    status = running.wait()
    over.set()
    for watcher in watchers:
        watcher.join()
    if status:
        raise SystemExit(f"{command}: exit status {status}")
    return peak, waited


def _resident(pid: int) -> int:
    """Return the bytes of memory that the process and its children hold. Shared memory counts in
    proportion (Pss)."""
    total = 0
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
    except (OSError, ValueError):
        return total
    return total + sum(_resident(int(child)) for child in children)


@contextlib.contextmanager
def empty(url: str) -> Iterator[tuple[dict[str, str], Path]]:
    """Make an empty database and a folder. Yield the environment with its settings, and the folder.
    `{}` in the URL stands for the folder.
    """
    with tempfile.TemporaryDirectory(prefix="kakunin-bench-") as folder:
        env = os.environ | {
            "KAKUNIN_SECRET_KEY": secrets.token_hex(32),
            "KAKUNIN_DATABASE_URL": url.format(folder),
            "KAKUNIN_INSURERS": json.dumps({"06139463": {"name": "見本健康保険組合"}}),
        }
        run([*FLASK, "db", "upgrade"], env)
        yield env, Path(folder)


def compare(
    title: str,
    control: Callable[[Path], float],
    source: Path,
    urls: list[str],
    targets: tuple[float, float],
) -> None:
    """Run each import beside the control, in turns, once for each database but the last, in which
    it is watched.

    `targets` are the ratios to the control that the first import and the second may reach.
    """
    beside: list[float] = []
    alone: dict[str, list[float]] = {
        "into an empty database, with letters": [],
        "the same file again": [],
    }
    for turn, url in enumerate(urls, 1):
        with empty(url) as (env, folder):
            command = [*FLASK, "roster", "import", str(source)]
            commands = zip(
                alone,
                ([*command, "--credentials", str(folder / "letters.csv")], command),
                strict=True,
            )
            if turn < len(urls):
                beside.append(control(folder))
                for name, words in commands:
                    alone[name].append(run(words, env))
                continue
            print(f"{title}: {median(beside):.1f} s")
            for (name, words), target in zip(commands, targets, strict=True):
                took = median(alone[name])
                memory, waited = watch(
                    words, env, folder / "kakunin.db" if url.startswith("sqlite") else None
                )
                print(
                    f"{name}: {took:.1f} s, ratio {took / median(beside):.1f} (target {target}), {memory / 1e6:.0f} MB (target 300)"
                )
                if waited:
                    print(f"  another writer waited {waited:.1f} s at most (target 10)")


def main(rows: int = 1_000_000) -> None:
    with tempfile.TemporaryDirectory(prefix="kakunin-bench-") as folder:
        source = Path(folder, "roster.csv")
        roster_file.write(source, rows)

        def shell(own: Path) -> float:
            return run(
                [
                    "sqlite3",
                    str(own / "plain.db"),
                    CONTROL,
                    ".mode csv",
                    f".import --skip 1 {source} r",
                ],
                {**os.environ},
            )

        compare(
            f"sqlite3 .import of {rows:,} rows into one indexed table",
            shell,
            source,
            ["sqlite:///{}/kakunin.db"] * 4,
            (4, 2.7),
        )
        if not ready.postgresql():
            print("PostgreSQL: not measured, its programs are not here")
            return
        with postgres.Cluster(options="") as cluster:

            def psql(_: Path) -> float:
                copy = f"\\copy r FROM '{source}' WITH (FORMAT csv, HEADER)"
                steps = "DROP TABLE IF EXISTS r", CONTROL, copy
                return [
                    run(["psql", cluster.url(), "-q", "-c", step], {**os.environ}) for step in steps
                ][-1]

            names = [f"k{i}" for i in range(2)]
            for name in names:
                run(["psql", cluster.url(), "-q", "-c", f"CREATE DATABASE {name}"], {**os.environ})
            compare(
                "PostgreSQL, \\copy of them into one indexed table",
                psql,
                source,
                list(map(cluster.url, names)),
                (8, 6),
            )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
