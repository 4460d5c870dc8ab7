"""Servers that tests share: a broker of each kind, and a store. They start when a test first asks for them."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator

import pytest

from streams.admin import ensure_topics
from streams.broker import start_tansu
from streams.kafka_java import is_prepared, start_kafka
from streams.milvus_server import start_milvus

STARTS = {"tansu": start_tansu, "kafka": start_kafka}
HAS_KAFKA = shutil.which("java") is not None and is_prepared()
needs_kafka = [pytest.mark.kafka, pytest.mark.skipif(not HAS_KAFKA, reason="Apache Kafka is not here: `make kafka`")]
BROKERS = ["tansu", pytest.param("kafka", marks=needs_kafka)]


@pytest.fixture(scope="session", params=BROKERS)
def broker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The bootstrap address of a broker with all topics, once of each kind."""
    kind: str = request.param
    child, bootstrap = asyncio.run(STARTS[kind](tmp_path_factory.mktemp(kind)))
    try:
        asyncio.run(ensure_topics(bootstrap))
        yield bootstrap
    finally:
        asyncio.run(child.stop())


@pytest.fixture(scope="session")
def milvus_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URI of a milvus-lite server."""
    child, uri = asyncio.run(start_milvus(tmp_path_factory.mktemp("milvus")))
    try:
        yield uri
    finally:
        asyncio.run(child.stop())
