"""Static files as they are served: a hash in each name, so that they may be kept for a year, and
compressed once.

`build()` makes them in build/static from static/, where icon.svg is also drawn as PNG, and from the
htmx wheel that was downloaded to build/.
"""

from __future__ import annotations

import hashlib
import shutil
import zipfile
from pathlib import Path

import resvg_py
from whitenoise.compress import Compressor

ROOT = Path(__file__).resolve().parent.parent
BUILT = ROOT / "build" / "static"
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
    """Return every static file by the name that templates use. Raise FileNotFoundError if the wheel
    is missing."""
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
    drawing = found["icon.svg"].decode()
    for size in PNG_SIZES:
        found[f"icon-{size}.png"] = resvg_py.svg_to_bytes(
            svg_string=drawing, width=size, background=BEHIND, skip_system_fonts=True
        )
    return found


def older(script: bytes) -> bytes:
    """Return htmx for older phones. Raise ValueError unless it holds each expression in OLDER once:
    then look at its syntax anew."""
    for new, old in OLDER.items():
        if script.count(new) != 1:
            raise ValueError(f"htmx holds {new.decode()} {script.count(new)} times, not once.")
        script = script.replace(new, old)
    return script


def hashed(name: str, content: bytes) -> str:
    stem, _, ending = name.rpartition(".")
    return f"{stem}.{hashlib.sha256(content).hexdigest()[:12]}.{ending}"


def build() -> None:
    """Write build/static anew, compressed beside each file by gzip and brotli."""
    shutil.rmtree(BUILT, ignore_errors=True)
    BUILT.mkdir(parents=True)
    compressor = Compressor(quiet=True)
    found = sources()
    for name, content in found.items():
        # it names other files: by the names that they are served under
        if name.endswith(".webmanifest"):
            for other in found.keys() - {name}:
                content = content.replace(
                    f'"{other}"'.encode(), f'"/static/{hashed(other, found[other])}"'.encode()
                )
        path = BUILT / hashed(name, content)
        path.write_bytes(content)
        if compressor.should_compress(path.name):
            list(compressor.compress(str(path)))


def names() -> dict[str, str]:
    """Return the built files: plain name to name with hash. Raise FileNotFoundError if nothing was
    built."""
    built = {}
    for path in BUILT.glob("*"):
        stem, _, rest = path.name.rpartition(".")
        plain, _, digest = stem.rpartition(".")
        if len(digest) == 12:
            built[f"{plain}.{rest}"] = path.name
    if not built:
        raise FileNotFoundError("The static files are not built yet: run make install.")
    return built
