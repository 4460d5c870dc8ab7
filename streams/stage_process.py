"""One stage in a worker process: the stage, its shell, its Faust app, started and ended together.

Raises ``TransientError`` where the group cannot be joined, ``RuntimeError`` where the consumer has crashed, and
whatever ends the shell (``streams/shell.py``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import NoReturn

import structlog

from streams.answered import Answered, answers_of
from streams.app import build_app
from streams.faultpoints import armed
from streams.gate import Gate, switches_of
from streams.ledger import Ledger, Turns
from streams.parts import Parts, Rules, back_off
from streams.publisher import Publisher
from streams.refusals import Cap
from streams.shell import Shell
from streams.stages import Resources, StageSpec, own_name
from streams.tenancy import checker
from streams.topics import of_generation
from workers.errors import TransientError

log = structlog.get_logger()

WATCH_S = 0.5
QUIET_WAITS = 5
"""Parts that start together are away at first; the log need not tell."""
JOIN_PATIENCE_S = 180.0
"""Longer than a rebalance, which waits for the work in flight elsewhere."""
OnTrouble = Callable[[str, str], None]
"""Told of a stage what it waits for, and with an empty text that it goes on."""


class StageProcess:
    """One stage with its shell and its Faust app."""

    def __init__(
        self, spec: StageSpec, resources: Resources, publisher: Publisher, turns: Turns, on_trouble: OnTrouble
    ) -> None:
        settings = resources.settings
        rules = Rules(
            batch_size=min(settings.batch_size, spec.most),
            batch_wait_s=settings.batch_wait_ms / 1000 if spec.is_batching else 0,
            lanes=spec.lanes,
            attempts=settings.attempts,
            deaths=settings.deaths,
        )
        place = settings.data_dir / "attempts" / own_name(spec.name, settings.generation)
        self.ledger = Ledger(place, lanes=rules.lanes, most=rules.batch_size)
        parts = Parts(
            cap=Cap(settings.dead_letter_cap),
            ledger=self.ledger,
            turns=turns,
            answered=None if spec.is_ingestion else Answered(answers_of(resources.addresses.kafka)),
            gate=_gate(resources) if spec.name == "retrieve" else None,
            check=checker(settings.producers),
            generation=settings.generation,
            reach=armed(settings.faults, spec.name, settings.data_dir),
            on_trouble=partial(on_trouble, spec.name),
        )
        self.stage = spec.build(resources)
        self.shell = Shell(self.stage, publisher.send, rules, parts)
        topic = of_generation(spec.topic, settings.generation)
        self.app = build_app(topic, self.shell, settings, resources.addresses.kafka)
        self._joined = asyncio.Event()
        self.app.on_partitions_assigned.connect(self._on_assigned)

    async def _on_assigned(self, *_: object, **__: object) -> None:
        """The group has settled; with more workers than partitions some of them have none."""
        self._joined.set()

    async def start(self) -> None:
        """Load the models while the consumer joins its group. Raises ``TransientError`` where a part stays away."""
        ready = asyncio.gather(patiently(self.stage.start), self.app.start(), self._join())
        await first_of(ready, self._crash())

    async def _join(self) -> None:
        try:
            await asyncio.wait_for(self._joined.wait(), JOIN_PATIENCE_S)
        except TimeoutError:
            raise TransientError(
                f"{self.stage.name} could not join its consumer group within {JOIN_PATIENCE_S:.0f} s",
                hint="Kafka takes session timeouts between 6 s and 30 min: see SENSORIUM_SESSION_TIMEOUT_S",
            ) from None

    async def run(self) -> None:
        """Process until the shell is closed. Raises what must end the process."""
        await first_of(self.shell.run(), self._crash())

    async def stop(self) -> None:
        """Commit and leave the group, release the stage."""
        await self.leave()
        await self.stage.stop()

    async def leave(self) -> None:
        """Commit what is acknowledged and leave the group."""
        await self.app.stop()

    async def _crash(self) -> NoReturn:
        """Raises when the Faust app has crashed; by itself it neither raises nor ends."""
        while True:
            await asyncio.sleep(WATCH_S)
            if self.app.crashed:
                raise RuntimeError(f"the consumer of {self.stage.name} has crashed") from self.app.crash_reason


def _gate(resources: Resources) -> Gate:
    return Gate(
        resources.settings.generation,
        switches_of(resources.addresses.kafka),
        resources.store.in_use,
        checker(resources.settings.producers),
    )


async def first_of(*work: Awaitable[object]) -> None:
    """Wait until one of them is done, and cancel the others. Raises what it raised."""
    tasks = [asyncio.ensure_future(item) for item in work]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def patiently(start: Callable[[], Awaitable[None]]) -> None:
    """A part that we need may still be starting itself, or be away: it is waited for as long as that takes."""
    waits = 0
    while True:
        try:
            await start()
        except TransientError as error:
            waits += 1
            (log.warning if waits > QUIET_WAITS else log.debug)(
                "worker.waits", reason=error.reason, hint=error.hint, times=waits
            )
            await back_off(waits)
        else:
            return
