"""The first row of a roster: which column holds what, under the names that are known."""

from __future__ import annotations

from roster.cells import fold
from roster.columns import TITLES


def folded_title(text: str) -> str:
    return "".join(fold(text).lower().split())


NAMES = {
    folded_title(text): name for name, title in TITLES.items() for text in (name, title.japanese)
}


def places(header: list[str]) -> dict[str, int]:
    places: dict[str, int] = {}
    for i, text in enumerate(header):
        if (name := NAMES.get(folded_title(text))) is not None:
            places.setdefault(name, i)
    return places
