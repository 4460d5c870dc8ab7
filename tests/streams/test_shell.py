"""The delivery promise, without a broker: what is acknowledged, when, and what becomes of every kind of failure."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any

import pytest

from schemas.answers import AnswerFailed
from schemas.base import Event
from schemas.chunks import ChunksEmbedded, ChunksExtracted
from schemas.letters import DeadLetter
from schemas.queries import QueryAsked
from streams.deadletters import original
from streams.record import Record
from streams.shell import Parts, Received, Rules, Shell
from streams.wire import encode
from workers.errors import InvalidEvent, InvalidMedia, TransientError
from workers.stage import Output

NOW_MS = 1_700_000_000_000
Process = Callable[[Sequence[Event]], AsyncGenerator[Output, None]]


class Broker:
    """Remembers what was sent and what was acknowledged; ``refuse`` may raise on either step of a delivery."""

    def __init__(self) -> None:
        self.sent: list[Event] = []
        self.acked: list[int] = []
        self.log: list[str] = []
        self.refuse: Callable[[Event, str], None] = lambda event, step: None
        self.hold: asyncio.Event | None = None

    async def send(self, event: Event) -> Awaitable[None]:
        self.refuse(event, "send")
        self.sent.append(event)
        return asyncio.ensure_future(self._deliver(event))

    async def _deliver(self, event: Event) -> None:
        if self.hold:
            await self.hold.wait()
        self.refuse(event, "delivery")
        self.log.append("delivered")

    def received(self, event: Event | bytes, offset: int) -> Received:
        if isinstance(event, Event):
            wire = encode(event)
            record = Record(wire.topic, wire.value, wire.key, wire.headers, 0, offset, NOW_MS)
        else:
            record = Record("chunks.extracted.v1", event, b"t/broken", (), 0, offset, NOW_MS)

        def ack() -> None:
            self.acked.append(offset)
            self.log.append("acked")

        return Received(record, ack)

    def of(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.sent if isinstance(event, kind)]


class Scripted:
    """A stage that does what the test says."""

    name = "embed"

    def __init__(self, process: Process) -> None:
        self.process = process

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


async def echo(batch: Sequence[Event]) -> AsyncGenerator[Output, None]:
    for origin, event in enumerate(batch):
        yield Output(origin, embedded(event.subject))


def embedded(document: str) -> ChunksEmbedded:
    return ChunksEmbedded(document_id=document, version=1, event_time_ms=0)


def extracted(document: str) -> ChunksExtracted:
    return ChunksExtracted(tenant="acme", document_id=document, version=1, event_time_ms=0)


async def at_once(attempt: int) -> None:
    """A backoff without the wait."""
    await asyncio.sleep(0)


def parts_of(**parts: Any) -> Parts:
    return Parts(**{"now_ms": lambda: NOW_MS, "back_off": at_once, **parts})


def shell_of(process: Process, broker: Broker, rules: Rules | None = None, **parts: Any) -> Shell:
    return Shell(Scripted(process), broker.send, rules or Rules(batch_size=8), parts_of(**parts))


async def served(shell: Shell, broker: Broker, *events: Event | bytes) -> None:
    """Run ``events`` through the shell as one batch, until all are acknowledged."""
    for offset, event in enumerate(events):
        await shell.put(broker.received(event, offset))
    run = asyncio.create_task(shell.run())
    while not run.done() and len(broker.acked) < len(events):
        await asyncio.sleep(0)
    await shell.close()
    await run


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


async def test_refused_event_is_dead_lettered_with_its_bytes_and_the_others_go_on() -> None:
    async def process(batch: Sequence[Event]) -> AsyncGenerator[Output, None]:
        for origin, event in enumerate(batch):
            is_bad = event.subject == "bad"
            yield Output(origin, InvalidMedia("no PNG", hint="send a PNG") if is_bad else embedded(event.subject))

    broker = Broker()
    events = [extracted("d0"), extracted("bad"), extracted("d2")]
    await served(shell_of(process, broker), broker, *events)
    [letter] = broker.of(DeadLetter)
    assert (letter.stage, letter.topic, letter.offset, letter.about) == ("embed", "chunks.extracted.v1", 1, "bad")
    assert (letter.error, letter.reason, letter.hint, letter.tenant) == ("InvalidMedia", "no PNG", "send a PNG", "acme")
    sent = broker.received(events[1], 1).record
    assert letter.original_value == sent.value
    assert letter.original_key == b"acme/bad"
    assert {name for name, _ in original(letter).headers} == {name for name, _ in sent.headers}
    assert [event.document_id for event in broker.of(ChunksEmbedded)] == ["d0", "d2"]
    assert broker.acked == [0, 1, 2]


async def test_record_that_is_no_event_is_dead_lettered_and_the_next_is_served() -> None:
    broker = Broker()
    await served(shell_of(echo, broker), broker, b"\xff not an event", extracted("d1"))
    [letter] = broker.of(DeadLetter)
    assert (letter.error, letter.about, letter.original_value) == ("InvalidEvent", "t/broken", b"\xff not an event")
    assert [event.document_id for event in broker.of(ChunksEmbedded)] == ["d1"]
    assert broker.acked == [0, 1]


async def test_asker_of_a_refused_query_hears_why() -> None:
    async def process(batch: Sequence[Event]) -> AsyncGenerator[Output, None]:
        yield Output(0, InvalidEvent("a question without parts", hint="ask something"))

    broker = Broker()
    await served(shell_of(process, broker), broker, QueryAsked(query_id="q1"))
    [failed] = broker.of(AnswerFailed)
    assert (failed.query_id, failed.stage, failed.reason) == ("q1", "embed", "a question without parts")
    assert (failed.hint, failed.attempt, failed.seq) == ("ask something", NOW_MS, 0)
    assert len(broker.of(DeadLetter)) == 1


async def test_transient_error_tries_again_but_refuses_only_once() -> None:
    seen: list[list[str]] = []

    async def process(batch: Sequence[Event]) -> AsyncGenerator[Output, None]:
        seen.append([event.subject for event in batch])
        if len(seen) == 1:
            yield Output(0, InvalidEvent("bad"))
            raise TransientError("Milvus is away")
        for origin, event in enumerate(batch):
            yield Output(origin, embedded(event.subject))

    broker = Broker()
    await served(shell_of(process, broker), broker, extracted("bad"), extracted("d1"), extracted("d2"))
    assert seen == [["bad", "d1", "d2"], ["d1", "d2"]]
    assert len(broker.of(DeadLetter)) == 1
    assert broker.acked == [0, 1, 2]


@pytest.mark.parametrize("step", ["send", "delivery"])
async def test_output_that_is_too_large_dead_letters_its_origin(step: str) -> None:
    def refuse(event: Event, at: str) -> None:
        if at == step and event.subject == "large" and isinstance(event, ChunksEmbedded):
            raise InvalidEvent("too large")

    broker = Broker()
    broker.refuse = refuse
    await served(shell_of(echo, broker), broker, extracted("large"), extracted("d1"))
    [letter] = broker.of(DeadLetter)
    assert letter.about == "large"
    assert broker.acked == [0, 1]


async def test_outputs_carry_the_trace_and_the_tenant_of_their_origin() -> None:
    broker = Broker()
    await served(shell_of(echo, broker), broker, extracted("d0"))
    [output] = broker.of(ChunksEmbedded)
    headers = dict(broker.received(extracted("d0"), 0).record.headers)
    assert output.tenant == "acme"
    assert output.trace.received_ms == NOW_MS
    assert [(hop.stage, hop.at_ms) for hop in output.trace.hops] == [("embed", NOW_MS)]
    assert output.trace.traceparent != headers["ce_traceparent"].decode()


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
