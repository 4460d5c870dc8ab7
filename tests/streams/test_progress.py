"""How far a document is, from events alone."""

from __future__ import annotations

import asyncio

import pytest

from schemas.base import Trace
from schemas.chunks import ChunksEmbedded, ChunksExtracted, ChunksIndexed
from schemas.letters import DeadLetter
from streams.client_errors import NoAnswer, UsageError
from streams.progress import Progress, ProgressBoard, Published, Step
from streams.wire import new_traceparent


def published(name: str) -> tuple[Published, Trace]:
    trace = Trace(traceparent=new_traceparent())
    return Published(tenant="t", document_id=name, version=1, trace_id=trace.trace_id), trace


async def follow(board: ProgressBoard, *items: Published, timeout_s: float = 5.0) -> list[Progress]:
    return [step async for step in board.follow(items, timeout_s)]


async def test_a_document_goes_step_by_step_and_counts_its_chunks() -> None:
    board = ProgressBoard()
    item, trace = published("d")
    board.expect(item)
    following = asyncio.create_task(follow(board, item))
    await asyncio.sleep(0)
    board.stored(item)
    about = {"tenant": "t", "document_id": "d", "version": 1, "event_time_ms": 0, "trace": trace}
    board.take(ChunksExtracted(**about, is_last=False))
    board.take(ChunksExtracted(**about, batch=1))
    board.take(ChunksEmbedded(**about, batch=1))
    board.take(ChunksIndexed(**about, is_last=False, chunk_ids=("a", "b"), searchable_ms=1))
    board.take(ChunksIndexed(**about, batch=1, chunk_ids=("c",), searchable_ms=2))
    steps = await following
    assert [step.step for step in steps] == [Step.STORED, Step.EXTRACTED, Step.EMBEDDED, Step.SEARCHABLE]
    assert steps[-1].chunks == 3
    assert not steps[-1].failed


async def test_a_refused_document_ends_with_its_reason_and_the_others_go_on() -> None:
    board = ProgressBoard()
    (bad, bad_trace), (good, good_trace) = published("bad"), published("good")
    for item in (bad, good):
        board.expect(item)
    letter = DeadLetter(
        tenant="t",
        trace=bad_trace,
        stage="extract",
        topic="media.received.v1",
        partition=0,
        offset=0,
        about="bad",
        error="InvalidMedia",
        reason="it is empty",
        hint="send bytes",
        failed_ms=1,
    )
    board.take(letter)
    board.take(
        ChunksIndexed(
            tenant="t",
            document_id="good",
            version=1,
            event_time_ms=0,
            trace=good_trace,
            searchable_ms=1,
            is_deleted=True,
        )
    )
    steps = {step.published.document_id: step for step in await follow(board, bad, good)}
    assert steps["bad"].failed
    assert (steps["bad"].reason, steps["bad"].hint) == ("it is empty", "send bytes")
    assert steps["good"].step is Step.DELETED


async def test_silence_names_the_stage_that_is_silent() -> None:
    board = ProgressBoard()
    item, trace = published("slow")
    board.expect(item)
    board.take(ChunksExtracted(tenant="t", document_id="slow", version=1, event_time_ms=0, trace=trace))
    with pytest.raises(NoAnswer, match="embed has not answered"):
        await follow(board, item, timeout_s=0.05)


async def test_another_clients_document_cannot_be_waited_for() -> None:
    item, _ = published("strange")
    with pytest.raises(UsageError, match="not published by this client"):
        await follow(ProgressBoard(), item)
