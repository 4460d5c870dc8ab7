"""Reindexing without downtime: a new index generation is built beside the one in use, compared, and switched to.

``start`` has workers build it from the topics and blobs; it catches up with what arrives meanwhile. ``compare`` asks
both. ``switch`` lets the new one answer, from a mark in each partition of the questions on (``streams/gate.py``), and
moves the store's alias; ``rollback`` is a switch back, for both go on being built. ``drop`` removes one that is not in
use. Raises ``UsageError`` for what cannot be asked, ``NotReady`` where a generation has not caught up, and
``TransientError`` where Kafka or the store is away.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

from pydantic import BaseModel, ConfigDict

from schemas.generations import GenerationBegins, GenerationSwitched
from streams import runtime
from streams.admin import forget_generation, partitions_of, stage_lag
from streams.client_errors import UsageError
from streams.gate import switches_of
from streams.generations import checked, read_generations, write_generations, write_used
from streams.publisher import Publisher
from streams.settings import Settings
from streams.shell import wall_ms
from streams.stages import PER_GENERATION, generations_of
from streams.tenancy import signer
from streams.topics import QUERIES_ASKED
from streams.wire import encode
from workers.errors import SensoriumError

CATCH_UP_S = 30.0
POLL_S = 0.2
_HINT = "`sensorium reindex status` shows all"
NEAR = 32
"""Records of lag at which the rest is a matter of moments."""


class NotReady(SensoriumError):
    """A generation that has not caught up cannot be switched to."""


class GenerationState(BaseModel):
    """What is known of one generation. ``lag`` is that of the stages that it has for itself."""

    model_config = ConfigDict(frozen=True)

    name: str
    in_use: bool
    settings: dict[str, str] = {}
    chunks: int
    documents: int
    missing: int
    """Documents that the generation in use has and this one has not."""
    lag: dict[str, int]


class Switched(BaseModel):
    """A switch that was made; ``seconds`` from the first mark to the alias."""

    model_config = ConfigDict(frozen=True)

    generation: str
    before: str
    seconds: float


class Reindexing:
    """The generations of one system."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._addresses = runtime.resolve(settings)
        self._store = generations_of(settings, self._addresses)

    def start(self, name: str, changes: list[str]) -> None:
        """Have ``sensorium up`` build a new generation, whose settings differ by ``changes`` (``PROFILE=hub``)."""
        there = read_generations(self._settings)
        if name in self._store.names() or name in {generation.name for generation in there}:
            raise UsageError(f"there is a generation {name} already", hint="choose another name, or drop it first")
        write_generations(self._settings, (*there, checked(name, changes)))

    async def states(self) -> list[GenerationState]:
        """All generations, the one in use first."""
        in_use = await asyncio.to_thread(self._store.in_use)
        names = await asyncio.to_thread(self._store.names)
        local = {generation.name: generation for generation in read_generations(self._settings)}
        used = await asyncio.to_thread(self._store.documents, in_use) if in_use else set()
        found = []
        for name in sorted(names, key=lambda name: (name != in_use, name)):
            documents = await asyncio.to_thread(self._store.documents, name)
            lag = await stage_lag(self._addresses.kafka, name)
            found.append(
                GenerationState(
                    name=name,
                    in_use=name == in_use,
                    settings=local[name].settings if name in local else {},
                    chunks=await asyncio.to_thread(self._store.chunks, name),
                    documents=len(documents),
                    missing=len(used - documents),
                    lag={stage: lag[stage] for stage in PER_GENERATION},
                )
            )
        return found

    async def before(self, name: str) -> str:
        """The generation in use, to which ``name`` is another one that is there."""
        before = await asyncio.to_thread(self._store.in_use)
        if name == before:
            raise UsageError(f"the generation {name} is in use already", hint=_HINT)
        if name not in await asyncio.to_thread(self._store.names):
            raise UsageError(f"there is no generation {name}", hint=_HINT)
        return before

    async def switch(self, name: str, *, timeout_s: float = CATCH_UP_S, force: bool = False) -> Switched:
        """Let ``name`` answer from now on. Waits until it has what the generation in use has, unless ``force``."""
        before = await self.before(name)
        if not force:
            await self._caught_up(name, before, timeout_s)
        started = time.monotonic()
        await self._mark(name, before)
        await asyncio.to_thread(self._store.use, name)
        write_used(self._settings, name)
        return Switched(generation=name, before=before, seconds=round(time.monotonic() - started, 3))

    async def rollback(self) -> Switched:
        """Let the generation answer again that did before the last switch."""
        switches = await switches_of(self._addresses.kafka)()
        if not switches:
            raise UsageError("there was no switch", hint="name a generation: sensorium reindex switch NAME")
        return await self.switch(switches[-1].before)

    async def drop(self, name: str) -> None:
        """Remove a generation that is not in use: its workers on this machine, its rows, its topics."""
        if name == await asyncio.to_thread(self._store.in_use):
            raise UsageError(f"the generation {name} is in use", hint="switch to another one first")
        left = [generation for generation in read_generations(self._settings) if generation.name != name]
        write_generations(self._settings, left)
        await self._workers_ended(name)
        if name in await asyncio.to_thread(self._store.names):
            await asyncio.to_thread(self._store.drop, name)
        await forget_generation(self._addresses.kafka, name)

    async def _mark(self, name: str, before: str) -> None:
        publisher = Publisher(self._addresses.kafka)
        await publisher.start()
        try:
            secret = self._settings.producer_secret.get_secret_value()
            mark = signer(self._settings.producer, secret)(encode(GenerationBegins(generation=name)))
            partitions = await partitions_of(self._addresses.kafka, QUERIES_ASKED)
            sent = [await publisher.send_again(replace(mark, partition=number)) for number in partitions]
            places = [await delivery for delivery in sent]
            marks = {place.partition: place.offset for place in places}
            await publisher.publish(
                GenerationSwitched(generation=name, before=before, marks=marks, switched_ms=wall_ms())
            )
        finally:
            await publisher.stop()

    async def _caught_up(self, name: str, before: str, timeout_s: float) -> None:
        """Wait until ``name`` has every document that ``before`` has now, and reads questions as they come."""
        wanted = await asyncio.to_thread(self._store.documents, before)
        deadline = time.monotonic() + timeout_s
        while True:
            lag = await stage_lag(self._addresses.kafka, name)
            behind = {stage: lag[stage] for stage in PER_GENERATION if lag[stage] > NEAR}
            missing = wanted - await asyncio.to_thread(self._store.documents, name)
            if missing:  # some may have been deleted meanwhile, in both
                missing &= await asyncio.to_thread(self._store.documents, before)
            if not missing and not behind:
                return
            if time.monotonic() > deadline:
                late = ", ".join(f"{stage} is {count} records behind" for stage, count in behind.items())
                raise NotReady(
                    f"the generation {name} lacks {len(missing)} documents{'; ' if late else ''}{late}",
                    hint="`sensorium reindex status` shows how far it is; --force switches all the same",
                )
            await asyncio.sleep(POLL_S)

    async def _workers_ended(self, name: str, timeout_s: float = CATCH_UP_S) -> None:
        deadline = time.monotonic() + timeout_s
        while any(worker.generation == name for worker in runtime.workers(self._settings.data_dir)):
            if time.monotonic() > deadline:
                raise NotReady(f"workers of {name} still run", hint="end those that `sensorium up` did not start")
            await asyncio.sleep(POLL_S)
