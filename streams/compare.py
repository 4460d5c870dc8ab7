"""Two index generations asked the same questions: how much of what they find is the same, and how fast they are.

In: questions. Out: what differs, question by question, and in all. A question is asked of both generations through the
running system, so that each one's models read it. Raises what ``Client.search`` raises.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from schemas.answers import Hit
from schemas.queries import QueryAsked, QueryStage
from streams.client import AskOptions, Client
from streams.client_errors import UsageError
from streams.tail import open_consumer, read_to_end
from streams.topics import QUERIES_ASKED
from streams.wire import decode
from workers.errors import InvalidEvent

DEPTH = 10


class Compared(BaseModel):
    """One question. ``overlap``: the share of documents among the first ten that both found; 1 where none found any."""

    model_config = ConfigDict(frozen=True)

    question: str
    overlap: float
    same_first: bool
    before: tuple[str, ...]
    after: tuple[str, ...]
    before_s: float
    after_s: float


class Comparison(BaseModel):
    """All questions."""

    model_config = ConfigDict(frozen=True)

    before: str
    after: str
    overlap: float
    same_first: float
    before_p50_s: float
    after_p50_s: float
    questions: tuple[Compared, ...]


async def compare(client: Client, questions: Sequence[str], before: str, after: str, *, tenant: str) -> Comparison:
    """Ask both generations each of ``questions``."""
    if not questions:
        raise UsageError("there are no questions to compare by", hint="give --queries FILE")
    found = [await _compared(client, question, before, after, tenant) for question in questions]
    return Comparison(
        before=before,
        after=after,
        overlap=statistics.fmean(one.overlap for one in found),
        same_first=statistics.fmean(one.same_first for one in found),
        before_p50_s=statistics.median(one.before_s for one in found),
        after_p50_s=statistics.median(one.after_s for one in found),
        questions=tuple(found),
    )


async def _compared(client: Client, question: str, before: str, after: str, tenant: str) -> Compared:
    (old, old_s), (new, new_s) = [await _documents(client, question, name, tenant) for name in (before, after)]
    either = len(set(old) | set(new))
    return Compared(
        question=question,
        overlap=len(set(old) & set(new)) / either if either else 1.0,
        same_first=old[:1] == new[:1],
        before=old,
        after=new,
        before_s=round(old_s, 3),
        after_s=round(new_s, 3),
    )


async def _documents(client: Client, question: str, generation: str, tenant: str) -> tuple[tuple[str, ...], float]:
    options = AskOptions(tenant=tenant, generation=generation, limit=DEPTH)
    began = time.monotonic()
    hits = await client.search(question, options, stage=QueryStage.RERANK)
    return tuple(_first_of_each(hits)), time.monotonic() - began


def _first_of_each(hits: Iterable[Hit]) -> dict[str, None]:
    return dict.fromkeys(hit.document_id for hit in hits)


def from_file(path: Path) -> list[str]:
    """Questions, one a line: plain, or JSON objects with ``question`` as ``search --batch`` reads them."""
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    return [_question(line) for line in lines if line]


def _question(line: str) -> str:
    if not line.startswith("{"):
        return line
    try:
        return str(json.loads(line)["question"])
    except (ValueError, KeyError) as error:
        raise UsageError(
            f"{line[:80]!r} has no question", hint='write {"question": "..."} or the words alone'
        ) from error


async def recent(kafka: str, tenant: str, most: int) -> list[str]:
    """The words of the last questions of a tenant, each once, oldest first."""
    consumer = await open_consumer(kafka, [QUERIES_ASKED])
    asked: dict[str, int] = {}
    try:
        async for record in read_to_end(consumer):
            try:
                event = decode(record)
            except InvalidEvent:
                continue  # the retrieve stage refuses it
            if isinstance(event, QueryAsked) and event.tenant == tenant and event.question and not event.generation:
                asked.pop(event.question, None)
                asked[event.question] = record.timestamp_ms
    finally:
        await consumer.stop()
    return sorted(asked, key=lambda question: asked[question])[-most:]
