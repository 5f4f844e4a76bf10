"""The clock as it is seen: a script for a page of any engine notes each time that appears, and
whether the veil was over it; and a line that makes the phone's way to the server as long as one
likes.
"""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time
from collections.abc import Iterator
from itertools import pairwise

WATCH = """
window.seen = [];
window.veils = 0;
setInterval(() => {
  const time = document.getElementById("clock").textContent.slice(-8);
  if (!seen.length || seen[seen.length - 1] !== time) seen.push(time);
  if (document.elementFromPoint(innerWidth / 2, innerHeight / 2).closest(".veil")) veils += 1;
}, 20);
"""
"""To be run in a page that shows a live certificate. `seen` holds HH:MM:SS, each once; `veils`
counts looks, 50 a second."""

COVERED = "!!document.elementFromPoint(innerWidth / 2, innerHeight / 2).closest('.veil')"
"""Whether the veil is what a finger in the middle of the screen would touch."""


def steps(seen: list[str]) -> list[int]:
    """Return by how many seconds the clock went on, from each time seen to the next."""
    moments = [int(time[:2]) * 3600 + int(time[3:5]) * 60 + int(time[6:]) for time in seen]
    return [(after - before) % 86400 for before, after in pairwise(moments)]


@contextlib.contextmanager
def line(port: int, least: float, most: float) -> Iterator[int]:
    """Lay a line to `port` on this machine, on which a request and its answer take between `least`
    and `most` milliseconds.

    Yield the port at which it begins.
    """
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    ends = [listener]

    def carry(source: socket.socket, goal: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(65536):
                time.sleep(random.uniform(least, most) / 2000)
                goal.sendall(piece)
            goal.shutdown(socket.SHUT_WR)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                phone, _ = listener.accept()
                server = socket.create_connection(("127.0.0.1", port))
                ends.extend((phone, server))
                for end in (phone, server):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for pair in ((phone, server), (server, phone)):
                    threading.Thread(target=carry, args=pair, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
