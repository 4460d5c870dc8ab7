"""A broker of its own for each test that asks for one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from streams.admin import ensure_topics
from streams.broker import start_tansu
from streams.kafka_java import start_kafka
from streams.publisher import Publisher


@pytest.fixture
def broker() -> str:
    """Which broker: a test that runs on both overrides it with parameters."""
    return "tansu"


@pytest.fixture
async def bootstrap(broker: str, tmp_path: Path) -> AsyncIterator[str]:
    child, address = await (start_tansu if broker == "tansu" else start_kafka)(tmp_path)
    await ensure_topics(address)
    yield address
    await child.stop()


@pytest.fixture
async def publisher(bootstrap: str) -> AsyncIterator[Publisher]:
    publisher = Publisher(bootstrap)
    await publisher.start()
    yield publisher
    await publisher.stop()
