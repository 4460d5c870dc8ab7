"""One event in ten poisonous: the healthy ones are not held up, keep their order, and every dead letter replays.

Rounds without and with poison take turns on one warm plant, so that a busy machine hits both. Times are Kafka's: from
the first document published to the last of the healthy ones searchable. The oracle reads the topics themselves.
"""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import sys
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streams.child import Child
from tests.bad_inputs import bad_media
from tests.faults import oracle
from tests.faults.journal import MEDIA, QUERIES, TENANT, made
from tests.faults.oracle import Verdict
from tests.faults.plant import Plant, plant
from tests.faults.scenarios import SETTLE_S, Line

LEAST_RATIO = 0.95
"""Of the clean rate, for healthy events."""
VERSIONS = 2
ONE_IN = 10
EXTRACTED, EMBEDDED, INDEXED = "chunks.extracted.v1", "chunks.embedded.v1", "chunks.indexed.v1"
LETTERS = "dead-letters.v1"
PARTITIONS = 4
LONG_TEXT = 30_000
TIGHT = {"SENSORIUM_LIMITS__MAX_TEXT_CHARS": "20000", "SENSORIUM_DEAD_LETTER_CAP": "3000"}
WIDE = {"SENSORIUM_LIMITS__MAX_TEXT_CHARS": "1000000"}

Sent = tuple[str, bytes | None, bytes | None, list[tuple[str, bytes | None]]]
"""Topic, key, value and headers."""


@dataclass(frozen=True)
class Rounds:
    """How many rounds of each kind, and how many documents a round has. ``is_timed``: the ratio counts."""

    each: int
    documents: int
    is_timed: bool


@dataclass
class _Round:
    healthy: list[str]
    poison: list[Sent]
    seconds: float = 0.0


def under_poison(rounds: Rounds) -> Callable[[str, Path], Awaitable[Line]]:
    """The line of the table."""

    async def check(name: str, folder: Path) -> Line:
        async with plant(folder, env=TIGHT, twice=()) as found:
            await _round(found, "warm", 10, poisonous=False)
            done: dict[bool, list[_Round]] = {False: [], True: []}
            for number in range(rounds.each):
                for poisonous in (False, True) if number % 2 else (True, False):
                    name_of = f"{'poison' if poisonous else 'clean'}{number}"
                    done[poisonous].append(await _round(found, name_of, rounds.documents, poisonous=poisonous))
            poison = [record for one in done[True] for record in one.poison]
            verdict = await _order(found, [key for some in done.values() for one in some for key in one.healthy])
            verdict += await _letters(found, poison)
            verdict += await _replayed(found, poison)
            mended, recovered_s = await _mended(found)
            clean, poisoned = (statistics.median(one.seconds for one in done[kind]) for kind in (False, True))
            ratio = clean / poisoned
            slow = rounds.is_timed and ratio < LEAST_RATIO
            verdict += mended + Verdict(wrong=(f"healthy events at {ratio:.2f} of their clean rate",) if slow else ())
            rate = rounds.documents * VERSIONS / clean
            return Line(name, len(poison), verdict, recovered_s, f"rate {ratio:.2f} of {rate:.0f} healthy events/s")

    return check


