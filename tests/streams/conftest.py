"""A broker of its own for each test that asks for one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from streams.admin import ensure_topics
from streams.broker import start_tansu
from streams.publisher import Publisher


@pytest.fixture
async def bootstrap(tmp_path: Path) -> AsyncIterator[str]:
    child, address = await start_tansu(tmp_path)
    await ensure_topics(address)
    yield address
    await child.stop()


@pytest.fixture
async def publisher(bootstrap: str) -> AsyncIterator[Publisher]:
    publisher = Publisher(bootstrap)
    await publisher.start()
    yield publisher
    await publisher.stop()
