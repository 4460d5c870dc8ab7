"""A worker process whose stages need no models: ``python -m tests.streams.small_worker STAGE…``.

``embed`` takes ``EMBED_SECONDS`` for a batch, fails at a document named ``fault``, dies at one named ``killer``,
refuses those whose names begin with ``refused``, and for one named ``block`` it takes its time without giving way. With
``NEXT_VERSION`` it is of the next version of the schema: its events have a field more, which it reads and writes.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from functools import partial

from schemas.answers import AnswerFinished
from schemas.base import Event
from schemas.chunks import ChunksEmbedded, ChunksExtracted, ChunksIndexed
from schemas.queries import QueryRefined
from streams import logs
from streams.settings import Settings
from streams.shell import wall_ms
from streams.stages import STAGES, Resources
from streams.topics import EVENT_OF, TOPIC_OF
from streams.worker import run_worker
from workers.errors import InvalidEvent
from workers.stage import Output


class Small:
    """From one event to the next of its document."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def process(self, batch: Sequence[Event]) -> AsyncGenerator[Output, None]:
        seconds = float(os.environ.get("EMBED_SECONDS", "0")) if self.name == "embed" else 0
        if "block" in [event.subject for event in batch]:
            time.sleep(seconds)
        else:
            await asyncio.sleep(seconds)
        for origin, event in enumerate(batch):
            name = event.subject
            if self.name == "index":
                yield Output(origin, ChunksIndexed(document_id=name, version=1, event_time_ms=0, searchable_ms=0))
                continue
            if isinstance(event, QueryRefined):
                yield Output(origin, finished(event))
                continue
            if name == "fault":
                raise ZeroDivisionError
            if name == "killer":
                os.kill(os.getpid(), signal.SIGSEGV)
            if name.startswith("refused"):
                yield Output(origin, InvalidEvent("it is refused"))
                continue
            embedded = ChunksEmbedded(document_id=name, version=1, event_time_ms=0)
            if isinstance(event, NextExtracted):
                embedded = embedded.model_copy(update={"mood": event.mood, "read_by": "next"})
            yield Output(origin, embedded)


def finished(query: QueryRefined) -> AnswerFinished:
    """The shortest answer stream: its end."""
    now = wall_ms()
    return AnswerFinished(
        query_id=query.query_id,
        tenant=query.tenant,
        attempt=now,
        seq=0,
        at_ms=now,
        answer="yes",
        citations=(),
        abstained=False,
        generator="small",
    )


class NextExtracted(ChunksExtracted):
    """What the next version makes of the event."""

    mood: str = "none"


def build(name: str, _: Resources) -> Small:
    return Small(name)


def main() -> int:
    names = sys.argv[1:]
    for name in names:
        STAGES[name] = replace(STAGES[name], build=partial(build, name))
    if "NEXT_VERSION" in os.environ:
        EVENT_OF[NextExtracted.ce_type] = NextExtracted
        TOPIC_OF[NextExtracted] = TOPIC_OF[ChunksExtracted]
    settings = Settings()
    logs.configure(level=settings.log_level, fmt="json")
    return run_worker(settings, names)


if __name__ == "__main__":
    sys.exit(main())
