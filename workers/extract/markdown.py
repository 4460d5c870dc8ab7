"""Markdown into blocks: paragraphs, tables, code, with the heading path above them as title.

In: a Markdown text. Out: ``Block``s with character places in that very text. Raises nothing: any text is Markdown.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from markdown_it import MarkdownIt
from markdown_it.token import Token

from workers.extract.passages import Block

_WHOLE = {"fence", "code_block", "table_open"}
_HIDDEN = re.compile(r"\s*<(?:script|style|template|!--|\?|!)", re.IGNORECASE)
_LINE_END = re.compile(r"\r\n?|\n")  # as the parser counts lines
_EMPHASIS = re.compile(r"[*_`]{1,3}|\s+#+\s*$")
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_LONGEST_HEADING = 200
_SEPARATOR = " > "


def markdown_blocks(text: str, title: str = "") -> Iterator[Block]:
    """The blocks of ``text`` in order; ``title`` stands above what no heading stands above.

    A heading belongs to the titles of what follows it; one that nothing follows is a block of its own. Scripts, styles
    and comments are left out, and no passage reaches across them.
    """
    path: list[tuple[int, str]] = []
    pending: Block | None = None
    group = 0
    for token, heading, start, end in _outer(text):
        if heading:
            level = int(token.tag[1:])
            if pending is not None and level <= path[-1][0]:
                yield pending
            path = [*(above for above in path if above[0] < level), (level, heading)]
            group += 1
            pending = Block(start, end, _title(path[:-1], title), group=group)
        elif token.type == "html_block" and _HIDDEN.match(text, start):
            group += 1
        elif token.type != "hr":
            pending = None
            yield Block(start, end, _title(path, title), token.type in _WHOLE, group)
    if pending is not None:
        yield pending


def _outer(text: str) -> Iterator[tuple[Token, str, int, int]]:
    """Each outermost block: its token, the words of a heading, and its place without the white space around it."""
    starts = [0, *(end.end() for end in _LINE_END.finditer(text)), len(text)]
    # Only blocks matter here: what is inside of them is never parsed, and so cannot be made slow to parse.
    tokens = MarkdownIt("commonmark").enable("table").disable(["inline", "text_join"]).parse(text)
    for number, token in enumerate(tokens):
        if token.level == 0 and token.map is not None and token.nesting >= 0:
            first, last = token.map
            start, end = starts[first], starts[min(last, len(starts) - 1)]
            said = text[start:end]
            if said.strip():
                heading = _words(tokens[number + 1].content) if token.type == "heading_open" else ""
                yield token, heading, start + len(said) - len(said.lstrip()), start + len(said.rstrip())


def _words(heading: str) -> str:
    return _EMPHASIS.sub("", _LINK.sub(r"\1", heading[:_LONGEST_HEADING])).strip()


def _title(path: list[tuple[int, str]], above: str) -> str:
    return _SEPARATOR.join(words for _, words in path) or above
