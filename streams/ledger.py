"""Which events a worker process was working on when it died, and how often each has been alone with it.

An event that raises is dealt with in the process. One that ends the process itself (a fault in a C library, memory that
runs out) leaves no exception, so every shell writes the places of its batch into a small mapped file before it begins
and wipes it afterwards; what a process leaves in the file when it dies survives it. Nothing is synced and nothing else
is written as long as no process dies: a batch costs microseconds.

The next process finds the file (its lock is free) and makes a *suspect* of each record in it. A suspect is worked on
alone in its process (``Turns``), and the attempt is written down before it begins. ``deaths`` says how many attempts
ended with the process; from a bound on, the shell dead-letters it instead. The count belongs to the data folder: where
a partition moves between machines, each counts its own.
"""

from __future__ import annotations

import asyncio
import fcntl
import mmap
import os
import struct
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from streams.record import Record

_COUNT, _PLACE = struct.Struct("<q"), struct.Struct("<3q")
SUFFIX = ".flight"
KEPT_S = 7 * 24 * 3600.0
"""A suspect that nobody met for so long was settled elsewhere."""

Place = tuple[int, int, int]
"""Partition, offset, Kafka's timestamp: offsets alone come again where a broker has lost its topics."""


def place_of(record: Record) -> Place:
    """Where a record lies."""
    return record.partition, record.offset, record.timestamp_ms


class Ledger:
    """The account of one stage in one process. ``folder`` is shared by all processes of the stage."""

    def __init__(self, folder: Path, *, lanes: int = 1, most: int = 1024) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._most = most
        self._deaths: dict[Place, int] = {}
        self._attempted: set[Place] = set()
        self._take_over()
        self._flights = [_Flight(folder, most) for _ in range(lanes)]
        self.reload()

    def begin(self, lane: int, batch: Sequence[Record]) -> None:
        """A batch is in work now."""
        self._flights[lane].write([place_of(record) for record in batch[: self._most]])

    def end(self, lane: int) -> None:
        """The lane is idle."""
        self._flights[lane].write([])

    def is_suspect(self, record: Record) -> bool:
        """Whether a process died while it worked on this record."""
        return bool(self._deaths) and place_of(record) in self._deaths

    def deaths(self, record: Record) -> int:
        """How many processes died while they worked on this record alone."""
        return self._deaths.get(place_of(record), 0)

    def attempt(self, record: Record) -> None:
        """A suspect is worked on alone now: counted before, for nobody could afterwards."""
        self._attempted.add(place_of(record))
        self._set(place_of(record), self.deaths(record) + 1)

    def settle(self, record: Record) -> None:
        """What was made of the record is durable."""
        place = place_of(record)
        self._attempted.discard(place)
        if self._deaths.pop(place, None) is not None:
            self._path(place).unlink(missing_ok=True)

    def reload(self) -> None:
        """Learn of the suspects that other processes of the stage have written down."""
        self._deaths = {}
        for path in self._folder.glob("*-*-*"):
            with suppress(FileNotFoundError, ValueError):
                if time.time() - path.stat().st_mtime > KEPT_S:
                    path.unlink()
                    continue
                partition, offset, timestamp_ms = map(int, path.name.split("-"))
                self._deaths[partition, offset, timestamp_ms] = int(path.read_text() or 0)

    def close(self) -> None:
        """The process ends by itself: what is in work is nobody's fault."""
        for place in self._attempted:
            self._set(place, max(0, self._deaths.get(place, 0) - 1))
        self._attempted.clear()
        for flight in self._flights:
            flight.close()
        self._flights = []

    def _take_over(self) -> None:
        for path in self._folder.glob(f"*{SUFFIX}"):
            for place in _left_behind(path):
                if not self._path(place).exists():
                    self._set(place, 0)

    def _set(self, place: Place, deaths: int) -> None:
        self._deaths[place] = deaths
        draft = self._folder / f".{uuid.uuid4().hex}"
        draft.write_text(str(deaths))
        draft.replace(self._path(place))

    def _path(self, place: Place) -> Path:
        return self._folder / "-".join(map(str, place))


class _Flight:
    """The mapped file of one lane; locked as long as its process lives."""

    def __init__(self, folder: Path, most: int) -> None:
        self._path = folder / f"{uuid.uuid4().hex}{SUFFIX}"
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        size = _COUNT.size + most * _PLACE.size
        os.ftruncate(self._descriptor, size)
        self._map = mmap.mmap(self._descriptor, size)

    def write(self, places: Sequence[Place]) -> None:
        """The count comes last, so that what is counted has been written."""
        if places:
            _COUNT.pack_into(self._map, 0, 0)
            struct.pack_into(f"<{3 * len(places)}q", self._map, _COUNT.size, *(x for place in places for x in place))
        _COUNT.pack_into(self._map, 0, len(places))

    def close(self) -> None:
        self._map.close()
        self._path.unlink(missing_ok=True)
        os.close(self._descriptor)


def _left_behind(path: Path) -> list[Place]:
    """What a process had in work when it died; empty where it lives, or another process was quicker."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return []
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        content = path.read_bytes()
        path.unlink()
    except (BlockingIOError, FileNotFoundError):
        return []
    finally:
        os.close(descriptor)
    if len(content) < _COUNT.size:
        return []  # it died before it had begun
    (count,) = _COUNT.unpack_from(content)
    return [_PLACE.unpack_from(content, _COUNT.size + number * _PLACE.size) for number in range(count)]


class Turns:
    """Who may work in a process: many together, or one alone, so that a death has one suspect."""

    def __init__(self) -> None:
        self._together = 0
        self._alone = False
        self._waiting = 0
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def take(self, *, alone: bool) -> AsyncIterator[None]:
        """Wait for the turn, and hold it."""
        await (self._enter_alone() if alone else self._enter())
        try:
            yield
        finally:
            await asyncio.shield(self._leave(alone=alone))

    async def _enter(self) -> None:
        await self._when(lambda: not self._alone and not self._waiting)
        self._together += 1

    async def _enter_alone(self) -> None:
        self._waiting += 1
        try:
            await self._when(lambda: not self._alone and not self._together)
            self._alone = True
        finally:
            self._waiting -= 1

    async def _when(self, is_free: Callable[[], bool]) -> None:
        if not is_free():
            async with self._changed:
                await self._changed.wait_for(is_free)

    async def _leave(self, *, alone: bool) -> None:
        if alone:
            self._alone = False
        else:
            self._together -= 1
        async with self._changed:
            self._changed.notify_all()
