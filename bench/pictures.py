"""Make the README's picture from the running program: a certificate that ticks, and the veil that
covers it when the network is cut. `make pictures`; it is no measurement."""

from __future__ import annotations

import base64
import itertools
import struct
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

import models
from database import connect, database
from tests.support.beat import COVERED
from tests.support.displays import open_displays
from tests.support.ready import path_of
from tests.support.servers import ROOT, environment, serving

TARGET = ROOT / "docs" / "certificate.png"
WIDTH, HEIGHT, SCALE = 390, 664, 2
TICKING, PAUSE, VEILED = 12, 0.25, 3.0
"""So many pictures of the ticking clock, with so many seconds between them, and seconds of the
veil."""
PERSON = {
    "name": "青葉 直人",
    "kana": "アオバ ナオト",
    "sex": 1,
    "symbol": "128",
    "number": "1024",
    "branch": "00",
}
PIXELS = """async (png) => {
  const image = new Image();
  image.src = `data:image/png;base64,${png}`;
  await image.decode();
  const canvas = new OffscreenCanvas(image.width, image.height).getContext("2d");
  canvas.drawImage(image, 0, 0);
  const bytes = canvas.getImageData(0, 0, image.width, image.height).data;
  return btoa(bytes.reduce((text, byte) => text + String.fromCharCode(byte), ""));
}"""
"""Gives the pixels of a picture, four bytes each: red, green, blue, 255."""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        env = environment(Path(folder))
        (phone,) = open_displays(env, 1)
        connect(env["KAKUNIN_DATABASE_URL"])
        models.Member.update(**PERSON).execute()
        database.close_all()
        with serving("app:serve", **env) as (port, _), sync_playwright() as playwright:
            opened = playwright.chromium.launch(
                executable_path=path_of("Chromium"), args=["--no-sandbox", "--disable-gpu"]
            )
            context = opened.new_context(
                viewport={"width": WIDTH, "height": HEIGHT},
                device_scale_factor=SCALE,
                is_mobile=True,
                locale="ja-JP",
            )
            base = f"http://127.0.0.1:{port}"
            context.add_cookies([{"name": "session", "value": phone.session, "url": base}])
            page = context.new_page()
            page.goto(f"{base}/certificates/cert1")
            page.wait_for_timeout(3000)
            frames = list(film(page))
            decoder = opened.new_page()
            pictures = [(pixels(decoder, png), seconds) for png, seconds in frames]
            TARGET.write_bytes(apng(pictures))
            opened.close()
    print(f"{TARGET.relative_to(ROOT)}: {len(frames)} frames, {TARGET.stat().st_size // 1000} KB")


def film(page: Page) -> Iterator[tuple[bytes, float]]:
    """Yield pictures of the page, as PNG, each with the seconds that it is shown."""
    began = time.monotonic()
    for number in range(TICKING):
        page.wait_for_timeout(max(0, began + number * PAUSE - time.monotonic()) * 1000)
        yield page.screenshot(), PAUSE
    page.context.set_offline(True)
    page.wait_for_timeout(8000)
    assert page.evaluate(COVERED), "no veil"
    yield page.screenshot(), VEILED


def pixels(decoder: Page, png: bytes) -> list[int]:
    """Return the picture's pixels as numbers, whose bytes are PIXELS's."""
    told = decoder.evaluate(PIXELS, base64.b64encode(png).decode())
    return list(memoryview(base64.b64decode(told)).cast("I"))


def palette(pictures: list[list[int]]) -> tuple[bytes, dict[int, int]]:
    """Return the 256 colours that are used most, three bytes each, and for each colour of the
    pictures the index of the nearest of these."""
    used = Counter(pixel for picture in pictures for pixel in picture)
    bytes_of = {pixel: pixel.to_bytes(4, sys.byteorder)[:3] for pixel in used}
    kept = [bytes_of[pixel] for pixel, _ in used.most_common(256)]

    def nearest(colour: bytes) -> int:
        far = [sum((x - y) ** 2 for x, y in zip(colour, other, strict=True)) for other in kept]
        return far.index(min(far))

    return b"".join(kept), {pixel: nearest(colour) for pixel, colour in bytes_of.items()}


def apng(frames: list[tuple[list[int], float]]) -> bytes:
    """Return an animated PNG of 256 colours at most, which repeats for ever. Each frame after the
    first holds the lines from the first to the last that changed.

    Source: PNG, third edition, sections 4.9 and 11.3.6.
    """
    wide, high = WIDTH * SCALE, HEIGHT * SCALE
    colours, index = palette([picture for picture, _ in frames])
    made = [
        chunk(b"IHDR", struct.pack(">IIBBBBB", wide, high, 8, 3, 0, 0, 0)),
        chunk(b"acTL", struct.pack(">II", len(frames), 0)),
        chunk(b"PLTE", colours),
    ]
    before: list[bytes] = [b""] * high
    order = itertools.count()
    for picture, seconds in frames:
        data = bytes(map(index.__getitem__, picture))
        lines = [data[at : at + wide] for at in range(0, len(data), wide)]
        changed = [y for y in range(high) if lines[y] != before[y]] or [0]
        top, bottom = changed[0], changed[-1] + 1
        place = struct.pack(">IIII", wide, bottom - top, 0, top)
        shown = struct.pack(">HHBB", round(seconds * 1000), 1000, 0, 0)
        made.append(chunk(b"fcTL", struct.pack(">I", next(order)) + place + shown))
        packed = zlib.compress(b"".join(b"\0" + line for line in lines[top:bottom]), 9)
        first = before[0] == b""
        made.append(
            chunk(b"IDAT", packed)
            if first
            else chunk(b"fdAT", struct.pack(">I", next(order)) + packed)
        )
        before = lines
    return b"\x89PNG\r\n\x1a\n" + b"".join(made) + chunk(b"IEND", b"")


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


if __name__ == "__main__":
    main()
