"""The stage: identity, order, batches, claim checks, deletions, and what happens when a part is away."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from schemas.base import Event
from schemas.chunks import Channel, ChunksExtracted
from schemas.media import BlobRef, DocumentDeleted, MediaReceived
from schemas.queries import QueryAsked
from tests.media import image, photo, sound, tone, video
from tests.workers.extract.fakes import FakeModels, MemoryBlobs
from workers.errors import InvalidEvent, InvalidMedia, LimitExceeded, TransientError
from workers.extract.batches import MAX_CHUNKS, MAX_JSON_BYTES, Batches
from workers.extract.draft import Draft, file_name
from workers.extract.stage import ExtractStage
from workers.ids import chunk_id
from workers.limits import Limits
from workers.stage import Output, Stage


def _event(data: bytes | None, document_id: str = "a", **fields: object) -> MediaReceived:
    given = {"document_id": document_id, "version": 7, "event_time_ms": 1_000_000, "source": "test", "tenant": "acme"}
    return MediaReceived.model_validate({**given, "data": data, **fields})


def _stage(
    blobs: MemoryBlobs | None = None, models: FakeModels | None = None, limits: Limits | None = None
) -> ExtractStage:
    return ExtractStage(blobs or MemoryBlobs(), models or FakeModels(), limits or Limits())


async def _run(stage: Stage, batch: Sequence[Event]) -> list[Output]:
    return [output async for output in stage.process(batch)]


def _batches(outputs: list[Output]) -> list[ChunksExtracted]:
    found = [output.result for output in outputs]
    assert all(isinstance(result, ChunksExtracted) for result in found), found
    return [result for result in found if isinstance(result, ChunksExtracted)]


async def test_chunks_carry_the_identity_of_their_document() -> None:
    blobs = MemoryBlobs()
    (batch,) = _batches(await _run(_stage(blobs), [_event(image(photo()), source_uri="file:///x/my%20cat.png")]))
    (chunk,) = batch.chunks
    assert batch.is_last
    assert (batch.tenant, batch.document_id, batch.version, batch.batch) == ("acme", "a", 7, 0)
    assert (chunk.tenant, chunk.document_id, chunk.version, chunk.source) == ("acme", "a", 7, "test")
    assert chunk.chunk_id == chunk_id("acme", "a", 7, "image")
    assert (chunk.content_type, chunk.title) == ("image/png", "my cat.png")
    assert chunk.media is not None
    assert blobs.held[chunk.media.uri].startswith(b"\xff\xd8")


async def test_chunk_times_are_on_the_wall_clock() -> None:
    (batch,) = _batches(await _run(_stage(), [_event(video([(photo(seed=1), 3), (photo(seed=2), 3)]))]))
    pictures = [chunk for chunk in batch.chunks if chunk.channel is Channel.PICTURE]
    assert [chunk.event_time_ms - 1_000_000 for chunk in pictures] == [chunk.start_ms for chunk in pictures]
    assert pictures[1].start_ms == pytest.approx(3000, abs=105)


async def test_the_same_event_gives_the_same_chunks() -> None:
    event = _event(sound(tone(12, loudness=0.6)))
    first, again = [_batches(await _run(_stage(), [event])) for _ in range(2)]
    assert first == again
    ids = [chunk.chunk_id for batch in first for chunk in batch.chunks]
    assert len(ids) == len(set(ids)) > 1


async def test_a_long_document_is_several_batches() -> None:
    text = "\n\n".join(f"Chapter {n}. " + "Some words that fill the chapter up. " * 20 for n in range(100))
    found = _batches(await _run(_stage(), [_event(text.encode())]))
    assert len(found) > 2
    assert [batch.batch for batch in found] == list(range(len(found)))
    assert [batch.is_last for batch in found] == [False] * (len(found) - 1) + [True]
    assert [chunk.ordinal for batch in found for chunk in batch.chunks] == list(
        range(sum(len(b.chunks) for b in found))
    )
    for batch in found:
        assert len(batch.chunks) <= MAX_CHUNKS
        assert len(batch.model_dump_json()) <= MAX_JSON_BYTES + 1000


async def test_an_empty_document_is_one_last_batch_and_a_deletion_passes_through() -> None:
    (empty,) = _batches(await _run(_stage(), [_event(b"\n \n")]))
    assert (empty.chunks, empty.is_last, empty.is_deleted) == ((), True, False)
    (gone,) = _batches(await _run(_stage(), [DocumentDeleted(document_id="a", version=9, tenant="acme")]))
    assert (gone.document_id, gone.version, gone.tenant, gone.is_deleted, gone.is_last) == ("a", 9, "acme", True, True)


async def test_results_come_in_the_order_of_the_events() -> None:
    batch = [_event(image(photo(seed=n)), f"d{n}") if n % 3 else _event(b"", f"d{n}") for n in range(9)]
    outputs = await _run(_stage(), batch)
    assert [output.origin for output in outputs] == list(range(9))
    assert [isinstance(output.result, InvalidMedia) for output in outputs] == [n % 3 == 0 for n in range(9)]


async def test_a_claim_check_is_read_from_the_blob_store() -> None:
    blobs = MemoryBlobs()
    ref = blobs.put(b"Words from the store.", "text/plain")
    (batch,) = _batches(await _run(_stage(blobs), [_event(None, blob=ref)]))
    assert batch.chunks[0].text == "Words from the store."


async def test_other_events_and_too_many_bytes_or_chunks_are_refused() -> None:
    stage = _stage(limits=Limits(max_bytes=100, max_chunks=2))
    asked = QueryAsked(query_id="q", question="?")
    text = "A. " + "Long sentences with many words in them follow here. " * 300
    large, other = await _run(stage, [_event(text.encode()), asked])
    assert isinstance(large.result, LimitExceeded)
    assert "MAX_BYTES" in large.result.hint
    assert isinstance(other.result, InvalidEvent)
    (many,) = await _run(_stage(limits=Limits(max_chunks=2)), [_event(text.encode())])
    assert isinstance(many.result, LimitExceeded)


class _AwayBlobs(MemoryBlobs):
    def put(self, data: bytes, content_type: str) -> BlobRef:
        raise TransientError("the blob store is away")


async def test_a_part_that_is_away_ends_the_batch_after_what_came_before_it() -> None:
    results = _stage(_AwayBlobs()).process([_event(b"Words."), _event(image(photo())), _event(b"More.")])
    assert (await anext(results)).origin == 0
    with pytest.raises(TransientError):
        await anext(results)


async def test_a_fault_of_ours_is_not_hidden() -> None:
    models = FakeModels()
    models.labeller.label = None  # type: ignore[assignment, method-assign]
    with pytest.raises(TypeError):
        await _run(_stage(models=models), [_event(image(photo()))])


async def test_closing_early_leaves_no_task_behind() -> None:
    before = asyncio.all_tasks()
    results = _stage().process([_event(sound(tone(20, loudness=0.6)), f"d{n}") for n in range(4)])
    await anext(results)
    await results.aclose()
    assert asyncio.all_tasks() == before


async def test_start_loads_all_recognisers() -> None:
    await _stage().start()
    await _stage().stop()


def test_a_batch_that_waits_goes_out() -> None:
    now = [0.0]
    batches = Batches(_event(b"x"), "text/plain", Limits(), clock=lambda: now[0])
    draft = Draft(place="a", modality="text", channel=Channel.TEXT, text="x")  # type: ignore[arg-type]
    assert list(batches.add(draft)) == []
    now[0] = 1.0
    assert list(batches.add(draft)) == []
    now[0] = 3.0
    (waited,) = batches.add(draft)
    assert (len(waited.chunks), waited.is_last) == (2, False)
    last = batches.last()
    assert (len(last.chunks), last.is_last, last.batch) == (1, True, 1)


def test_a_batch_is_bounded_in_bytes() -> None:
    batches = Batches(_event(b"x"), "text/plain", Limits())
    sizes = []
    for number in range(20):
        draft = Draft(place=str(number), modality="text", channel=Channel.TEXT, text="x" * 100_000)  # type: ignore[arg-type]
        sizes += [len(batch.model_dump_json()) for batch in batches.add(draft)]
    assert len(sizes) >= 3
    assert max(sizes) <= MAX_JSON_BYTES


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("/a/b/c.png", "c.png"),
        ("C:\\a\\b.txt", "b.txt"),
        ("https://x.org/a%20b.html?q=1#f", "a b.html"),
        ("s3://bucket/key/", "key"),
        ("", ""),
    ],
)
def test_file_name(uri: str, name: str) -> None:
    assert file_name(uri) == name
