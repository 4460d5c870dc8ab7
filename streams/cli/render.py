"""Answers, hits and evidence for people."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from urllib.parse import quote, unquote, urlsplit

from rich.console import Console
from rich.markup import escape
from rich.style import Style
from rich.table import Table
from rich.text import Text

from schemas.answers import AnswerFailed, AnswerFinished, AnswerStarted, Hit, StreamEvent, TokenGenerated
from schemas.media import Modality
from schemas.queries import Evidence

MAX_TEXT = 160
_NUMBERS = frozenset({"", "rank", "score"})
_IN_LINKS = "%/:?#[]@!$&'()*+,;=~"
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def clock(milliseconds: int) -> str:
    """``83500`` as ``1:23.5``."""
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes}:{rest / 1000:04.1f}"


def place(item: Evidence | Hit) -> str:
    """Where in its document something stands: page, seconds, wall clock, box."""
    parts = []
    if item.page is not None:
        parts.append(f"page {item.page}")
    if item.start_ms is not None and item.end_ms is not None:
        parts.append(f"{clock(item.start_ms)}–{clock(item.end_ms)}")
    if item.modality in (Modality.AUDIO, Modality.VIDEO):
        heard = datetime.fromtimestamp(item.event_time_ms / 1000).astimezone()
        parts.append(heard.strftime("%H:%M:%S"))
    if item.box is not None:
        parts.append("box " + " ".join(f"{value:.2f}" for value in item.box))
    return ", ".join(parts)


def evidence_table(evidence: Iterable[Evidence]) -> Table:
    """The evidence of an answer."""
    table = _table("", "what", "where", "document", "source", "score")
    for item in evidence:
        table.add_row(
            Text(f"[{item.number}]"),
            _short(item.text),
            place(item),
            _document(item),
            Text(harmless(item.source)),
            f"{item.score:.2f}",
        )
    return table


def hit_table(hits: Iterable[Hit]) -> Table:
    """Ranked hits."""
    table = _table("rank", "score", "kind", "what", "where", "document")
    for hit in hits:
        table.add_row(
            str(hit.rank),
            f"{hit.score:.2f}",
            hit.modality.value,
            _short(hit.text),
            place(hit),
            _document(hit),
        )
    return table


class AnswerPrinter:
    """Prints an answer stream: tokens as they come, then the evidence that is cited."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._begun = False

    def show(self, event: StreamEvent) -> bool:
        """Print ``event``; false where it says that the query failed."""
        if isinstance(event, AnswerStarted):
            if self._begun:
                self._console.print("\n[dim](the answer begins again)[/]")
            self._begun = True
        elif isinstance(event, TokenGenerated):
            self._console.print(escape(harmless(event.text)), end="", soft_wrap=True)
        elif isinstance(event, AnswerFinished):
            self._console.print()
            if event.citations:
                self._console.print(evidence_table(event.citations))
        elif isinstance(event, AnswerFailed):
            self._console.print(f"[bold red]error:[/] {escape(event.stage)}: {escape(harmless(event.reason))}")
            if event.hint:
                self._console.print(f"[bold]hint:[/] {escape(event.hint)}")
            return False
        return True


def _table(*columns: str) -> Table:
    """Only the words may be wrapped: a name or a time that is cut in two cannot be copied."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in columns:
        table.add_column(name, justify="right" if name in _NUMBERS else "left", no_wrap=name != "what", overflow="fold")
    return table


def _document(item: Evidence | Hit) -> Text:
    """The name of the document, linked to where it lies (terminals that know links make it clickable)."""
    uri = item.source_uri
    name = unquote(urlsplit(uri).path).rstrip("/").rpartition("/")[2]
    return Text(harmless(name or item.document_id), Style(link=quote(uri, safe=_IN_LINKS) if uri else None))


def _short(text: str) -> Text:
    line = " ".join(harmless(text).split())
    return Text(line if len(line) <= MAX_TEXT else line[: MAX_TEXT - 1] + "…")


def harmless(text: str) -> str:
    """``text`` without control characters: what stands in a document must not steer the terminal."""
    return _CONTROL.sub("", text)
