"""What becomes of every kind of failure: retried, refused, waited for; and what is acknowledged then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

import pytest
from pydantic import SecretStr

from schemas.answers import AnswerFailed, AnswerFinished
from schemas.base import Event
from schemas.chunks import ChunksEmbedded
from schemas.letters import DeadLetter
from schemas.queries import QueryAsked
from streams.answered import Answered
from streams.deadletters import original
from streams.ledger import Ledger
from streams.parts import back_off
from streams.record import Record
from streams.refusals import Cap, CapReached, LetterLost
from streams.shell import Rules
from streams.tenancy import Producer, checker
from streams.wire import encode
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
from workers.errors import InvalidEvent, InvalidMedia, TransientError
from workers.stage import Output


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


async def test_letters_are_written_side_by_side_and_all_before_the_batch_is_acknowledged() -> None:
    async def refuse_all(batch: Sequence[Event]) -> AsyncGenerator[Output, None]:
        for origin in range(len(batch)):
            yield Output(origin, InvalidMedia("broken"))

    broker = Broker()
    broker.hold = asyncio.Event()
    shell = shell_of(refuse_all, broker)
    for number in range(4):
        await shell.put(broker.received(extracted(f"d{number}"), number))
    run = asyncio.create_task(shell.run())
    async with asyncio.timeout(5):
        while len(broker.of(DeadLetter)) < 4:
            await asyncio.sleep(0)
    assert broker.acked == []
    broker.hold.set()
    await shell.close()
    await run
    assert broker.acked == [0, 1, 2, 3]


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

    monkeypatch.setattr("streams.parts.asyncio.sleep", sleep)
    for attempt in (1, 2, 3, 10, 10_000, 10_000):
        await back_off(attempt)
    assert 0.1 <= waited[0] <= 0.2 <= waited[1] <= 0.4 <= waited[2] <= 0.8
    assert all(2.5 <= seconds <= 5 for seconds in waited[3:])
    assert waited[4] != waited[5]


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


async def test_letters_that_were_begun_when_the_cap_is_reached_are_written_all_the_same() -> None:
    async def refuse_all(batch: Sequence[Event]) -> AsyncGenerator[Output, None]:
        for origin in range(len(batch)):
            yield Output(origin, InvalidEvent("bad"))

    broker = Broker()
    shell = shell_of(refuse_all, broker, Rules(batch_size=8), cap=Cap(5))
    with pytest.raises(CapReached):
        await served(shell, broker, *[extracted(f"d{number}") for number in range(8)])
    assert len(broker.of(DeadLetter)) == 5
    assert broker.acked == []


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


async def test_a_forged_question_is_refused_without_a_word_to_the_answer_stream() -> None:
    broker = Broker()
    check = checker({"newsroom": Producer(tenant="news", secret=SecretStr("a secret"))})
    forged = QueryAsked(tenant="sports", query_id="q", question="what?")
    await served(shell_of(echo, broker, check=check), broker, forged)
    [letter] = broker.of(DeadLetter)
    assert letter.error == "ForbiddenTenant"
    assert broker.of(AnswerFailed) == []
