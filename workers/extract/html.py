"""HTML into its main text, as Markdown; navigation, scripts and styles are left behind.

In: a decoded page. Out: its title and its text. Raises ``InvalidMedia`` for a page that cannot be parsed within bounds:
nested more than 256 deep, or with tens of thousands of attributes on one element, which takes the parser minutes.
"""

from __future__ import annotations

import re

import trafilatura
from lxml import etree  # type: ignore[import-untyped]  # ships no types
from lxml import html as lxml_html

from workers.errors import InvalidMedia

_HIDDEN = ("script", "style", "template", "noscript", "iframe", "object", "svg", "math")
_BLOCKS = {
    "p",
    "div",
    "br",
    "li",
    "tr",
    "table",
    "section",
    "article",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "pre",
    "dt",
    "dd",
}
_BLANK = re.compile(r"[^\S\n]+")
_BLANK_LINES = re.compile(r"\s*\n\s*\n\s*")
_TAG = re.compile(r"<[A-Za-z][^<>]*")
_MAX_ATTRIBUTES = 20_000
_FEW = 200
"""Characters of visible text up to which a page has no main part to be searched for."""
_MANY = 500_000
"""Characters from which the search takes tens of seconds."""


def main_text(page: str) -> tuple[str, str]:
    """Title and main text of ``page``; where no main part is found, all its visible text."""
    if not page.strip():
        return "", ""
    tree = _parsed(page)
    title = " ".join((tree.findtext(".//title") or "").split())
    visible = _visible_text(tree)
    if not _FEW < len(visible) < _MANY:
        return title, visible
    main = trafilatura.extract(
        tree, output_format="markdown", include_comments=False, include_tables=True, favor_recall=True, fast=True
    )
    # Much less than is visible is not the main part, but a part that happened to look like one.
    return title, main if main is not None and len(main) > 0.2 * len(visible) else visible


def _parsed(page: str) -> lxml_html.HtmlElement:
    if any(_attributes(found.group()) > _MAX_ATTRIBUTES for found in _TAG.finditer(page)):
        raise InvalidMedia(
            "an element of the page has too many attributes", hint="publish the text of the page instead"
        )
    # Encoded again, because a page in str with an encoding declaration is refused by the parser.
    parser = lxml_html.HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True)
    try:
        tree = lxml_html.document_fromstring(page.encode("utf-8", "replace"), parser=parser)
    except etree.LxmlError as error:
        raise InvalidMedia(f"the page is not HTML: {error}", hint="publish it as text/plain") from error
    if any(entry.type_name == "ERR_RESOURCE_LIMIT" for entry in parser.error_log):
        raise InvalidMedia(
            "the page is nested more than 256 elements deep", hint="publish the text of the page instead"
        )
    etree.strip_elements(tree, *_HIDDEN, with_tail=False)
    return tree


def _attributes(tag: str) -> int:
    """At most this many attributes stand in ``tag``."""
    return tag.count(" ") + tag.count("\n") + tag.count("\t") if len(tag) > _MAX_ATTRIBUTES else 0


def _visible_text(tree: lxml_html.HtmlElement) -> str:
    """All text outside of the head, a line a block."""
    pieces: list[str] = []
    body = tree.find("body")
    for event, element in etree.iterwalk(tree if body is None else body, events=("start", "end")):
        edge = "\n\n" if element.tag in _BLOCKS else ""
        pieces += [edge, (element.text if event == "start" else element.tail) or ""]
    return _BLANK_LINES.sub("\n\n", _BLANK.sub(" ", "".join(pieces))).strip()
