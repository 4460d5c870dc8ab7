"""Keeps a process alive: starts it again with backoff whenever it ends, and gives up when it keeps ending."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from streams.child import Child, ChildFailed

STOPPED = 20
"""The exit code of a worker that must not be started again before somebody has looked (``streams/refusals.py``)."""


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """How long to wait before a process that has ended starts again, and when to give up."""

    quick_s: float = 30.0
    most_quick: int = 5
    first_pause_s: float = 0.2
    longest_pause_s: float = 10.0

    def pause_s(self, quick_ends: int) -> float:
        """Doubles with each quick end in a row; random within a factor of two, so that no two march in step."""
        longest = min(self.longest_pause_s, self.first_pause_s * 2.0 ** min(quick_ends - 1, 30))
        return longest * (0.5 + random.random() / 2)  # noqa: S311  # no secret


DEFAULT_POLICY = RestartPolicy()


async def keep_alive(
    start: Callable[[], Awaitable[Child]],
    policy: RestartPolicy,
    *,
    on_start: Callable[[Child], None],
    on_end: Callable[[Child, int], None],
    was_ready: Callable[[Child], bool] = lambda child: False,
) -> None:
    """Start it, and again whenever it ends; tell both. Returns where it ended with ``STOPPED``.

    Raises ``ChildFailed`` where it has ended ``most_quick`` times in a row within ``quick_s`` of its start and was
    never ready: what works and dies of an event is started again for as long as that takes (``streams/ledger.py``).
    """
    quick_ends = failed_starts = 0
    while True:
        child = await start()
        on_start(child)
        code = await child.wait()
        on_end(child, code)
        if code == STOPPED:
            return
        is_quick = time.monotonic() - child.started < policy.quick_s
        quick_ends = quick_ends + 1 if is_quick else 1
        failed_starts = 0 if was_ready(child) else failed_starts + 1 if is_quick else 1
        if failed_starts > policy.most_quick:
            raise ChildFailed(
                f"{child.name} keeps ending ({code}): {child.last_words()}", hint=f"its log is {child.log}"
            )
        await asyncio.sleep(policy.pause_s(quick_ends))
