"""Part vectors: small on disk, close to what they were, read together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from schemas.chunks import PartsRef
from workers.errors import InvalidMedia
from workers.models.base import Parts
from workers.store.blobs import BlobStore
from workers.store.parts import PartsStore, quantised

rng = np.random.default_rng(3)


def made(rows: int, dimension: int = 384) -> Parts:
    vectors = rng.normal(size=(rows, dimension)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    places = rng.integers(0, 10_000, size=(rows, 4)).astype(np.int32)
    return Parts(vectors=vectors, places=places, weights=rng.random(rows).astype(np.float32))


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return BlobStore(str(tmp_path))


async def test_parts_come_back_close_to_what_they_were(blobs: BlobStore) -> None:
    written = [made(5), made(1), made(0), made(64)]
    refs = await PartsStore(blobs).write(written)
    assert len({ref.blob.uri for ref in refs}) == 1
    assert [ref.stop - ref.start for ref in refs] == [5, 1, 0, 64]
    assert refs[3].blob.size < 71 * (384 + 32) + 2000
    for read in (await PartsStore(blobs).read_many(refs), [await PartsStore(blobs).read(ref) for ref in refs]):
        for before, after in zip(written, read, strict=True):
            assert np.array_equal(before.places, after.places)
            assert np.array_equal(before.weights, after.weights)
            assert np.allclose(np.linalg.norm(after.vectors, axis=1), 1, atol=1e-5)
            assert np.all((before.vectors * after.vectors).sum(axis=1) > 0.9999)
            assert np.abs(before.vectors @ before.vectors.T - after.vectors @ after.vectors.T).max(initial=0) < 0.01


async def test_large_writes_are_several_files(blobs: BlobStore) -> None:
    written = [made(900, 8) for _ in range(5)]
    refs = await PartsStore(blobs).write(written)
    assert len({ref.blob.uri for ref in refs}) == 3
    read = await PartsStore(blobs).read_many(refs[::-1])
    assert np.array_equal(read[0].places, written[4].places)


async def test_nothing_written_nothing_stored(blobs: BlobStore) -> None:
    assert await PartsStore(blobs).write([]) == []
    assert await PartsStore(blobs).read_many([]) == []


async def test_files_are_kept_in_memory_within_a_bound(blobs: BlobStore) -> None:
    store = PartsStore(blobs, cache_bytes=10_000)
    refs = [(await store.write([made(10)]))[0] for _ in range(5)]
    await store.read_many(refs)
    assert len(store._cached) == 2
    assert store._cached_bytes == sum(file.size for file in store._cached.values()) <= 10_000
    blobs.delete(refs[4].blob)
    blobs.delete(refs[0].blob)
    kept = [ref for ref in refs if ref.blob.sha256 in store._cached]
    assert len(await store.read_many(kept)) == 2


async def test_missing_and_damaged_parts_are_empty_for_a_question_and_told(blobs: BlobStore) -> None:
    store = PartsStore(blobs)
    good, gone = (await store.write([made(3)]))[0], (await store.write([made(4)]))[0]
    blobs.delete(gone.blob)
    no_parts = PartsRef(blob=blobs.put(b"not an archive", "x/y"), start=0, stop=1)
    beyond = good.model_copy(update={"stop": 9})
    with structlog.testing.capture_logs() as logs:
        read = await store.read_many([good, gone, no_parts, beyond])
    assert [each.vectors.shape for each in read] == [(3, 384), (0, 384), (0, 384), (0, 384)]
    assert len(logs) == 3
    for ref in (gone, no_parts, beyond):
        with pytest.raises(InvalidMedia):
            await store.read(ref)


@given(st.integers(0, 5), st.floats(1e-6, 1e6))
def test_quantising_is_within_half_a_step(rows: int, size: float) -> None:
    vectors = (rng.normal(size=(rows, 16)) * size).astype(np.float32)
    codes, scales = quantised(vectors)
    assert np.all(np.abs(codes * scales[:, None] - vectors) <= scales[:, None] * 0.501)


def test_a_zero_row_stays_zero() -> None:
    codes, scales = quantised(np.zeros((2, 4), np.float32))
    assert not codes.any()
    assert np.isfinite(scales).all()
