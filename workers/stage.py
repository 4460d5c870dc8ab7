"""What a stage is: events in, events out, without a broker.

The shell in ``streams`` feeds a stage with batches and publishes what it yields. A yielded ``Output`` names by
``origin`` the position, within the batch, of the event that it came from, so that the shell can carry the trace on,
dead-letter the one event that failed, and acknowledge in order.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Protocol

from schemas.base import Event
from workers.errors import InvalidEvent


@dataclass(frozen=True, slots=True)
class Output:
    """One result: an event to publish, or why the event at ``origin`` was refused."""

    origin: int
    result: Event | InvalidEvent


class Stage(Protocol):
    """One step of a pipeline."""

    name: str

    async def start(self) -> None:
        """Load models, connect; called once before the first batch. Raises ``TransientError`` if a part is away."""

    async def stop(self) -> None:
        """Release everything."""

    def process(self, batch: Sequence[Event]) -> AsyncGenerator[Output, None]:
        """Turn a batch into results.

        An event is done when the iterator ends. A refused event yields one ``InvalidEvent`` and does not disturb the
        others of its batch. A ``TransientError`` means that the batch, or what is left of it, must be tried again:
        effects are idempotent.
        """
        ...
