"""Build the static files. Each name holds a hash of the content, so browsers may cache the file for
a year, and each file is compressed once, when it is built.

`build()` adds to build/static, also while a server runs. Its sources are static/, whose icon.svg is
also drawn as PNG, and htmx from the wheel that was downloaded to build/.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from whitenoise import WhiteNoise

ROOT = Path(__file__).resolve().parent.parent
BUILT = ROOT / "build" / "static"
NAMES = "names.json"
"""Beside BUILT: the newest files, as a mapping from plain name to name with hash."""
KEPT_FOR = 30 * 86400
"""Seconds that a file is kept after a build replaced it. A server that was started before goes on
naming it in its pages."""
HTMX = "django_htmx/static/django_htmx/htmx-2.min.js"
"""Where the wheel of django-htmx holds htmx 2.0. It is the one way to have it from a registry by
hash without Node."""
OLDER = {
    b"p?.swapDelay": b"p&&p.swapDelay",
    b's.push=s.push??"true"': b's.push=s.push==null?"true":s.push',
}
"""All that htmx 2.0.10 holds of ES2020, and how ES2019 says it: one syntax error would leave iOS
before 13.4 and Chrome before 80 without htmx, under the veil for ever.
"""
PNG_SIZES, BEHIND = (180, 192, 512), "#163f73"
"""What home screens ask for, in pixels; and the colour of the corners, which they cut in shapes of
their own."""


def sources() -> dict[str, bytes]:
    """Return the content of every static file by the name that templates use. Raise
    FileNotFoundError if the wheel is missing."""
    found = {
        path.name: path.read_bytes()
        for path in sorted((ROOT / "static").iterdir())
        if path.is_file()
    }
    wheel = next((ROOT / "build").glob("django_htmx-*.whl"), None)
    if wheel is None:
        raise FileNotFoundError("htmx is not here yet: run make install.")
    with zipfile.ZipFile(wheel) as archive:
        found["htmx.min.js"] = older(archive.read(HTMX))
    import resvg_py  # 2 MB that the server does not need, as below

    drawing = found["icon.svg"].decode()
    for size in PNG_SIZES:
        found[f"icon-{size}.png"] = resvg_py.svg_to_bytes(
            svg_string=drawing, width=size, background=BEHIND, skip_system_fonts=True
        )
    return found


def older(script: bytes) -> bytes:
    """Return htmx with every expression in OLDER replaced. Raise ValueError unless each of them
    occurs exactly once.

    If it raises after an update of htmx, check the new version for syntax after ES2019 and correct
    OLDER.
    """
    for new, old in OLDER.items():
        if script.count(new) != 1:
            raise ValueError(f"htmx holds {new.decode()} {script.count(new)} times, not once.")
        script = script.replace(new, old)
    return script


def hashed(name: str, content: bytes) -> str:
    stem, _, ending = name.rpartition(".")
    return f"{stem}.{hashlib.sha256(content).hexdigest()[:12]}.{ending}"


def build() -> None:
    """Add the present files to build/static, with a gzip and a brotli version beside each
    compressible one.

    A server may run meanwhile. Files appear whole, each after its compressed versions, and those of
    earlier builds stay for KEPT_FOR seconds.
    """
    from whitenoise.compress import Compressor

    BUILT.mkdir(parents=True, exist_ok=True)
    found = sources()
    built = {name: _finished(name, content, found) for name, content in found.items()}
    compressor = Compressor(quiet=True)
    with tempfile.TemporaryDirectory(dir=BUILT.parent) as folder:
        for name, content in built.values():
            path = Path(folder) / name
            path.write_bytes(content)
            made = list(compressor.compress(str(path))) if compressor.should_compress(name) else []
            for file in [*map(Path, made), path]:
                file.chmod(0o644)
                # the same content: a server may have noted how long its compressed versions are
                if not (BUILT / file.name).exists():
                    file.replace(BUILT / file.name)
        listed = Path(folder) / NAMES
        listed.write_text(json.dumps({plain: name for plain, (name, _) in built.items()}))
        listed.chmod(0o644)
        _forget(time.time(), {name for name, _ in built.values()})
        listed.replace(BUILT.parent / NAMES)
    names.cache_clear()


def _finished(name: str, content: bytes, found: dict[str, bytes]) -> tuple[str, bytes]:
    """Return the name with hash and the content of a file. The manifest names other files by their
    names with hash."""
    if name.endswith(".webmanifest"):
        for other in found.keys() - {name}:
            content = content.replace(
                f'"{other}"'.encode(), f'"/static/{hashed(other, found[other])}"'.encode()
            )
    return hashed(name, content), content


def _forget(now: float, present: set[str]) -> None:
    """Delete files that were replaced more than KEPT_FOR seconds ago. A file's mtime is the moment
    of the last build that it was part of, or of the build that replaced it."""
    try:
        before = set(json.loads((BUILT.parent / NAMES).read_text()).values())
    except FileNotFoundError:  # of a version that had no list
        before = {path.name for path in BUILT.iterdir()}
    for path in list(BUILT.iterdir()):
        plain = path.name.removesuffix(".gz").removesuffix(".br")
        if plain in before | present:
            os.utime(path, (now, now))
        elif path.stat().st_mtime < now - KEPT_FOR:
            path.unlink()


@functools.cache
def names() -> dict[str, str]:
    """Return the files of the newest build, when this process first asked, as a mapping from plain
    name to name with hash. Raise FileNotFoundError if there was no build."""
    try:
        built: dict[str, str] = json.loads((BUILT.parent / NAMES).read_text())
    except FileNotFoundError as missing:
        raise FileNotFoundError(
            "The static files are not built yet: run make install."
        ) from missing
    return built


class Static(WhiteNoise):  # type: ignore[misc]
    """Serve build/static, including files of a build that was made after the server started: during
    an upgrade another worker names those already."""

    FOREVER = 365 * 24 * 60 * 60

    def __init__(self, application: Callable[..., Iterable[bytes]]) -> None:
        super().__init__(
            application,
            immutable_file_test=lambda _path, _url: True,
            allow_all_origins=False,
            mimetypes={".webmanifest": "application/manifest+json"},
        )
        self.seen = 0
        self.look()

    def look(self) -> None:
        """Take notice of new files, if the folder has changed since the last call."""
        changed = BUILT.stat().st_mtime_ns
        if changed != self.seen:
            self.seen = changed
            self.add_files(str(BUILT), "static/")

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path.startswith("/static/") and path not in self.files:
            with contextlib.suppress(OSError):
                self.look()
        answer: Iterable[bytes] = super().__call__(environ, start_response)
        return answer
