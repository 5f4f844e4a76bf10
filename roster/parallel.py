"""A part of the work in a process of its own, so that two cores share it."""

from __future__ import annotations

import contextlib
import fcntl
import gc
import marshal
import os
import signal
import struct
import traceback
from collections.abc import Callable, Generator
from typing import Any

Send = Callable[[Any], None]


class Lost(Exception):
    """The other process ended before its work did."""


def spawned(work: Callable[[Send], None]) -> Generator[Any, None, None]:
    """What `work(send)` sends: numbers, texts, lists, tuples and dicts of them. At most a pipe's worth is made ahead.

    The other process ends with its work, or is ended when nobody listens any more. It must not touch the database. Raises Lost.
    """
    reader, writer = os.pipe()
    if hasattr(fcntl, "F_SETPIPE_SZ"):  # Linux: a few batches ahead, so that neither waits for the other at each
        with contextlib.suppress(PermissionError):
            fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 1 << 20)
    child = os.fork()
    if not child:
        os.close(reader)
        _work(work, writer)
    os.close(writer)
    try:
        with os.fdopen(reader, "rb") as source:
            while head := source.read(4):
                yield marshal.loads(source.read(struct.unpack("<I", head)[0]))  # noqa: S302 - from our own child
    except BaseException:
        os.kill(child, signal.SIGKILL)  # a third process may hold the pipe open, so that its end would go unnoticed
        raise
    finally:
        _, status = os.waitpid(child, 0)
    if status:
        raise Lost(f"status {status}")


def _work(work: Callable[[Send], None], writer: int) -> None:
    status = 1
    gc.disable()  # nothing here goes in circles, and looking for such costs a fifth
    try:
        with os.fdopen(writer, "wb") as out:

            def send(value: Any) -> None:
                data = marshal.dumps(value)
                out.write(struct.pack("<I", len(data)) + data)
                out.flush()

            work(send)
        status = 0
    except BrokenPipeError:
        pass
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)
