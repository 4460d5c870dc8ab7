"""All dead letters of a system, and their replay through the stage that refused them.

A letter that was sent twice, after a crash, counts once. A replay is written down beside the letters, so that it
happens once; what is refused again is a new letter. Raises ``TransientError`` where Kafka is away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import structlog

from schemas.letters import DeadLetter, LetterReplayed
from streams.deadletters import original
from streams.publisher import Publisher
from streams.tail import open_consumer, read_to_end
from streams.topics import DEAD_LETTERS
from streams.wire import decode
from workers.errors import InvalidEvent
from workers.hits import Clock, wall_clock

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class LetterFilter:
    """Which letters are meant; what is empty does not matter."""

    stage: str = ""
    error: str = ""
    tenant: str = ""
    about: str = ""
    since_ms: int | None = None

    def takes(self, letter: DeadLetter) -> bool:
        """Whether ``letter`` is one of them."""
        wanted = ((self.stage, letter.stage), (self.error, letter.error), (self.tenant, letter.tenant))
        return (
            all(not value or value == found for value, found in wanted)
            and (not self.about or self.about in (letter.about, letter.key))
            and (self.since_ms is None or letter.failed_ms >= self.since_ms)
        )


async def read_letters(
    bootstrap: str, chosen: LetterFilter | None = None, *, replayed: bool = True
) -> list[DeadLetter]:
    """The dead letters that the topic still holds, oldest first; without those that were replayed, if so wanted."""
    chosen = chosen or LetterFilter()
    consumer = await open_consumer(bootstrap, [DEAD_LETTERS])
    letters: dict[tuple[str, str, int, int], DeadLetter] = {}
    gone: set[tuple[str, str, int, int]] = set()
    try:
        async for record in read_to_end(consumer):
            try:
                event = decode(record)
            except InvalidEvent as error:
                log.warning("letters.unreadable", offset=record.offset, reason=error.reason)
                continue
            if isinstance(event, DeadLetter):
                letters[event.place] = event
            elif isinstance(event, LetterReplayed):
                gone.add(event.place)
    finally:
        await consumer.stop()
    found = [x for place, x in letters.items() if chosen.takes(x) and (replayed or place not in gone)]
    return sorted(found, key=lambda letter: letter.failed_ms)


async def replay_letters(
    bootstrap: str,
    letters: Iterable[DeadLetter],
    *,
    on_replayed: Callable[[DeadLetter], None] = lambda letter: None,
    now_ms: Clock = wall_clock,
) -> list[DeadLetter]:
    """Send the original records again, in order, each to the topic and partition that its stage reads.

    Those that could not keep their bytes are left out: they are returned.
    """
    left_out = []
    publisher = Publisher(bootstrap)
    await publisher.start()
    try:
        for letter in letters:
            if not letter.is_whole:
                left_out.append(letter)
                continue
            await (await publisher.send_again(original(letter)))
            await publisher.publish(_replayed(letter, now_ms()))
            on_replayed(letter)
    finally:
        await publisher.stop()
    return left_out


def _replayed(letter: DeadLetter, now_ms: int) -> LetterReplayed:
    return LetterReplayed(
        tenant=letter.tenant,
        trace=letter.trace,
        stage=letter.stage,
        generation=letter.generation,
        topic=letter.topic,
        partition=letter.partition,
        offset=letter.offset,
        about=letter.about,
        replayed_ms=now_ms,
    )
