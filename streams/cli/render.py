"""Answers, hits and evidence for people."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from schemas.answers import AnswerFailed, AnswerFinished, AnswerStarted, Hit, StreamEvent, TokenGenerated
from schemas.media import Modality
from schemas.queries import Evidence

MAX_TEXT = 160


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
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("", "what", "where", "source", "score"):
        table.add_column(name, justify="right" if name in ("", "score") else "left", overflow="fold")
    for item in evidence:
        name = escape(f"{item.source_uri or item.document_id}")
        table.add_row(
            f"[{item.number}]".replace("[", r"\["),
            escape(_short(item.text)),
            escape(place(item)),
            f"{name} [dim]{escape(item.source)}[/]",
            f"{item.score:.2f}",
        )
    return table


def hit_table(hits: Iterable[Hit]) -> Table:
    """Ranked hits."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("rank", "score", "kind", "what", "where", "source"):
        table.add_column(name, justify="right" if name in ("rank", "score") else "left", overflow="fold")
    for hit in hits:
        table.add_row(
            str(hit.rank),
            f"{hit.score:.2f}",
            hit.modality.value,
            escape(_short(hit.text)),
            escape(place(hit)),
            escape(hit.source_uri or hit.document_id),
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
            self._console.print(escape(event.text), end="", soft_wrap=True)
        elif isinstance(event, AnswerFinished):
            self._console.print()
            if event.citations:
                self._console.print(evidence_table(event.citations))
        elif isinstance(event, AnswerFailed):
            self._console.print(f"[bold red]error:[/] {escape(event.stage)}: {escape(event.reason)}")
            if event.hint:
                self._console.print(f"[bold]hint:[/] {escape(event.hint)}")
            return False
        return True


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= MAX_TEXT else line[: MAX_TEXT - 1] + "…"
