"""What the docs name is there: links, sections, folders and tests."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.sample import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
LINK = re.compile(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)|src=\"([^\"]+)\"")
NO_SOURCE = {"build", "instance"}
"""Folders that .gitignore names and that are not hidden."""


def sections(page: Path) -> set[str]:
    """Return the names by which links reach the page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_link_leads_to_a_file_and_a_section(page):
    for path, section, picture in LINK.findall(page.read_text("utf-8")):
        target = page.parent / (path or picture or page.name)
        assert target.exists(), target
        assert not section or section in sections(target), f"{target}#{section}"


def test_the_readmes_layout_names_each_folder_and_module_and_no_other():
    table = (ROOT / "README.md").read_text("utf-8").partition("## Where things are")[2]
    cells = re.findall(r"^\| (`.+?`) \|", table.partition("\n## ")[0], re.M)
    named = {name.rstrip("/") for name in re.findall(r"`([^`]+)`", " ".join(cells))}
    there = {
        path.name
        for path in ROOT.iterdir()
        if (path.is_dir() and path.name[0] not in "._") or path.suffix == ".py"
    }
    assert named - {".ci"} == there - NO_SOURCE


def test_each_test_that_security_md_names_is_there():
    text = (ROOT / "SECURITY.md").read_text("utf-8")
    there = "\n".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    named = set(re.findall(r"`(test_[a-z0-9_]+)`", text))
    assert len(named) > 30
    assert [name for name in sorted(named) if f"def {name}(" not in there] == []
    files = set(re.findall(r"`(tests/[^`]+)`", text))
    assert len(files) > 3
    assert [name for name in sorted(files) if not any(ROOT.glob(name))] == []
