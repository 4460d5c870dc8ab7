"""A shell around a stage that does what the test says, and a broker that remembers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any

from schemas.answers import AnswerFinished
from schemas.base import Event
from schemas.chunks import ChunksEmbedded, ChunksExtracted
from streams.record import Record
from streams.shell import Parts, Received, Rules, Shell
from streams.wire import encode
from workers.stage import Output

NOW_MS = 1_700_000_000_000
Process = Callable[[Sequence[Event]], AsyncGenerator[Output, None]]


class Broker:
    """Remembers what was sent and what was acknowledged; ``refuse`` may raise on either step of a delivery."""

    def __init__(self) -> None:
        self.sent: list[Event] = []
        self.acked: list[int] = []
        self.log: list[str] = []
        self.refuse: Callable[[Event, str], None] = lambda event, step: None
        self.hold: asyncio.Event | None = None

    async def send(self, event: Event) -> Awaitable[None]:
        self.refuse(event, "send")
        self.sent.append(event)
        return asyncio.ensure_future(self._deliver(event))

    async def _deliver(self, event: Event) -> None:
        if self.hold:
            await self.hold.wait()
        self.refuse(event, "delivery")
        self.log.append("delivered")

    def received(self, event: Event | bytes, offset: int) -> Received:
        if isinstance(event, Event):
            wire = encode(event)
            record = Record(wire.topic, wire.value, wire.key, wire.headers, 0, offset, NOW_MS)
        else:
            record = Record("chunks.extracted.v1", event, b"t/broken", (), 0, offset, NOW_MS)

        def ack() -> None:
            self.acked.append(offset)
            self.log.append("acked")

        return Received(record, ack)

    def of(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.sent if isinstance(event, kind)]


class Scripted:
    """A stage that does what the test says."""

    name = "embed"

    def __init__(self, process: Process) -> None:
        self.process = process

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


async def echo(batch: Sequence[Event]) -> AsyncGenerator[Output, None]:
    for origin, event in enumerate(batch):
        yield Output(origin, embedded(event.subject))


def embedded(document: str) -> ChunksEmbedded:
    return ChunksEmbedded(document_id=document, version=1, event_time_ms=0)


def extracted(document: str) -> ChunksExtracted:
    return ChunksExtracted(tenant="acme", document_id=document, version=1, event_time_ms=0)


async def at_once(attempt: int) -> None:
    """A backoff without the wait."""
    await asyncio.sleep(0)


def parts_of(**parts: Any) -> Parts:
    return Parts(**{"now_ms": lambda: NOW_MS, "back_off": at_once, **parts})


def shell_of(process: Process, broker: Broker, rules: Rules | None = None, **parts: Any) -> Shell:
    return Shell(Scripted(process), broker.send, rules or Rules(batch_size=8), parts_of(**parts))


async def served(shell: Shell, broker: Broker, *events: Event | bytes) -> None:
    """Run ``events`` through the shell as one batch, until all are acknowledged."""
    for offset, event in enumerate(events):
        await shell.put(broker.received(event, offset))
    run = asyncio.create_task(shell.run())
    while not run.done() and len(broker.acked) < len(events):
        await asyncio.sleep(0)
    await shell.close()
    await run


def finished(query_id: str) -> AnswerFinished:
    return AnswerFinished(
        query_id=query_id, seq=0, at_ms=NOW_MS, answer="yes", citations=(), abstained=False, generator="fake"
    )
