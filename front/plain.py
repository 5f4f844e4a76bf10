"""Pages of one sentence that are made without Flask: for requests that a layer before it refuses,
and for errors."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from front import assets

BUSY = "ただいま混み合っています。数秒待って、もう一度お試しください。"
FACE = {
    "ja": ("WEB資格確認書", "表示できません", "もう一度開く", "電話する"),
    "en": (
        "Eligibility Verification Certificate",
        "This page cannot be shown",
        "Try again",
        "Call",
    ),
}
PAGE = """<!doctype html>
<html lang="{language}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}｜{brand}</title>
<link rel="stylesheet" href="{style}">
</head>
<body>
<header class="top"><p class="brand"><b>{brand}</b></p></header>
<main>
<section class="me">
<h1>{title}</h1>
<p>{sentence}</p>
<p><a class="button main" href="">{again}</a></p>
{contact}
</section>
</main>
</body>
</html>
"""


def refuse(environ: dict[str, Any], name: str, *answer: Any) -> Iterable[bytes]:
    """Return plain(*answer). `name` is the layer that refuses, which the log gives as the endpoint."""
    environ["kakunin.front"] = name
    return plain(*answer)


def plain(
    start_response: Callable[..., Any],
    status: str,
    sentence: str,
    *headers: tuple[str, str],
    language: str = "ja",
    phone: str = "",
) -> Iterable[bytes]:
    """Answer with a page of one sentence, made without Flask, with the face of the others. `phone`
    is the number to call, if there is one."""
    brand, title, again, call = FACE[language]
    button = f'<p><a class="button" href="tel:{phone}">{call} {phone}</a></p>' if phone else ""
    body = PAGE.format(
        language=language,
        sentence=sentence,
        brand=brand,
        title=title,
        again=again,
        style=f"/static/{assets.names()['app.css']}",
        contact=button,
    ).encode()
    sizes = [
        ("Content-Type", "text/html; charset=utf-8"),
        ("Content-Length", str(len(body))),
        ("Cache-Control", "no-store"),
    ]
    start_response(status, [*sizes, *headers])
    return [body]
