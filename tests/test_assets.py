"""Static files: the icons that home screens ask for, by the names that the manifest and the pages
give."""

from __future__ import annotations

import json
import re
import struct

import pytest

from front import assets


@pytest.mark.parametrize("size", assets.PNG_SIZES)
def test_the_icon_is_drawn_in_each_size(size):
    png = (assets.BUILT / assets.names()[f"icon-{size}.png"]).read_bytes()
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", png[16:24]) == (size, size)


def test_the_manifest_names_icons_that_are_served_for_a_year_and_begins_at_ones_own_certificate(
    app,
):
    client = app.test_client()
    with client.get(f"/static/{assets.names()['manifest.webmanifest']}") as answer:
        manifest = json.loads(answer.data)
    assert (manifest["start_url"], manifest["display"]) == ("/certificates/mine", "browser")
    for source in {icon["src"] for icon in manifest["icons"]}:
        with client.get(source) as answer:
            assert (answer.status_code, answer.mimetype) == (200, "image/png")
            assert "immutable" in answer.headers["Cache-Control"]
    with client.get("/login") as answer:
        assert (
            f'rel="apple-touch-icon" href="/static/{assets.names()["icon-180.png"]}"' in answer.text
        )


def test_scripts_hold_no_syntax_that_older_phones_cannot_read():
    for name in ("htmx.min.js", "app.js"):
        script = (assets.BUILT / assets.names()[name]).read_text("utf-8")
        assert not re.findall(r"\?\.(?!\d)|\?\?", script), name


def test_another_htmx_is_not_taken_unseen():
    with pytest.raises(ValueError, match="0 times"):
        assets.older(b"p?.swapDelay")
    with pytest.raises(ValueError, match="2 times"):
        assets.older(b"p?.swapDelay p?.swapDelay")
