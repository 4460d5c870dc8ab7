"""Which queries have an answer: what is read, when, and how little."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

from schemas.answers import AnswerFailed, AnswerFinished, AnswerStarted, StreamEvent
from schemas.base import Trace
from schemas.queries import QueryAsked
from streams.answered import LOOK_BACK_MS, SKEW_MS, Answered
from streams.record import Record
from streams.wire import encode

NOW_MS = 1_700_000_000_000


@dataclass
class Topic:
    """The answer topic, with the times since which it was read."""

    events: list[StreamEvent] = field(default_factory=list)
    reads: list[int] = field(default_factory=list)

    async def read(self, since_ms: int) -> AsyncGenerator[Record, None]:
        self.reads.append(since_ms)
        for event in self.events:
            if event.at_ms >= since_ms:
                yield encode(event)


class Clock:
    now = NOW_MS

    def __call__(self) -> int:
        return self.now


def asked(query_id: str, at_ms: int, tenant: str = "default") -> tuple[Record, QueryAsked]:
    event = QueryAsked(query_id=query_id, tenant=tenant, trace=Trace(received_ms=at_ms))
    return Record("queries.asked.v1", b"", timestamp_ms=at_ms + 500), event


def finished(query_id: str, at_ms: int, tenant: str = "default") -> AnswerFinished:
    return AnswerFinished(
        query_id=query_id,
        tenant=tenant,
        seq=0,
        at_ms=at_ms,
        answer="",
        citations=(),
        abstained=False,
        generator="",
    )


async def test_query_from_before_the_partitions_came_is_looked_up_once() -> None:
    topic, clock = Topic([finished("old", NOW_MS - 1000)]), Clock()
    answered = Answered(topic.read, clock)
    queries = [asked("old", NOW_MS - 5000), asked("other", NOW_MS - 4000)]
    assert await answered.among(queries) == [True, False]
    assert topic.reads == [NOW_MS - 5000 - SKEW_MS]
    assert await answered.among(queries) == [True, False]
    clock.now += 100
    assert await answered.among([asked("new", clock.now)]) == [False]
    assert len(topic.reads) == 1
    answered.assigned()  # somebody else may have had the partitions meanwhile
    assert await answered.among(queries) == [True, False]
    assert len(topic.reads) == 2


async def test_query_from_later_costs_no_reading() -> None:
    topic, clock = Topic(), Clock()
    answered = Answered(topic.read, clock)
    clock.now += 10 * SKEW_MS
    assert await answered.among([asked("q", clock.now)]) == [False]
    answered.add(finished("q", clock.now))
    assert await answered.among([asked("q", clock.now - 1)]) == [True]  # it came twice
    assert topic.reads == []


async def test_only_completed_answers_of_the_same_tenant_count() -> None:
    started = AnswerStarted(query_id="begun", seq=0, at_ms=NOW_MS, generator="")
    failed = AnswerFailed(query_id="failed", seq=0, at_ms=NOW_MS, stage="embed", reason="")
    topic = Topic([started, failed, finished("theirs", NOW_MS, tenant="other")])
    answered = Answered(topic.read, Clock())
    queries = [asked(name, NOW_MS) for name in ("begun", "failed", "theirs")]
    assert await answered.among(queries) == [False, False, False]
    answered.add(failed)  # a replayed dead letter is to be answered
    assert await answered.among(queries) == [False, False, False]


async def test_second_copy_in_the_same_batch_is_left_out() -> None:
    answered = Answered(Topic().read, Clock())
    assert await answered.among([asked("q", NOW_MS), asked("q", NOW_MS), asked("r", NOW_MS)]) == [False, True, False]


async def test_looking_back_is_bounded() -> None:
    topic, clock = Topic(), Clock()
    answered = Answered(topic.read, clock)
    await answered.among([asked("ancient", 5)])
    assert topic.reads == [NOW_MS - LOOK_BACK_MS]


async def test_what_is_forgotten_is_looked_up_again() -> None:
    topic, clock = Topic(), Clock()
    answered = Answered(topic.read, clock, most=3)
    clock.now += 10 * SKEW_MS
    for number in range(5):
        clock.now += 1000
        topic.events.append(finished(f"q{number}", clock.now))
        answered.add(topic.events[-1])
    queries = [asked(f"q{number}", clock.now - 6000) for number in range(3)]
    assert (await answered.among(queries))[2]
    assert len(topic.reads) == 1
