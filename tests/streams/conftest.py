"""A broker of its own for each test that asks for one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from streams.admin import ensure_topics
from streams.child import Child
from streams.publisher import Publisher
from tests.conftest import STARTS
from tests.streams.processes import Start, child_command, environment, state, until


@pytest.fixture
def broker_kind() -> str:
    """Which broker: a test that runs on both overrides it with parameters."""
    return "tansu"


@pytest.fixture
async def bootstrap(broker_kind: str, tmp_path: Path) -> AsyncIterator[str]:
    child, address = await STARTS[broker_kind](tmp_path)
    await ensure_topics(address)
    yield address
    await child.stop()


@pytest.fixture
async def publisher(bootstrap: str) -> AsyncIterator[Publisher]:
    publisher = Publisher(bootstrap)
    await publisher.start()
    yield publisher
    await publisher.stop()


@pytest.fixture
async def start(tmp_path: Path, bootstrap: str) -> AsyncIterator[Start]:
    """Starts worker processes and waits until they are ready; ends those that a failed test leaves behind."""
    children: list[Child] = []

    async def start(*stages: str, until_state: str = "ready", **env: str) -> Child:
        log = tmp_path / f"worker-{len(children)}.log"
        child = Child.start(
            "a worker", child_command(*stages), log=log, env={**environment(tmp_path, bootstrap), **env}
        )
        children.append(child)
        await until(lambda: state(tmp_path, child.pid) == until_state)
        return child

    yield start
    for child in children:
        await child.stop()
