"""A worker process whose stages need no models: ``python -m tests.streams.small_worker STAGE…``.

``embed`` takes ``EMBED_SECONDS`` for a batch and fails at a document named ``fault``.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from functools import partial

from schemas.base import Event
from schemas.chunks import ChunksEmbedded, ChunksIndexed
from streams import logs
from streams.settings import Settings
from streams.stages import STAGES, Resources
from streams.worker import run_worker
from workers.stage import Output


class Small:
    """From one event to the next of its document."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def process(self, batch: Sequence[Event]) -> AsyncGenerator[Output, None]:
        if self.name == "embed":
            await asyncio.sleep(float(os.environ.get("EMBED_SECONDS", "0")))
        for origin, event in enumerate(batch):
            name = event.subject
            if self.name == "index":
                yield Output(origin, ChunksIndexed(document_id=name, version=1, event_time_ms=0, searchable_ms=0))
                continue
            if name == "fault":
                raise ZeroDivisionError
            yield Output(origin, ChunksEmbedded(document_id=name, version=1, event_time_ms=0))


def build(name: str, _: Resources) -> Small:
    return Small(name)


def main() -> int:
    names = sys.argv[1:]
    for name in names:
        STAGES[name] = replace(STAGES[name], build=partial(build, name))
    settings = Settings()
    logs.configure(level=settings.log_level, fmt="json")
    return run_worker(settings, names)


if __name__ == "__main__":
    sys.exit(main())
