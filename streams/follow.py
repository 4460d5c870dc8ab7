"""``publish --follow``: a folder as a source. What is there, what appears, what changes and what is removed."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import structlog
from watchfiles import Change, awatch

from streams.client import Client, document_id_of
from streams.progress import Published
from workers.errors import SensoriumError

log = structlog.get_logger()

SETTLE_S = 0.2
"""A file whose size does not change for so long is taken to be written whole."""
QUIET_MS = 200


def visible_files(paths: list[Path]) -> Iterator[Path]:
    """Files, and those of folders, sorted; hidden ones are left out unless they are named."""
    for path in paths:
        if path.is_dir():
            inside = (file for file in path.rglob("*") if file.is_file())
            yield from sorted(file for file in inside if not _is_hidden(file.relative_to(path)))
        else:
            yield path


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


class Follower:
    """Publishes one folder for as long as it runs; a touch without a change is no new version."""

    def __init__(
        self, client: Client, folder: Path, *, source: str, tenant: str, on_change: Callable[[str, Published], None]
    ) -> None:
        self._client = client
        self._folder = folder.absolute()
        self._source = source
        self._tenant = tenant
        self._on_change = on_change
        self._digests: dict[Path, str] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Until ``stop``. What happens between the first look and the watch is seen by the watch.

        A new folder is looked through when it appears and once more afterwards: the system tells of it before the
        watch reaches into it, and what was written there in between is told by nobody.
        """
        unwatched = {self._folder}
        watch = awatch(self._folder, stop_event=stop, step=QUIET_MS, rust_timeout=500, yield_on_timeout=True)
        async for changes in watch:
            for folder in sorted(unwatched):
                await self._look_through(folder)
            unwatched.clear()
            for change, name in sorted(changes, key=lambda pair: pair[1]):
                path = Path(name)
                if _is_hidden(path.relative_to(self._folder)):
                    continue
                if change is Change.deleted:
                    await self._removed(path)
                elif await asyncio.to_thread(path.is_dir):
                    await self._look_through(path)
                    unwatched.add(path)
                else:
                    await self._changed(path)

    async def _look_through(self, folder: Path) -> None:
        for path in await asyncio.to_thread(_files_of, folder):
            await self._changed(path)

    async def _changed(self, path: Path) -> None:
        if not await _settled(path):
            return
        try:
            digest = await asyncio.to_thread(_digest, path)
            if self._digests.get(path) == digest:
                return
            published = await self._client.publish(path, source=self._source, tenant=self._tenant)
        except FileNotFoundError:
            return  # it went as fast as it came
        except SensoriumError as error:
            log.warning("follow.failed", path=str(path), reason=error.reason, hint=error.hint)
            return
        self._digests[path] = digest
        self._on_change("published", published)

    async def _removed(self, path: Path) -> None:
        """A path that is gone, a folder's files among it."""
        gone = [known for known in self._digests if known == path or path in known.parents]
        for known in gone:
            if known.exists():
                continue
            del self._digests[known]
            deleted = await self._client.delete(document_id_of(known), tenant=self._tenant)
            self._on_change("deleted", deleted)


def _files_of(folder: Path) -> list[Path]:
    return list(visible_files([folder])) if folder.is_dir() else []


async def _settled(path: Path) -> bool:
    """Wait until the file is written whole; false where it is no file (any more)."""
    before = -1
    while (size := await asyncio.to_thread(_size, path)) is not None:
        if size == before:
            return True
        before = size
        await asyncio.sleep(SETTLE_S)
    return False


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size if path.is_file() else None
    except FileNotFoundError:
        return None


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
