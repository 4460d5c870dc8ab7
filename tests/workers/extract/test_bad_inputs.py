"""Every kind of bad input has its outcome, and the next document is read as if nothing had been."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.media import MediaReceived
from tests.bad_inputs import BadInput, bad_claims, bad_media
from tests.workers.extract.fakes import FakeModels, MemoryBlobs
from workers.errors import InvalidEvent
from workers.extract.stage import ExtractStage
from workers.limits import Limits
from workers.stage import Output
from workers.store.blobs import BlobStore

GOOD = MediaReceived(document_id="good", version=1, event_time_ms=0, data=b"A good document.")


def _event(bad: BadInput) -> MediaReceived:
    return MediaReceived(
        document_id=bad.name, version=1, event_time_ms=0, content_type=bad.content_type, data=bad.data, blob=bad.blob
    )


async def _check(stage: ExtractStage, bad: BadInput) -> None:
    outputs = [output async for output in stage.process([_event(bad), GOOD])]
    first = [output.result for output in outputs if output.origin == 0]
    errors = [result for result in first if isinstance(result, InvalidEvent)]
    if bad.error is None:
        assert first, bad.name
        assert not errors, errors
    else:
        assert [type(error) for error in errors] == [bad.error], (bad.name, errors)
        assert len(first) == 1, "nothing of a refused document goes out"
        assert len(errors[0].reason) > 10, errors[0].reason
    _check_good(outputs)


def _check_good(outputs: list[Output]) -> None:
    (good,) = [output.result for output in outputs if output.origin == 1]
    assert [chunk["text"] for chunk in good.model_dump()["chunks"]] == ["A good document."]  # type: ignore[union-attr]


def test_there_are_enough_kinds() -> None:
    names = [bad.name for bad in bad_media()]
    assert len(names) == len(set(names))
    assert len(names) >= 50


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")  # Pillow's, before it gives up
@pytest.mark.parametrize("bad", bad_media(), ids=lambda bad: bad.name)
async def test_bad_media(bad: BadInput) -> None:
    await _check(ExtractStage(MemoryBlobs(), FakeModels(), Limits()), bad)


async def test_bad_claims(tmp_path: Path) -> None:
    store = BlobStore(str(tmp_path / "blobs"))
    outside = tmp_path / "secret.txt"
    outside.write_text("secret")
    for bad in bad_claims(store, outside):
        await _check(ExtractStage(store, FakeModels(), Limits()), bad)


async def test_an_event_without_media_or_with_both_is_refused() -> None:
    stage = ExtractStage(MemoryBlobs(), FakeModels(), Limits())
    blob = MemoryBlobs().put(b"x", "text/plain")
    for event in (GOOD.model_copy(update={"data": None}), GOOD.model_copy(update={"blob": blob})):
        (output,) = [output async for output in stage.process([event])]
        assert isinstance(output.result, InvalidEvent)
        assert output.result.hint
