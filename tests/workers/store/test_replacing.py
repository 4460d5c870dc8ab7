"""A query that runs while a document is replaced sees its old version or its new one, never both."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from schemas.chunks import ChunksEmbedded
from schemas.queries import Candidate
from tests.workers.made import direction, embedded
from workers.index import IndexStage
from workers.store.request import SearchRequest
from workers.store.vectors import MilvusStore

pytestmark = pytest.mark.e2e

VERSIONS, BATCHES, PLACES = 12, 3, 4


def batches(document: str, version: int) -> list[ChunksEmbedded]:
    """A version of a document, in several events."""
    return [
        embedded(
            document,
            version,
            [f"{batch}-{place}" for place in range(PLACES)],
            batch=batch,
            is_last=batch == BATCHES - 1,
        )
        for batch in range(BATCHES)
    ]


async def replace_again_and_again(store: MilvusStore) -> None:
    stage = IndexStage(store)
    for version in range(1, VERSIONS + 1):
        for event in batches("d", version):
            async for _ in stage.process([event]):
                pass
            await asyncio.sleep(0.005)


async def mixes(store: MilvusStore) -> tuple[int, int]:
    """How many searches saw two versions of the document, and how many saw it at all after its first."""
    writer = asyncio.create_task(replace_again_and_again(store))
    mixed = seen = 0
    while not writer.done():
        found = await store.search(SearchRequest("t", direction("d 1-1 v3")[None], "d", 40))
        versions = {candidate.item.chunk.version for candidate in found}
        mixed += len(versions) > 1
        seen += bool(versions)
    await writer
    return mixed, seen


async def test_no_query_sees_two_versions(store: MilvusStore) -> None:
    mixed, seen = await mixes(store)
    assert seen > 10
    assert mixed == 0
    last = await store.search(SearchRequest("t", np.zeros((0, store.dimension), np.float32), "d", 40))
    assert {candidate.item.chunk.version for candidate in last} == {VERSIONS}
    assert len(last) == BATCHES * PLACES


async def test_without_the_choice_queries_would(store: MilvusStore, monkeypatch: pytest.MonkeyPatch) -> None:
    async def everything(_: MilvusStore, found: list[Candidate]) -> list[Candidate]:
        return found

    monkeypatch.setattr(MilvusStore, "_one_version_each", everything)
    mixed, _ = await mixes(store)
    assert mixed > 0
