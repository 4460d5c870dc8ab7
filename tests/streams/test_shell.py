"""The delivery promise, without a broker: what is acknowledged, when, and what becomes of every kind of failure."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from schemas.answers import AnswerFailed, AnswerFinished
from schemas.base import Event
from schemas.chunks import ChunksEmbedded, ChunksExtracted
from schemas.letters import DeadLetter
from schemas.queries import QueryAsked
from streams.answered import Answered
from streams.deadletters import original
from streams.ledger import Ledger
from streams.record import Record
from streams.refusals import Cap, CapReached, LetterLost
from streams.shell import Parts, Received, Rules, Shell
from streams.wire import encode
from streams.work import back_off
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


async def test_event_at_which_the_stage_fails_is_found_tried_again_and_refused_alone() -> None:
    seen: list[list[str]] = []

    async def process(batch: Sequence[Event]) -> AsyncGenerator[Output, None]:
        seen.append([event.subject for event in batch])
        if "poison" in seen[-1]:
            raise ZeroDivisionError
        async for output in echo(batch):
            yield output

    broker = Broker()
    events = [extracted(name) for name in ("d0", "d1", "d2", "poison", "d4", "d5", "d6", "d7")]
    await served(shell_of(process, broker), broker, *events)
    assert seen == [
        ["d0", "d1", "d2", "poison", "d4", "d5", "d6", "d7"],
        ["d0", "d1", "d2", "poison"],
        ["d0", "d1"],
        ["d2", "poison"],
        ["d2"],
        ["poison"],
        ["poison"],
        ["poison"],
        ["d4", "d5", "d6", "d7"],
    ]
    [letter] = broker.of(DeadLetter)
    assert (letter.about, letter.error, letter.attempts) == ("poison", "Poisonous", 3)
    assert "embed failed at it 3 times: ZeroDivisionError()" in letter.reason
    assert [event.document_id for event in broker.of(ChunksEmbedded)] == ["d0", "d1", "d2", "d4", "d5", "d6", "d7"]
    assert broker.acked == list(range(8))


async def test_fault_that_passes_costs_its_event_nothing() -> None:
    attempts = 0

    async def process(batch: Sequence[Event]) -> AsyncGenerator[Output, None]:
        nonlocal attempts
        attempts += 1
        if attempts < 3:
            raise ZeroDivisionError
        yield Output(0, embedded("d0"))

    broker = Broker()
    await served(shell_of(process, broker), broker, extracted("d0"))
    assert broker.of(DeadLetter) == []
    assert broker.acked == [0]


async def test_record_at_which_the_codec_fails_is_a_dead_letter(monkeypatch: pytest.MonkeyPatch) -> None:
    def hole(record: Record) -> Event:
        raise RecursionError

    monkeypatch.setattr("streams.work.decode", hole)
    broker = Broker()
    await served(shell_of(echo, broker), broker, b"deep")
    [letter] = broker.of(DeadLetter)
    assert (letter.error, letter.original_value) == ("Poisonous", b"deep")
    assert broker.acked == [0]


async def test_part_that_is_away_for_long_is_waited_for_in_place() -> None:
    attempts = 0
    told: list[str] = []
    pauses: list[int] = []

    async def process(batch: Sequence[Event]) -> AsyncGenerator[Output, None]:
        nonlocal attempts
        attempts += 1
        if attempts <= 500:
            raise TransientError("Milvus is away")
        async for output in echo(batch):
            yield output

    async def pause(attempt: int) -> None:
        pauses.append(attempt)
        await asyncio.sleep(0)

    broker = Broker()
    shell = shell_of(process, broker, on_trouble=told.append, back_off=pause)
    await served(shell, broker, extracted("d0"), extracted("d1"))
    assert broker.acked == [0, 1]
    assert broker.of(DeadLetter) == []
    assert pauses == list(range(1, 501))
    assert told == ["Milvus is away"] * 500 + [""]


async def test_backoff_grows_to_a_bound_and_never_marches_in_step(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr("streams.work.asyncio.sleep", sleep)
    for attempt in (1, 2, 3, 10, 10_000, 10_000):
        await back_off(attempt)
    assert 0.1 <= waited[0] <= 0.2 <= waited[1] <= 0.4 <= waited[2] <= 0.8
    assert all(2.5 <= seconds <= 5 for seconds in waited[3:])
    assert waited[4] != waited[5]


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


async def test_dead_letter_that_cannot_be_sent_yet_is_not_lost() -> None:
    refusals = iter([True, True, False])

    def refuse(event: Event, step: str) -> None:
        if isinstance(event, DeadLetter) and step == "delivery" and next(refusals):
            raise TransientError("Kafka is away")

    async def process(batch: Sequence[Event]) -> AsyncGenerator[Output, None]:
        yield Output(0, InvalidEvent("bad"))

    broker = Broker()
    broker.refuse = refuse
    await served(shell_of(process, broker), broker, extracted("d0"))
    assert len(broker.of(DeadLetter)) == 3  # sent until it was taken
    assert broker.acked == [0]


async def test_dead_letter_that_is_too_large_goes_without_its_bytes_and_one_that_nobody_takes_ends_the_run() -> None:
    async def process(batch: Sequence[Event]) -> AsyncGenerator[Output, None]:
        yield Output(0, InvalidEvent("bad"))

    def too_large(event: Event, step: str) -> None:
        if isinstance(event, DeadLetter) and event.original_value is not None:
            raise InvalidEvent("too large")

    broker = Broker()
    broker.refuse = too_large
    await served(shell_of(process, broker), broker, extracted("d0"))
    [letter] = broker.of(DeadLetter)
    assert (letter.about, letter.original_value, letter.offset) == ("d0", None, 0)

    def never(event: Event, step: str) -> None:
        raise InvalidEvent("the topic is read-only")

    broker = Broker()
    broker.refuse = never
    with pytest.raises(LetterLost, match="the dead letter about d0 cannot be sent"):
        await served(shell_of(process, broker), broker, extracted("d0"))
    assert broker.acked == []


async def test_stage_that_refuses_too_much_stops_before_the_letter_that_is_one_too_many() -> None:
    async def process(batch: Sequence[Event]) -> AsyncGenerator[Output, None]:
        for origin, event in enumerate(batch):
            is_bad = event.subject.startswith("bad")
            yield Output(origin, InvalidEvent("bad") if is_bad else embedded(event.subject))

    broker = Broker()
    good, bad = [extracted(f"d{number}") for number in range(3)], [extracted(f"bad{number}") for number in range(9)]
    shell = shell_of(process, broker, Rules(batch_size=1), cap=Cap(5))
    with pytest.raises(CapReached, match="embed refused 5 of its last 8 events within a minute") as stopped:
        await served(shell, broker, *good, *bad)
    assert len(broker.of(DeadLetter)) == 5
    assert broker.acked == list(range(8))
    assert "dead-letters replay --stage embed" in stopped.value.hint


def test_cap_counts_a_minute_and_spares_a_stage_that_takes_more_than_it_refuses() -> None:
    now = 0.0
    cap = Cap(3, clock=lambda: now)
    for _ in range(3):
        cap.refuse("embed")
    with pytest.raises(CapReached):
        cap.refuse("embed")
    now = 61.0
    for _ in range(3):
        cap.refuse("embed")
    cap.finished(20)
    for _ in range(7):
        cap.refuse("embed")  # 10 of 20
    with pytest.raises(CapReached):
        cap.refuse("embed")
    free = Cap(0)
    for _ in range(1000):
        free.refuse("embed")


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


async def test_completed_queries_are_left_out_and_those_that_are_completed_here_are_remembered() -> None:
    async def process(batch: Sequence[Event]) -> AsyncGenerator[Output, None]:
        for origin, event in enumerate(batch):
            yield Output(origin, finished(event.subject))

    async def topic(since_ms: int) -> AsyncGenerator[Record, None]:
        yield encode(finished("q1"))

    broker = Broker()
    shell = shell_of(process, broker, answered=Answered(topic, lambda: NOW_MS))
    first = [QueryAsked(query_id=name) for name in ("q0", "q1", "q2")]
    await served(shell, broker, *first)
    assert [event.query_id for event in broker.of(AnswerFinished)] == ["q0", "q2"]
    assert broker.acked == [0, 1, 2]


def finished(query_id: str) -> AnswerFinished:
    return AnswerFinished(
        query_id=query_id, seq=0, at_ms=NOW_MS, answer="yes", citations=(), abstained=False, generator="fake"
    )


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


async def test_suspect_is_tried_alone_and_refused_after_too_many_deaths(tmp_path: Path) -> None:
    batches: list[list[str]] = []

    async def process(batch: Sequence[Event]) -> AsyncGenerator[Output, None]:
        batches.append([event.subject for event in batch])
        async for output in echo(batch):
            yield output

    broker = Broker()
    events = [extracted(f"d{number}") for number in range(5)]
    before = Ledger(tmp_path)
    for offset in (1, 3):
        before.attempt(broker.received(events[offset], offset).record)
    before.attempt(broker.received(events[3], 3).record)  # its process died twice
    ledger = Ledger(tmp_path)
    await served(shell_of(process, broker, Rules(batch_size=8, deaths=2), ledger=ledger), broker, *events)
    assert batches == [["d0"], ["d1"], ["d2"], ["d4"]]
    [letter] = broker.of(DeadLetter)
    assert (letter.about, letter.error, letter.attempts, letter.tenant) == ("d3", "Poisonous", 2, "acme")
    assert "2 worker processes died while embed worked on it alone" in letter.reason
    assert broker.acked == list(range(5))
    ledger.close()
    assert not Ledger(tmp_path).is_suspect(broker.received(events[1], 1).record)
