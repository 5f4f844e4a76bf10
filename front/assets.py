"""Static files as they are served: a hash in each name, so that they may be kept for a year, and compressed once.

`python -m front.assets` makes them in build/static from static/, where icon.svg is also drawn as PNG, and from the htmx wheel that
was downloaded to build/.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
import zipfile
from pathlib import Path

import resvg_py
from whitenoise.compress import Compressor

ROOT = Path(__file__).resolve().parent.parent
BUILT = ROOT / "build" / "static"
HTMX = "django_htmx/static/django_htmx/htmx-2.min.js"
"""Where the wheel of django-htmx holds htmx 2.0. It is the one way to have it from a registry by hash without Node."""
PNG_SIZES, BEHIND = (180, 192, 512), "#163f73"
"""What home screens ask for, in pixels; and the colour of the corners, which they cut in shapes of their own."""


def sources() -> dict[str, bytes]:
    """Every static file by the name that templates use. Raises FileNotFoundError where the wheel is missing."""
    found = {path.name: path.read_bytes() for path in sorted((ROOT / "static").iterdir()) if path.is_file()}
    wheel = next((ROOT / "build").glob("django_htmx-*.whl"), None)
    if wheel is None:
        raise FileNotFoundError("htmx is not here yet: run make install.")
    with zipfile.ZipFile(wheel) as archive:
        found["htmx.min.js"] = archive.read(HTMX)
    drawing = found["icon.svg"].decode()
    for size in PNG_SIZES:
        found[f"icon-{size}.png"] = resvg_py.svg_to_bytes(
            svg_string=drawing, width=size, background=BEHIND, skip_system_fonts=True
        )
    return found


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
        if name.endswith(".webmanifest"):  # it names other files: by the names that they are served under
            for other in found.keys() - {name}:
                content = content.replace(f'"{other}"'.encode(), f'"/static/{hashed(other, found[other])}"'.encode())
        path = BUILT / hashed(name, content)
        path.write_bytes(content)
        if compressor.should_compress(path.name):
            list(compressor.compress(str(path)))


def names() -> dict[str, str]:
    """The built files: plain name to name with hash. Raises FileNotFoundError where nothing was built."""
    built = {}
    for path in BUILT.glob("*"):
        stem, _, rest = path.name.rpartition(".")
        plain, _, digest = stem.rpartition(".")
        if len(digest) == 12:
            built[f"{plain}.{rest}"] = path.name
    if not built:
        raise FileNotFoundError("The static files are not built yet: run make install.")
    return built


if __name__ == "__main__":
    build()
    sys.stdout.write(f"{len(names())} files in {BUILT.relative_to(ROOT)}\n")
