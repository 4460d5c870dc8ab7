"""A system of its own for as long as a block runs: ``sensorium up`` as a child, for the demonstration and for bench."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from streams.child import Child, ChildFailed
from streams.runtime import wait_ready
from streams.settings import Settings

START_S = 120.0
STOP_S = 60.0


@asynccontextmanager
async def local_system(settings: Settings, options: Sequence[str] = ()) -> AsyncIterator[Child]:
    """Run ``up`` on ``settings.data_dir``; yields its process once all stages are ready.

    Other settings reach it by the environment, as for everybody. Raises ``ChildFailed`` where it ends by itself.
    """
    command = [sys.executable, "-m", "streams", "--data-dir", str(settings.data_dir), "up", *options]
    child = Child.start("sensorium up", command, log=settings.data_dir / "logs" / "up.log")
    ended = asyncio.create_task(child.wait())
    ready = asyncio.create_task(wait_ready(settings, START_S, grace_s=START_S))
    try:
        await asyncio.wait((ended, ready), return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            raise ChildFailed(f"sensorium up ended: {child.last_words()}", hint=f"its log is {child.log}")
        ready.result()
        yield child
    finally:
        ready.cancel()
        await child.stop(timeout_s=STOP_S)
        ended.cancel()
        await asyncio.gather(ready, ended, return_exceptions=True)
