"""A broker of its own for each test that asks for one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from streams.admin import ensure_topics
from streams.publisher import Publisher
from tests.conftest import STARTS


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
