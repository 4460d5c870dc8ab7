"""What a shell is told and given: its rules, and the parts that it works with."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from schemas.generations import FIRST
from streams.answered import Answered
from streams.faultpoints import Reach, nowhere
from streams.gate import Gate
from streams.ledger import Ledger, Turns
from streams.refusals import Cap
from streams.tenancy import Check

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 5.0


def wall_ms() -> int:
    """Wall clock, milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


async def back_off(attempt: int) -> None:
    """Wait before the next attempt: twice as long each time, up to a bound, and never in step with others."""
    longest = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(attempt - 1, 10))
    await asyncio.sleep(longest * (0.5 + random.random() / 2))  # noqa: S311  # no secret


@dataclass(frozen=True, slots=True)
class Rules:
    """How a shell batches, and how patient it is with events that fail."""

    batch_size: int = 32
    batch_wait_s: float = 0.0
    lanes: int = 1
    attempts: int = 3
    deaths: int = 5


@dataclass(frozen=True, slots=True)
class Parts:
    """What a shell works with; a test replaces what it wants to see. ``turns`` is one for all shells of a process.

    ``on_trouble`` is told what the stage waits for, and with an empty text that it goes on.
    """

    cap: Cap = field(default_factory=Cap)
    ledger: Ledger | None = None
    turns: Turns = field(default_factory=Turns)
    answered: Answered | None = None
    gate: Gate | None = None
    check: Check = lambda record, event: None
    generation: str = FIRST
    now_ms: Callable[[], int] = wall_ms
    reach: Reach = nowhere
    back_off: Callable[[int], Awaitable[None]] = back_off
    on_trouble: Callable[[str], None] = lambda reason: None
