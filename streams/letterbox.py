"""All dead letters of a system, and their replay."""

from __future__ import annotations

from collections.abc import Iterable

from schemas.letters import DeadLetter
from streams.deadletters import original
from streams.publisher import Publisher
from streams.tail import open_consumer, read_to_end
from streams.topics import DEAD_LETTERS
from streams.wire import decode
from workers.errors import InvalidEvent


async def read_letters(bootstrap: str) -> list[DeadLetter]:
    """Every dead letter that the topic still holds, oldest first. Raises ``TransientError`` where Kafka is away."""
    consumer = await open_consumer(bootstrap, [DEAD_LETTERS])
    letters = []
    try:
        async for record in read_to_end(consumer):
            letter = decode(record)
            if isinstance(letter, DeadLetter):
                letters.append(letter)
    finally:
        await consumer.stop()
    return sorted(letters, key=lambda letter: letter.failed_ms)


async def replay_letters(bootstrap: str, letters: Iterable[DeadLetter]) -> None:
    """Send the original records again, in order. Raises ``InvalidEvent`` for a letter that could not keep its bytes."""
    publisher = Publisher(bootstrap)
    await publisher.start()
    try:
        for letter in letters:
            if letter.original_value is None and letter.original_key is None:
                raise InvalidEvent(
                    f"the letter about {letter.about} holds no bytes: they were too many",
                    hint=f"read them from {letter.topic}, partition {letter.partition}, offset {letter.offset}",
                )
            await (await publisher.send_record(original(letter)))
    finally:
        await publisher.stop()
