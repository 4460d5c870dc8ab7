"""Buffers, batches, lanes and acknowledgements, without a broker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

import pytest

from schemas.answers import AnswerFinished
from schemas.base import Event
from schemas.chunks import ChunksEmbedded, ChunksExtracted
from streams.shell import Rules
from tests.streams.scripted import (
    NOW_MS,
    Broker,
    echo,
    embedded,
    extracted,
    finished,
    served,
    shell_of,
)
from workers.errors import TransientError
from workers.stage import Output


async def test_acknowledges_in_order_after_all_deliveries() -> None:
    broker = Broker()
    await served(shell_of(echo, broker), broker, *[extracted(f"d{number}") for number in range(5)])
    assert broker.acked == [0, 1, 2, 3, 4]
    assert broker.log == ["delivered"] * 5 + ["acked"] * 5


async def test_nothing_is_acknowledged_before_the_broker_has_answered() -> None:
    broker = Broker()
    broker.hold = asyncio.Event()
    shell = shell_of(echo, broker)
    await shell.put(broker.received(extracted("d0"), 0))
    run = asyncio.create_task(shell.run())
    while not broker.sent:
        await asyncio.sleep(0)
    await asyncio.sleep(0.01)
    assert broker.acked == []
    broker.hold.set()
    await shell.close()
    await run
    assert broker.acked == [0]


async def test_outputs_carry_the_trace_and_the_tenant_of_their_origin() -> None:
    broker = Broker()
    await served(shell_of(echo, broker), broker, extracted("d0"))
    [output] = broker.of(ChunksEmbedded)
    headers = dict(broker.received(extracted("d0"), 0).record.headers)
    assert output.tenant == "acme"
    assert output.trace.received_ms == NOW_MS
    assert [(hop.stage, hop.at_ms) for hop in output.trace.hops] == [("embed", NOW_MS)]
    assert output.trace.traceparent != (headers["ce_traceparent"] or b"").decode()


async def test_closing_finishes_the_batch_in_flight_and_leaves_the_queue() -> None:
    go = asyncio.Event()

    async def process(batch: Sequence[Event]) -> AsyncGenerator[Output, None]:
        await go.wait()
        yield Output(0, embedded(batch[0].subject))

    broker = Broker()
    shell = shell_of(process, broker, Rules(batch_size=1))
    for offset in range(2):
        await shell.put(broker.received(extracted(f"d{offset}"), offset))
    run = asyncio.create_task(shell.run())
    await asyncio.sleep(0.001)
    await shell.close()
    go.set()
    await run
    assert broker.acked == [0]


async def test_pause_waits_for_the_batch_in_flight_and_drops_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.shell.LOOK_AHEAD", 0)
    go = asyncio.Event()

    async def process(batch: Sequence[Event]) -> AsyncGenerator[Output, None]:
        await go.wait()
        yield Output(0, embedded(batch[0].subject))

    broker = Broker()
    shell = shell_of(process, broker, Rules(batch_size=1))
    run = asyncio.create_task(shell.run())
    for offset in range(3):  # one goes into the batch, two fill the queue
        await shell.put(broker.received(extracted(f"d{offset}"), offset))
        await asyncio.sleep(0.001)
    waiting = asyncio.create_task(shell.put(broker.received(extracted("d3"), 3)))
    await asyncio.sleep(0.001)
    assert not waiting.done()
    pause = asyncio.create_task(shell.pause(5))
    await asyncio.sleep(0.001)
    assert not pause.done()
    go.set()
    await pause
    assert broker.acked == [0]
    await waiting
    await shell.put(broker.received(extracted("d4"), 4))
    shell.resume()
    await shell.put(broker.received(extracted("d1"), 1))  # as the partition's new owner reads it
    await asyncio.sleep(0.01)
    await shell.close()
    await run
    assert broker.acked == [0, 1]


async def test_pause_does_not_wait_for_ever() -> None:
    async def process(batch: Sequence[Event]) -> AsyncGenerator[Output, None]:
        await asyncio.Event().wait()
        yield Output(0, embedded("never"))

    broker = Broker()
    shell = shell_of(process, broker)
    await shell.put(broker.received(extracted("d0"), 0))
    run = asyncio.create_task(shell.run())
    await asyncio.sleep(0.001)
    await shell.pause(0.01)
    assert broker.acked == []
    run.cancel()


async def test_batch_waits_a_moment_for_more_but_not_when_it_is_full() -> None:
    sizes: list[int] = []

    async def process(batch: Sequence[Event]) -> AsyncGenerator[Output, None]:
        sizes.append(len(batch))
        yield Output(0, embedded(batch[0].subject))

    broker = Broker()
    shell = shell_of(process, broker, Rules(batch_size=3, batch_wait_s=0.2))
    run = asyncio.create_task(shell.run())
    for offset in range(5):
        await shell.put(broker.received(extracted(f"d{offset}"), offset))
        await asyncio.sleep(0.001)
    assert sizes == [3]
    while len(broker.acked) < 5:
        await asyncio.sleep(0.01)
    assert sizes == [3, 2]
    await shell.close()
    await run


async def test_full_buffer_holds_the_consumer_back_by_count_and_by_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.shell.LOOK_AHEAD", 0)
    broker = Broker()
    shell = shell_of(echo, broker, Rules(batch_size=2))
    for offset in range(4):
        await shell.put(broker.received(extracted(f"d{offset}"), offset))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(shell.put(broker.received(extracted("d4"), 4)), 0.01)
    monkeypatch.setattr("streams.intake.MOST_BYTES", 100)
    other = shell_of(echo, broker)
    await other.put(broker.received(b"x" * 200, 0))  # one always fits
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(other.put(broker.received(b"x", 1)), 0.01)


async def test_fault_points_lie_between_consume_effect_publish_and_ack() -> None:
    broker = Broker()

    async def process(batch: Sequence[Event]) -> AsyncGenerator[Output, None]:
        broker.log.append("effect done")
        async for output in echo(batch):
            yield output

    await served(shell_of(process, broker, reach=broker.log.append), broker, extracted("d0"), extracted("d1"))
    assert broker.log == [
        "consumed", "effect done", "effect", "sent", "delivered", "delivered", "published", "acked", "acked", "acked"
    ]  # fmt: skip


@pytest.mark.parametrize("leave", ["close", "pause"])
async def test_who_leaves_does_not_wait_for_a_part_that_is_away(leave: str) -> None:
    async def process(batch: Sequence[Event]) -> AsyncGenerator[Output, None]:
        raise TransientError("Milvus is away")
        yield Output(0, embedded("never"))

    broker = Broker()
    shell = shell_of(process, broker)
    await shell.put(broker.received(extracted("d0"), 0))
    run = asyncio.create_task(shell.run())
    await asyncio.sleep(0.01)
    async with asyncio.timeout(5):
        if leave == "pause":
            await shell.pause(60)
        await shell.close()
        await run
    assert broker.acked == []
    assert broker.sent == []


async def test_partitions_that_went_end_the_work_on_what_came_from_them() -> None:
    go = asyncio.Event()

    async def process(batch: Sequence[Event]) -> AsyncGenerator[Output, None]:
        await go.wait()
        async for output in echo(batch):
            yield output

    broker = Broker()
    shell = shell_of(process, broker)
    await shell.put(broker.received(extracted("d0"), 0))
    run = asyncio.create_task(shell.run())
    await asyncio.sleep(0.001)
    await shell.pause(0.01)  # it takes longer than the group waits
    shell.resume()
    go.set()
    await shell.put(broker.received(extracted("d1"), 1))
    while not broker.acked:
        await asyncio.sleep(0.001)
    await shell.close()
    await run
    assert [event.document_id for event in broker.of(ChunksEmbedded)] == ["d1"]
    assert broker.acked == [1]


async def test_unknown_fields_of_a_later_version_are_passed_on_but_never_become_fields_or_answers() -> None:
    async def process(batch: Sequence[Event]) -> AsyncGenerator[Output, None]:
        yield Output(0, embedded("d0"))
        yield Output(0, finished("q0"))

    later = ChunksExtracted.model_validate(
        {"document_id": "d0", "version": 1, "event_time_ms": 0, "mood": {"calm": 0.5}, "generation": "forged"}
    )
    broker = Broker()
    await served(shell_of(process, broker), broker, later)
    [output] = broker.of(ChunksEmbedded)
    assert output.model_extra == {"mood": {"calm": 0.5}}
    assert output.generation == ""
    [answer] = broker.of(AnswerFinished)
    assert answer.model_extra == {}


async def test_long_work_of_one_tenant_holds_up_no_other() -> None:
    go = asyncio.Event()

    async def process(batch: Sequence[Event]) -> AsyncGenerator[Output, None]:
        if batch[0].subject == "film":
            await go.wait()
        async for output in echo(batch):
            yield output

    def text(tenant: str, name: str) -> ChunksExtracted:
        return ChunksExtracted(tenant=tenant, document_id=name, version=1, event_time_ms=0)

    broker = Broker()
    shell = shell_of(process, broker, Rules(batch_size=8, lanes=2))
    events = [text("hot", "film"), text("hot", "second"), *(text("calm", f"d{number}") for number in range(4))]
    for offset, event in enumerate(events):
        await shell.put(broker.received(event, offset))
    run = asyncio.create_task(shell.run())
    async with asyncio.timeout(5):
        while len(broker.of(ChunksEmbedded)) < 4:
            await asyncio.sleep(0.001)
        assert {event.document_id for event in broker.of(ChunksEmbedded)} == {"d0", "d1", "d2", "d3"}
        assert broker.acked == []  # they lie behind the film in their partition
        go.set()
        while len(broker.acked) < 6:
            await asyncio.sleep(0.001)
    assert broker.acked == list(range(6))
    await shell.close()
    await run
