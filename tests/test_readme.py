"""The README tells the truth: its map is complete, its links lead somewhere."""

from __future__ import annotations

import re

from tests.readme_map import BEGIN, END, OTHERS, ROOT, module_line, render

README = (ROOT / "README.md").read_text()


def test_the_map_is_up_to_date() -> None:
    found = README.partition(BEGIN)[2].partition(END)[0]
    assert found == render(), "type `make map`"


def test_every_module_says_what_it_is() -> None:
    files = [file for folder in ("schemas", "workers", "streams") for file in (ROOT / folder).rglob("*.py")]
    assert len(files) > 50
    assert [file for file in files if not module_line(file)] == []


def test_links_within_the_repository_lead_somewhere() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
    assert [name for name in OTHERS if not (ROOT / name).exists()] == []
