"""The blob store: round trips, and every way out of its roots that we know."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from schemas.media import BlobRef
from workers.errors import ForbiddenUri, InvalidMedia, LimitExceeded, TransientError
from workers.store.blobs import BlobStore

SECRET = b"not for you"


def claim(uri: str, data: bytes = SECRET) -> BlobRef:
    return BlobRef(uri=uri, sha256=hashlib.sha256(data).hexdigest(), size=len(data))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "secret.txt").write_bytes(SECRET)
    root = tmp_path / "blobs"
    root.mkdir()
    return root


def test_what_is_put_is_got(root: Path) -> None:
    store = BlobStore(str(root))
    ref = store.put(b"cat", "image/png")
    assert ref.content_type == "image/png"
    assert ref.size == 3
    assert store.get(ref, max_bytes=3) == b"cat"
    assert Path(ref.uri.removeprefix("file://")).relative_to(root).parts == (ref.sha256[:2], ref.sha256)


def test_equal_content_is_written_once(root: Path) -> None:
    store = BlobStore(str(root))
    ref = store.put(b"cat", "image/png")
    path = Path(ref.uri.removeprefix("file://"))
    os.utime(path, (1, 1))
    assert store.put(b"cat", "image/jpeg").uri == ref.uri
    assert path.stat().st_mtime == 1


def test_writing_at_the_same_time_leaves_one_whole_file(root: Path) -> None:
    store = BlobStore(str(root))
    data = os.urandom(300_000)
    with ThreadPoolExecutor(8) as threads:
        refs = list(threads.map(lambda _: store.put(data, "x/y"), range(16)))
    assert len(set(refs)) == 1
    assert [path for path in root.rglob("*") if path.is_file()] == [Path(refs[0].uri.removeprefix("file://"))]
    assert store.get(refs[0], max_bytes=10**6) == data


async def test_async_round_trip(root: Path) -> None:
    store = BlobStore(str(root))
    assert await store.aget(await store.aput(b"cat", "image/png"), max_bytes=9) == b"cat"


def test_deleting_twice_is_no_error_and_the_blob_is_gone(root: Path) -> None:
    store = BlobStore(str(root))
    ref = store.put(b"cat", "image/png")
    assert store.exists(ref)
    store.delete(ref)
    store.delete(ref)
    assert not store.exists(ref)
    with pytest.raises(InvalidMedia, match="no blob"):
        store.get(ref, max_bytes=9)


def test_read_roots_are_read_but_not_deleted_from(root: Path, tmp_path: Path) -> None:
    media = tmp_path / "media with space"
    media.mkdir()
    (media / "a.txt").write_bytes(SECRET)
    store = BlobStore(str(root), [str(media)])
    for uri in (f"{media}/a.txt", f"file://{media}/a.txt", f"file://{media}/x/../a.txt"):
        assert store.get(claim(uri), max_bytes=100) == SECRET
    with pytest.raises(ForbiddenUri):
        store.delete(claim(f"{media}/a.txt"))


@pytest.mark.parametrize(
    "uri",
    [
        "{out}/secret.txt",
        "file://{out}/secret.txt",
        "file:{out}/secret.txt",
        "file://localhost{out}/secret.txt",
        "FILE://{out}/secret.txt",
        "local://{root}/../secret.txt",
        "{root}/../secret.txt",
        "file://{root}/../secret.txt",
        "file://{root}/ab/../../secret.txt",
        "file://{root}/%2e%2e/secret.txt",
        "file://{root}/..%2fsecret.txt",
        "file://{root}/%252e%252e%252fsecret.txt",
        "file://{root}/..\\secret.txt",
        "file://{root}2/secret.txt",
        "{root}",
        "../secret.txt",
        "secret.txt",
        "~/secret.txt",
        "file://~/secret.txt",
        "file://{root}/link.txt",
        "file://{root}/folder/secret.txt",
        "file://{root}/a\0b",
        "simplecache::file://{out}/secret.txt",
        "simplecache::file://{root}/secret.txt",
        "zip://secret.txt::file://{out}/a.zip",
        "http://127.0.0.1:1/secret.txt",
        "https://example.com/secret.txt",
        "s3://bucket/secret.txt",
        "memory://secret.txt",
        "http://x/file://{root}/a",
        "data:text/plain,secret",
        "",
    ],
)
def test_nothing_outside_the_roots_is_read(root: Path, uri: str) -> None:
    (root / "link.txt").symlink_to(root.parent / "secret.txt")
    (root / "folder").symlink_to(root.parent)
    store = BlobStore(str(root))
    ref = claim(uri.format(root=root, out=root.parent))
    with pytest.raises(ForbiddenUri, match="outside the configured roots") as caught:
        store.get(ref, max_bytes=100)
    assert "SENSORIUM_MEDIA_ROOTS" in caught.value.hint
    with pytest.raises(ForbiddenUri):
        store.exists(ref)


def test_a_root_that_is_a_link_is_followed(root: Path, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(root)
    store = BlobStore(str(tmp_path / "alias"))
    ref = store.put(b"cat", "image/png")
    assert store.get(claim(f"{tmp_path}/alias/{ref.sha256[:2]}/{ref.sha256}", b"cat"), max_bytes=9) == b"cat"


def test_size_and_hash_are_proven(root: Path) -> None:
    store = BlobStore(str(root))
    ref = store.put(b"cat", "image/png")
    with pytest.raises(InvalidMedia, match="3 bytes; the event says 4"):
        store.get(ref.model_copy(update={"size": 4}), max_bytes=9)
    Path(ref.uri.removeprefix("file://")).write_bytes(b"dog")
    with pytest.raises(InvalidMedia, match="sha256 differs"):
        store.get(ref, max_bytes=9)


def test_a_lie_about_the_size_does_not_get_a_large_file_read(root: Path) -> None:
    store = BlobStore(str(root))
    ref = store.put(b"x" * 1000, "x/y")
    for size in (1000, 5):
        with pytest.raises(LimitExceeded, match="1000 bytes, more than the limit of 10") as caught:
            store.get(ref.model_copy(update={"size": size}), max_bytes=10)
        assert "SENSORIUM_LIMITS__MAX_BYTES" in caught.value.hint


def test_folders_and_pipes_are_not_files(root: Path) -> None:
    os.mkfifo(root / "pipe")
    (root / "folder").mkdir()
    for name in ("pipe", "folder"):
        with pytest.raises(InvalidMedia, match="is not a file"):
            BlobStore(str(root)).get(claim(f"{root}/{name}"), max_bytes=100)


def test_trouble_of_the_disk_is_transient(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = BlobStore(str(root))
    ref = store.put(b"cat", "image/png")

    def fail(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(LocalFileSystem, "info", fail)
    with pytest.raises(TransientError, match="Input/output error"):
        store.get(ref, max_bytes=9)


def test_other_file_systems() -> None:
    MemoryFileSystem.store.clear()
    store = BlobStore("memory://bucket/blobs")
    ref = store.put(b"cat", "image/png")
    assert ref.uri.startswith("memory://")
    assert store.get(ref, max_bytes=9) == b"cat"
    MemoryFileSystem().pipe_file("/bucket/secret.txt", SECRET)
    for uri in ("memory://bucket/secret.txt", "memory://bucket/blobs/../secret.txt", "memory://bucket/blobs2/a"):
        with pytest.raises(ForbiddenUri):
            store.get(claim(uri), max_bytes=100)