async def _round(found: Plant, name: str, documents: int, *, poisonous: bool) -> _Round:
    """Publish a round at once, and wait until its healthy documents are searchable."""
    names = [f"{name}-{number}" for number in range(documents)]
    records: list[Sent] = [made(key, version).record() for version in range(1, VERSIONS + 1) for key in names]  # type: ignore[misc]  # lists do not vary
    poison = list(_poison(name, len(records) // (ONE_IN - 1))) if poisonous else []
    chance = random.Random(name)
    for record in poison:
        records.insert(chance.randrange(len(records)), record)
    began_ms = time.time_ns() // 1_000_000
    await _send(found, records)
    ended_ms = await _searchable(found, {f"{TENANT}/{key}" for key in names})
    return _Round([f"{TENANT}/{key}" for key in names], poison, (ended_ms - began_ms) / 1000)


async def _send(found: Plant, records: Iterable[Sent]) -> None:
    async with found.publishing() as publishing:
        await publishing.send_all(records)


async def _searchable(found: Plant, keys: set[str]) -> int:
    """When the newest version of the last of ``keys`` became searchable, milliseconds since the epoch."""
    deadline = time.monotonic() + SETTLE_S
    while True:
        at: dict[str, int] = {}
        for record in await oracle.records(found.kafka, INDEXED, PARTITIONS):
            event = json.loads(record.value)
            if event["is_last"] and event["version"] == VERSIONS:
                at[record.key.decode()] = record.timestamp
        if keys <= at.keys():
            return max(at[key] for key in keys)
        assert time.monotonic() < deadline, f"{len(keys - at.keys())} healthy documents are not searchable"


def _poison(name: str, count: int) -> Iterator[Sent]:
    """``count`` events that no stage can take, of many kinds; some share the keys of healthy ones."""
    media = [bad for bad in bad_media() if bad.error is not None and bad.data and len(bad.data) < 200_000]
    for number in range(count):
        key = f"{TENANT}/{name}-{number}".encode()
        bad = media[number % len(media)]
        topic, value, headers = _KINDS[number % len(_KINDS)](f"{name}-bad-{number}", bad.data or b"")
        if number % len(_KINDS) == 0 and bad.content_type:
            headers.append(("content-type", bad.content_type.encode()))
        yield topic, key if topic == MEDIA else f"{name}-{number}".encode(), value, headers


Kind = Callable[[str, bytes], tuple[str, bytes | None, list[tuple[str, bytes | None]]]]


def _attributes(kind: str, **more: str) -> list[tuple[str, bytes | None]]:
    given = {"specversion": "1.0", "id": str(uuid.uuid4()), "source": "urn:poison", "type": kind, **more}
    return [(f"ce_{name}", value.encode()) for name, value in given.items()]


def _bad_media(name: str, data: bytes) -> tuple[str, bytes | None, list[tuple[str, bytes | None]]]:
    return MEDIA, data, _attributes("sensorium.media.received.v1", documentid=name, documentversion="1")


def _unknown_type(name: str, data: bytes) -> tuple[str, bytes | None, list[tuple[str, bytes | None]]]:
    return MEDIA, data[:100], _attributes("com.example.unheard-of.v9", subject=name)


def _doubled_header(name: str, data: bytes) -> tuple[str, bytes | None, list[tuple[str, bytes | None]]]:
    headers = _attributes("sensorium.media.received.v1", documentid=name)
    return MEDIA, b"text", [*headers, headers[1], ("x-note", None)]


def _no_utf8(name: str, data: bytes) -> tuple[str, bytes | None, list[tuple[str, bytes | None]]]:
    return MEDIA, b"text", [*_attributes("sensorium.media.received.v1"), ("ce_documentid", b"\xff\xfe\x00")]


def _outside(name: str, data: bytes) -> tuple[str, bytes | None, list[tuple[str, bytes | None]]]:
    claim = {"dataref": "file:///etc/passwd", "datahash": "0" * 64, "datasize": "10"}
    return MEDIA, b"", _attributes("sensorium.media.received.v1", documentid=name, documentversion="1", **claim)


def _no_json(name: str, data: bytes) -> tuple[str, bytes | None, list[tuple[str, bytes | None]]]:
    return QUERIES, b"\x00{no json", _attributes("sensorium.query.asked.v1", subject=name)


def _no_parts(name: str, data: bytes) -> tuple[str, bytes | None, list[tuple[str, bytes | None]]]:
    body = json.dumps({"query_id": name, "tenant": TENANT}).encode()
    return QUERIES, body, _attributes("sensorium.query.asked.v1", subject=name)


_KINDS: tuple[Kind, ...] = (
    _bad_media,
    _unknown_type,
    _bad_media,
    _doubled_header,
    _no_utf8,
    _outside,
    _no_json,
    _no_parts,
)


async def _order(found: Plant, keys: Iterable[str]) -> Verdict:
    """The versions of each key pass through every topic in the order in which they were published."""
    wanted = set(keys)
    wrong = []
    for topic in (EXTRACTED, EMBEDDED, INDEXED):
        seen: dict[str, list[int]] = defaultdict(list)
        for record in await oracle.records(found.kafka, topic, PARTITIONS):
            event = json.loads(record.value)
            if event["is_last"]:
                seen[record.key.decode()].append(event["version"])
        expected = list(range(1, VERSIONS + 1))
        wrong += [f"{key} in {topic}: {seen[key]}" for key in wanted if seen[key] != expected]
    return Verdict(wrong=tuple(wrong))


async def _letters(found: Plant, poison: Sequence[Sent]) -> Verdict:
    """One dead letter for each poisonous event; waits for the last."""
    deadline = time.monotonic() + SETTLE_S
    while True:
        places = Counter(_place(record) for record in await oracle.records(found.kafka, LETTERS, 1))
        if len(places) >= len(poison) or time.monotonic() > deadline:
            break
    missing = len(poison) - len(places)
    return Verdict(
        lost=tuple(f"dead letter {number}" for number in range(missing)),
        wrong=tuple(f"a dead letter too many: {number}" for number in range(-missing)),
        doubled=tuple(str(place) for place, count in places.items() if count > 1),
    )


def _place(record: Any) -> tuple[str, int, int]:
    letter = json.loads(record.value)
    return letter["topic"], letter["partition"], letter["offset"]


async def _replayed(found: Plant, poison: Sequence[Sent]) -> Verdict:
    """``dead-letters replay`` sends each again as it was, byte for byte, to the partition that it came from."""
    before = await _published(found)
    await _command(found, "dead-letters", "replay")
    after = await _published(found)
    again = after - before
    expected = Counter({record: count for record, count in before.items() if _frozen(record) in _set_of(poison)})
    return Verdict(
        lost=tuple(str(record)[:200] for record in (expected - again)),
        wrong=tuple(str(record)[:200] for record in (again - expected)),
    )


Frozen = tuple[str, bytes | None, bytes | None, tuple[tuple[str, bytes | None], ...]]


def _frozen(placed: tuple[int, Frozen]) -> Frozen:
    return placed[1]


def _set_of(poison: Sequence[Sent]) -> set[Frozen]:
    return {(topic, key, value, tuple(headers)) for topic, key, value, headers in poison}


async def _published(found: Plant) -> Counter[tuple[int, Frozen]]:
    """What lies in the topics that publishers write to, with its partition."""
    records = [
        (topic, record) for topic in (MEDIA, QUERIES) for record in await oracle.records(found.kafka, topic, PARTITIONS)
    ]
    return Counter((it.partition, (topic, it.key, it.value, tuple(it.headers))) for topic, it in records)


async def _command(found: Plant, *words: str) -> None:
    env = {"SENSORIUM_DATA_DIR": str(found.folder), "SENSORIUM_KAFKA": found.kafka, "SENSORIUM_MILVUS": found.milvus}
    child = Child.start("command", [sys.executable, "-m", "streams", *words], log=found.folder / "command.log", env=env)
    code = await asyncio.wait_for(child.wait(), SETTLE_S)
    assert code == 0, child.last_words()


async def _mended(found: Plant) -> tuple[Verdict, float]:
    """A document that a setting refused is searchable once, after the setting was mended and its letter replayed."""
    text = ("The mended document is long. " * (LONG_TEXT // 28)).encode()
    headers = _attributes("sensorium.media.received.v1", documentid="mended", documentversion=str(VERSIONS))
    refused = len(await oracle.records(found.kafka, LETTERS, 1))
    await _send(found, [(MEDIA, f"{TENANT}/mended".encode(), text, headers)])
    while len(await oracle.records(found.kafka, LETTERS, 1)) == refused:
        await asyncio.sleep(0.2)
    (slot,) = (slot for slot in found.slots if slot.stage == "extract")
    slot.env.update(WIDE)
    began = time.monotonic()
    found.kill(slot)
    await _command(found, "dead-letters", "replay", "--document", "mended")
    await _searchable(found, {f"{TENANT}/mended"})
    done = [
        record
        for record in await oracle.records(found.kafka, INDEXED, PARTITIONS)
        if record.key == f"{TENANT}/mended".encode() and json.loads(record.value)["is_last"]
    ]
    return Verdict(doubled=("mended",) if len(done) > 1 else ()), time.monotonic() - began
