"""Which questions a worker answers: those of the index generation that it searches.

Each generation has retrieve workers of its own, all of which read every question. A switch puts a mark into each
partition (``GenerationBegins``): what lies before it is answered from one generation, what lies behind it from the
other. So every question is answered by exactly one, in the same way after a crash, without the workers having to agree
on a moment. A worker that begins to read behind a mark learns of it from the topic of switches; before the first
switch, and where a broker keeps no topics, the store's alias says which generation is in use.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import TypeVar

import stamina
import structlog

from schemas.base import Event
from schemas.generations import GenerationBegins, GenerationSwitched
from schemas.queries import QueryAsked
from streams.record import Record
from streams.tail import open_consumer, read_to_end
from streams.tenancy import Check
from streams.topics import GENERATIONS
from streams.wire import decode
from workers.errors import InvalidEvent, TransientError

log = structlog.get_logger()

T = TypeVar("T")

Switches = Callable[[], Awaitable[Sequence[GenerationSwitched]]]
"""Reads the switches so far, oldest first."""


class Gate:
    """The gate of one worker. ``in_use`` asks the store; both it and ``switches`` are asked seldom."""

    def __init__(
        self,
        generation: str,
        switches: Switches,
        in_use: Callable[[], Awaitable[str]],
        check: Check = lambda record, event: None,
    ) -> None:
        self._generation = generation
        self._switches = switches
        self._in_use = in_use
        self._check = check
        self._answering: dict[int, str] = {}  # by partition
        self._reading: asyncio.Task[Sequence[GenerationSwitched]] | None = None

    def assigned(self) -> None:
        """The partitions are new: marks may have passed while others had them. Reads the switches beforehand."""
        self._answering.clear()
        self._reading = asyncio.create_task(self._read(), name="switches")

    async def admits(self, record: Record) -> bool:
        """Whether this worker answers the question in ``record``; asked for each record of a partition in turn."""
        partition = record.partition
        if partition not in self._answering:
            self._answering[partition] = await self._before(record)
        event = self._event(record)
        if isinstance(event, GenerationBegins):
            log.info("generation.begins", generation=event.generation, partition=partition, offset=record.offset)
            self._answering[partition] = event.generation
            return False
        asked = event.generation if isinstance(event, QueryAsked) else ""
        return (asked or self._answering[partition]) == self._generation

    def _event(self, record: Record) -> Event | None:
        """What ``record`` holds. What nobody may send, or read, goes to the generation in use, which refuses it."""
        try:
            event = decode(record)
            self._check(record, event)
        except InvalidEvent:
            return None
        return event

    async def _before(self, record: Record) -> str:
        """The generation that answers at the place of ``record``."""
        switches = await (self._reading or self._read())
        for switch in reversed(switches):
            if switch.marks.get(record.partition, -1) < record.offset:
                return switch.generation
        return switches[0].before if switches else await _patiently(self._in_use)

    async def _read(self) -> Sequence[GenerationSwitched]:
        return await _patiently(self._switches)


async def _patiently(work: Callable[[], Awaitable[T]]) -> T:
    """What ``work`` gives, as soon as Kafka or the store is there."""
    async for attempt in stamina.retry_context(on=TransientError, attempts=None, timeout=None, wait_max=5.0):
        with attempt:
            return await work()
    raise AssertionError("it is tried for ever")


def switches_of(bootstrap: str) -> Switches:
    """Reads the switches from the broker. Raises ``TransientError`` where it is away."""

    async def read() -> list[GenerationSwitched]:
        async with aclosing(_records(bootstrap)) as records:
            events = [decode(record) async for record in records]
        return [event for event in events if isinstance(event, GenerationSwitched)]

    return read


async def _records(bootstrap: str) -> AsyncGenerator[Record, None]:
    consumer = await open_consumer(bootstrap, [GENERATIONS])
    try:
        async for record in read_to_end(consumer):
            yield record
    finally:
        await consumer.stop()
