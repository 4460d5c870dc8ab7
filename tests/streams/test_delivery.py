"""The delivery promise on a real broker: groups, commits, redelivery, dead letters, rebalances."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

import faust
import pytest
from aiokafka import TopicPartition

from schemas.base import Event
from schemas.chunks import ChunksEmbedded
from schemas.letters import DeadLetter
from streams.app import build_app
from streams.faultpoints import Point, Reach, nowhere
from streams.publisher import MAX_REQUEST_BYTES, Publisher
from streams.record import Record
from streams.settings import Settings
from streams.shell import Parts, Rules, Shell
from streams.topics import CHUNKS_EMBEDDED, CHUNKS_EXTRACTED, DEAD_LETTERS
from tests.conftest import BROKERS, needs_kafka
from tests.streams.brokers import committed, publish, read
from workers.errors import InvalidEvent, InvalidMedia, TransientError
from workers.stage import Output

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(90)]

STAGE = "embed"
SETTINGS = Settings()


@dataclass
class Echo:
    """Counts what it sees; refuses documents named ``bad``, fails at one named ``fault``, and waits for a part that is
    away at one named ``away``."""

    name: str = STAGE
    delay_s: float = 0.0
    is_away: bool = False
    seen: Counter[str] = field(default_factory=Counter)
    batches: list[tuple[str, ...]] = field(default_factory=list)

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def process(self, batch: Sequence[Event]) -> AsyncGenerator[Output, None]:
        self.batches.append(tuple(event.subject for event in batch))
        await asyncio.sleep(self.delay_s)
        for origin, event in enumerate(batch):
            self.seen[event.subject] += 1
            if event.subject == "fault":
                raise ZeroDivisionError
            if event.subject == "away" and self.is_away:
                raise TransientError("the store is away")
            refused = InvalidMedia("nothing to see") if event.subject == "bad" else None
            yield Output(origin, refused or ChunksEmbedded(document_id=event.subject, version=1, event_time_ms=0))


class Worker:
    """A stage with its shell and its app in this process; ``kill`` is a crash, ``stop`` is orderly."""

    def __init__(self, stage: Echo, publisher: Publisher, bootstrap: str, parts: Parts, *, batch_size: int = 4) -> None:
        self.stage = stage
        self.shell = Shell(stage, publisher.send, Rules(batch_size=batch_size, batch_wait_s=0.05), parts)
        self.app: faust.App = build_app(CHUNKS_EXTRACTED, self.shell, SETTINGS, bootstrap)
        self.assigned: list[int] = []
        self._run: asyncio.Task[None] | None = None
        self._joined = asyncio.Event()
        self.app.on_partitions_assigned.connect(self._on_assigned)

    async def _on_assigned(self, _: faust.App, assigned: set[TopicPartition], **__: object) -> None:
        self.assigned = sorted(part.partition for part in assigned)
        self._joined.set()

    async def start(self) -> None:
        await self.app.start()
        await self._joined.wait()
        self._run = asyncio.create_task(self.shell.run())

    @property
    def run(self) -> asyncio.Task[None]:
        assert self._run
        return self._run

    async def stop(self) -> None:
        await self.shell.close()
        await self.run
        await self.app.stop()

    async def kill(self) -> None:
        """Leave in the middle of the work."""
        if self._run:
            self._run.cancel()
            await asyncio.gather(self._run, return_exceptions=True)
        await self.app.stop()


@pytest.fixture(params=BROKERS)
def broker_kind(request: pytest.FixtureRequest) -> str:
    """All of this holds on the embedded broker and on Apache Kafka."""
    return str(request.param)


@pytest.fixture
async def crew(bootstrap: str, publisher: Publisher) -> AsyncIterator[Callable[..., Worker]]:
    """Makes workers; those that a failed test leaves behind are ended."""
    workers: list[Worker] = []

    def hire(delay_s: float = 0.0, reach: Reach = nowhere) -> Worker:
        workers.append(Worker(Echo(delay_s=delay_s), publisher, bootstrap, Parts(reach=reach)))
        return workers[-1]

    yield hire
    for worker in workers:
        await worker.kill()


async def until(condition: object) -> None:
    assert callable(condition)
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.02)


async def test_batch_that_fails_in_its_middle_commits_nothing_behind_a_gap_and_all_of_it_comes_again(
    bootstrap: str, publisher: Publisher, crew: Callable[..., Worker]
) -> None:
    before = [f"d{number}" for number in range(6)]
    await publish(publisher, *before)
    first = crew()
    await first.start()
    await until(lambda: len(first.stage.seen) == 6)
    first.stage.is_away = True
    await publish(publisher, *[f"e{number}" for number in range(5)], "away", *[f"f{number}" for number in range(5)])
    await until(lambda: first.stage.seen["away"] >= 3)  # it holds its place
    failed = first.stage.batches[-1]
    after = {name for batch in first.stage.batches for name in batch} - set(before)
    await first.kill()
    assert await committed(bootstrap, STAGE) == len(before) + len(after - set(failed))

    second = crew()
    await second.start()
    await until(lambda: len(second.stage.seen) == 11 - len(after - set(failed)))
    assert set(failed) <= set(second.stage.seen)
    assert not set(before) & set(second.stage.seen)
    await second.stop()
    assert await committed(bootstrap, STAGE) == 17


async def test_event_at_which_the_stage_fails_is_a_dead_letter_after_some_attempts_and_harms_no_other(
    bootstrap: str, publisher: Publisher, crew: Callable[..., Worker]
) -> None:
    await publish(publisher, "d0", "fault", *[f"d{number}" for number in range(1, 8)])
    worker = crew()
    await worker.start()
    await until(lambda: all(worker.stage.seen[f"d{number}"] for number in range(8)) and worker.stage.seen["fault"] > 2)
    [letter] = await read(bootstrap, DEAD_LETTERS, 1)
    await read(bootstrap, CHUNKS_EMBEDDED, 8)
    await worker.stop()
    assert isinstance(letter, DeadLetter)
    assert (letter.about, letter.error, letter.attempts) == ("fault", "Poisonous", 3)
    assert await committed(bootstrap, STAGE) == 9


async def test_crash_between_effect_and_ack_delivers_again(
    bootstrap: str, publisher: Publisher, crew: Callable[..., Worker]
) -> None:
    await publish(publisher, "d0")
    crashed: list[Point] = []

    def crash(point: Point) -> None:
        if point == "published":
            crashed.append(point)
            raise asyncio.CancelledError

    first = crew(reach=crash)
    await first.start()
    await until(lambda: crashed)
    await first.kill()
    assert await committed(bootstrap, STAGE) == 0

    second = crew()
    await second.start()
    await until(lambda: second.stage.seen["d0"] == 1)
    await second.stop()
    assert await committed(bootstrap, STAGE) == 1
    outputs = await read(bootstrap, CHUNKS_EMBEDDED, 2)
    assert [event.subject for event in outputs] == ["d0", "d0"]


async def test_poisoned_records_become_dead_letters_and_the_next_is_served(
    bootstrap: str, publisher: Publisher, crew: Callable[..., Worker]
) -> None:
    poison = Record(CHUNKS_EXTRACTED.name, b"\xff\x00 no event", b"acme/poison", (("ce_id", b"1"),))
    await (await publisher.send_record(poison))
    await publish(publisher, "bad", "good")
    worker = crew()
    await worker.start()
    await until(lambda: worker.stage.seen["good"] and worker.stage.seen["bad"])
    letters = await read(bootstrap, DEAD_LETTERS, 2)
    await worker.stop()
    assert await committed(bootstrap, STAGE) == 3
    by_error = {letter.error: letter for letter in letters if isinstance(letter, DeadLetter)}
    unread, refused = by_error["InvalidEvent"], by_error["InvalidMedia"]
    assert (unread.original_value, unread.original_key) == (poison.value, poison.key)
    assert unread.original_headers == poison.headers
    assert (refused.about, refused.reason, refused.tenant) == ("bad", "nothing to see", "acme")
    assert [event.subject for event in await read(bootstrap, CHUNKS_EMBEDDED, 1)] == ["good"]


async def test_two_workers_share_the_partitions_without_doing_anything_twice(
    bootstrap: str, publisher: Publisher, crew: Callable[..., Worker]
) -> None:
    documents = [f"d{number}" for number in range(300)]
    await publish(publisher, *documents)
    first = crew(delay_s=0.1)
    await first.start()
    second = crew(delay_s=0.1)
    await second.start()
    await until(lambda: len(first.stage.seen | second.stage.seen) == len(documents))
    assert sorted(first.assigned + second.assigned) == [0, 1, 2, 3]
    assert min(len(first.stage.seen), len(second.stage.seen)) > 0
    assert (first.stage.seen + second.stage.seen).most_common(1)[0][1] == 1
    await asyncio.gather(first.stop(), second.stop())
    assert await committed(bootstrap, STAGE) == len(documents)


async def test_survivor_takes_over_from_a_worker_that_leaves(
    bootstrap: str, publisher: Publisher, crew: Callable[..., Worker]
) -> None:
    first, second = (crew() for _ in range(2))
    await asyncio.gather(first.start(), second.start())
    await until(lambda: len(first.assigned) + len(second.assigned) == 4 and first.assigned and second.assigned)
    await first.stop()
    await until(lambda: len(second.assigned) == 4)
    await publish(publisher, *[f"d{number}" for number in range(20)])
    await until(lambda: len(second.stage.seen) == 20)
    await second.stop()
    assert await committed(bootstrap, STAGE) == 20


async def test_publisher_says_when_an_event_is_too_large_or_the_broker_is_away(publisher: Publisher) -> None:
    with pytest.raises(InvalidEvent, match="larger than"):
        await publisher.send_record(Record(CHUNKS_EMBEDDED.name, b"x" * (MAX_REQUEST_BYTES + 1)))
    with pytest.raises(TransientError, match="no Kafka answers"):
        await Publisher("127.0.0.1:1").start()


@pytest.mark.parametrize("broker_kind", [pytest.param("kafka", marks=needs_kafka)])
async def test_event_that_only_the_broker_finds_too_large_is_refused_as_well(publisher: Publisher) -> None:
    for _ in range(2):  # what follows a failure is delivered: the broker would not take it from the same producer
        delivery = await publisher.send_record(Record(CHUNKS_EMBEDDED.name, b"x" * (9 * 1024 * 1024), b"key"))
        with pytest.raises(InvalidEvent, match="larger than"):
            await delivery
        placed = await (await publisher.send_record(Record(CHUNKS_EMBEDDED.name, b"small", b"key")))
    assert placed.offset == 1
