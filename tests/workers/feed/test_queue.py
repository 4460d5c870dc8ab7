from __future__ import annotations

import asyncio
import threading

from workers.feed.packets import Segment
from workers.feed.queue import SegmentQueue


def segment(sequence: int, size: int = 1) -> Segment:
    return Segment(b"x" * size, "video/mp4", sequence, sequence + 1, 0, sequence, "arrival", 0.0)


async def test_the_oldest_give_way_and_are_named() -> None:
    dropped: list[Segment] = []
    queue = SegmentQueue(dropped.append, max_segments=3, max_bytes=1000)
    for n in range(5):
        queue.put(segment(n))
    queue.close()

    assert [s.sequence for s in dropped] == [0, 1]
    assert [s.sequence for s in [await queue.get(), await queue.get(), await queue.get()] if s] == [2, 3, 4]
    assert await queue.get() is None


async def test_bytes_count_and_one_large_segment_is_kept() -> None:
    dropped: list[Segment] = []
    queue = SegmentQueue(dropped.append, max_segments=10, max_bytes=100)
    queue.put(segment(0, 60))
    queue.put(segment(1, 60))
    queue.put(segment(2, 500))

    assert [s.sequence for s in dropped] == [0, 1]
    assert len(queue) == 1


async def test_whoever_waits_is_woken_from_another_thread() -> None:
    queue = SegmentQueue(lambda _: None, max_segments=3, max_bytes=1000)
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    threading.Thread(target=queue.put, args=(segment(7),)).start()

    got = await asyncio.wait_for(waiting, 5)
    assert got is not None
    assert got.sequence == 7
