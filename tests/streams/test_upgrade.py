"""A rolling upgrade and its rollback: workers of this version and of the next, side by side in one group.

The next version has added a field to an event. What it wrote is passed on by this version, what this version wrote is
read by the next, nothing is lost, and an event of a type that this version does not know becomes a dead letter.
"""

from __future__ import annotations

import os
import signal
from dataclasses import replace

import pytest

from schemas.chunks import ChunksExtracted
from schemas.letters import DeadLetter
from streams.child import Child
from streams.publisher import Publisher
from streams.topics import CHUNKS_EMBEDDED, DEAD_LETTERS
from streams.wire import encode
from tests.streams.brokers import committed, read
from tests.streams.processes import Start, ended

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

THIS: dict[str, str] = {}
NEXT = {"NEXT_VERSION": "1"}


async def publish(publisher: Publisher, *names: str) -> None:
    """Each document once as this version writes it, once as the next does."""
    for name in names:
        this = ChunksExtracted(tenant="acme", document_id=f"{name}-this", version=1, event_time_ms=0)
        following = ChunksExtracted.model_validate(
            {"tenant": "acme", "document_id": f"{name}-next", "version": 1, "event_time_ms": 0, "mood": "calm"}
        )
        for event in (this, following):
            await (await publisher.send(event))


async def leave(child: Child) -> None:
    os.kill(child.pid, signal.SIGTERM)
    assert await ended(child) == 0


@pytest.mark.parametrize(("first", "second"), [(THIS, NEXT), (NEXT, THIS)], ids=["upgrade", "rollback"])
async def test_workers_of_two_versions_side_by_side(
    start: Start, bootstrap: str, publisher: Publisher, first: dict[str, str], second: dict[str, str]
) -> None:
    names = [f"d{number}" for number in range(30)]
    old = await start("embed", **first)
    await publish(publisher, *names[:10])
    new = await start("embed", **second)
    await publish(publisher, *names[10:20])
    await leave(old)
    await publish(publisher, *names[20:])
    outputs = await read(bootstrap, CHUNKS_EMBEDDED, 60, within_s=40)
    await leave(new)
    by_name = {event.subject: event.model_extra or {} for event in outputs}
    assert by_name.keys() == {f"{name}-{version}" for name in names for version in ("this", "next")}
    for name, extra in by_name.items():
        default = "none" if "read_by" in extra else None  # only the next version knows the field's default
        assert extra.get("mood") == ("calm" if name.endswith("-next") else default), name
    assert 0 < len([extra for extra in by_name.values() if "read_by" in extra]) < 60  # both had their share
    assert await committed(bootstrap, "embed") == 60


async def test_event_of_a_later_contract_is_a_dead_letter_with_its_bytes(
    start: Start, bootstrap: str, publisher: Publisher
) -> None:
    record = encode(ChunksExtracted(tenant="acme", document_id="d0", version=1, event_time_ms=0))
    later = tuple((name, b"sensorium.chunks.extracted.v2" if name == "ce_type" else x) for name, x in record.headers)
    await (await publisher.send_record(replace(record, headers=later)))
    child = await start("embed")
    [letter] = await read(bootstrap, DEAD_LETTERS, 1)
    await leave(child)
    assert isinstance(letter, DeadLetter)
    assert "sensorium.chunks.extracted.v2" in letter.reason
    assert (letter.original_value, letter.original_headers) == (record.value, later)
