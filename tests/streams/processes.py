"""Worker processes without models, for tests: started, watched, asked what they have logged."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path

from streams.child import Child
from streams.runtime import workers

Start = Callable[..., Coroutine[None, None, Child]]
"""Starts a worker process of some stages and waits until it is ready; what is named is its environment."""


def child_command(*stages: str) -> list[str]:
    return [sys.executable, "-m", "tests.streams.small_worker", *stages]


def environment(data_dir: Path, bootstrap: str) -> dict[str, str]:
    return {
        "SENSORIUM_DATA_DIR": str(data_dir),
        "SENSORIUM_KAFKA": bootstrap,
        "SENSORIUM_MILVUS": "http://127.0.0.1:1",
        "SENSORIUM_SESSION_TIMEOUT_S": "6",
        "SENSORIUM_BATCH_SIZE": "4",
    }


def state(data_dir: Path, pid: int) -> str:
    return next((worker.state for worker in workers(data_dir) if worker.pid == pid), "unknown")


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(40):
        while not condition():
            await asyncio.sleep(0.02)


async def ended(child: Child) -> int:
    return await asyncio.wait_for(child.wait(), 40)


def log_of(child: Child) -> list[dict[str, str]]:
    return [json.loads(line) for line in child.log.read_text().splitlines() if line.startswith("{")]
