"""A live stream as a running series of documents.

In: an address and a client to publish with. Out: one document a segment, events about all that happens, a report at the
end. Between the stream and the client stands a queue of bounded size: when publishing cannot keep up, whole oldest
segments are dropped, counted and told. A stream that is lost is connected to again, for ever, with growing waits.
Raises ``InvalidMedia`` when the address can be no feed, ``SensoriumError`` for arguments that make no sense.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

import stamina
import structlog

from schemas.base import DEFAULT_TENANT
from workers.errors import InvalidEvent, InvalidMedia, SensoriumError, TransientError
from workers.feed.epoch import Carry
from workers.feed.events import FeedEvent, happened
from workers.feed.packets import Segment
from workers.feed.queue import SegmentQueue
from workers.feed.session import Session, SessionEnd
from workers.feed.source import FeedLost
from workers.feed.uri import masked, slug, source_name

QUEUE_SEGMENTS = 8
QUEUE_BYTES = 64 * 1024 * 1024
LASTED_S = 10.0
"""A connection that lasted so long was a good one: the next is tried at once, and waits grow from the beginning."""
LONGEST_WAIT_S = 30.0
PUBLISH_S = 30.0
"""How long one segment is tried to be published before it is dropped."""
DRAIN_S = 15.0
"""How long the end of a feed waits for what is queued."""

log = structlog.get_logger("sensorium.feed")


class FeedClient(Protocol):
    """What a feed needs of ``streams.client.Client``."""

    async def publish(
        self,
        data: bytes,
        /,
        *,
        document_id: str,
        version: int,
        content_type: str,
        source: str,
        tenant: str,
        source_uri: str,
        event_time_ms: int,
    ) -> object:
        """Publish one document. Raises ``TransientError`` when the broker is away, ``InvalidEvent`` when it refuses."""


@dataclass(frozen=True, slots=True)
class FeedReport:
    """What a feed did. Delays are from the arrival of a segment's last packet to its acknowledged publication."""

    published: int
    dropped: int
    bytes: int
    connections: int
    gaps: int
    gap_ms: int
    delay_p50_ms: int
    delay_max_ms: int
    seconds: float


def log_event(event: FeedEvent) -> None:
    """The default listener: a line of log."""
    write = log.warning if event.kind in {"dropped", "disconnected", "gap"} else log.info
    write(event.text, kind=event.kind, **event.details)


async def run_feed(
    client: FeedClient,
    uri: str,
    *,
    source: str = "",
    tenant: str = DEFAULT_TENANT,
    segment_s: float = 6.0,
    overlap_s: float = 2.0,
    duration_s: float | None = None,
    on_event: Callable[[FeedEvent], None] = log_event,
    loop: bool = False,
) -> FeedReport:
    """Feed ``uri`` until it ends (a recording), ``duration_s`` is over, or SIGINT or SIGTERM comes.

    A segment is ``segment_s`` long and repeats the last ``overlap_s`` of the one before. ``loop`` plays a recording
    again and again.
    """
    if not 0 <= overlap_s < segment_s:
        raise SensoriumError(
            f"an overlap of {overlap_s:g} s does not fit into segments of {segment_s:g} s",
            hint="make --overlap smaller than --segment-seconds",
        )
    plan = _Plan(uri, source or source_name(uri), tenant, segment_s, overlap_s, loop)
    return await _Feed(client, plan, on_event).run(duration_s)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is asked of a run."""

    uri: str
    source: str
    tenant: str
    segment_s: float
    overlap_s: float
    loop: bool


class _Feed:
    """One run of a feed."""

    def __init__(self, client: FeedClient, plan: _Plan, on_event: Callable[[FeedEvent], None]) -> None:
        self._client = client
        self._plan = plan
        self._on_event = on_event
        self._loop = asyncio.get_running_loop()
        self._carry = Carry()
        self._queue = SegmentQueue(self._drop_late, max_segments=QUEUE_SEGMENTS, max_bytes=QUEUE_BYTES)
        self._stop = threading.Event()
        self._connecting: asyncio.Task[str] | None = None
        self._is_connected = False
        self._delays_ms: deque[int] = deque(maxlen=10_000)
        self._counts = dict.fromkeys(("published", "dropped", "bytes", "connections", "gaps", "gap_ms"), 0)

    async def run(self, duration_s: float | None) -> FeedReport:
        """Run to the end, whichever it is."""
        started_s = time.monotonic()
        publishing = asyncio.create_task(self._publish_all())
        self._connecting = asyncio.create_task(self._connect())
        timer = self._loop.call_later(duration_s, self._end) if duration_s is not None else None
        try:
            with self._signals():
                await asyncio.wait({publishing, self._connecting}, return_when=asyncio.FIRST_COMPLETED)
                if publishing.done():  # only a fault ends it before the queue is closed
                    publishing.result()
                reason = "stopped" if self._connecting.cancelled() else self._connecting.result()
                await self._drain(publishing)
        finally:
            self._stop.set()
            if timer:
                timer.cancel()
            publishing.cancel()
            self._connecting.cancel()
        report = self._report(time.monotonic() - started_s)
        text = f"feed {reason}: {report.published} segments published, {report.dropped} dropped"
        self._told(happened("ended", text, reason=reason, published=report.published, dropped=report.dropped))
        return report

    def _end(self) -> None:
        """Stop soon, with what is there; a wait before the next connection is cut short."""
        self._stop.set()
        if self._connecting and not self._is_connected:
            self._connecting.cancel()

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGINT and SIGTERM end the feed cleanly, where this thread may handle them."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        for number in (signal.SIGINT, signal.SIGTERM):
            self._loop.add_signal_handler(number, self._end)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                self._loop.remove_signal_handler(number)

    async def _connect(self) -> str:
        """Connect, again and again. Gives why the feed is over."""
        while True:
            async for attempt in stamina.retry_context(
                on=FeedLost, attempts=None, timeout=None, wait_initial=0.5, wait_max=LONGEST_WAIT_S, wait_jitter=1.0
            ):
                with attempt:
                    end = await self._converse(attempt.next_wait)
                    if end == "stopped" or (end == "ended" and not self._plan.loop):
                        return end

    async def _converse(self, next_wait_s: float) -> SessionEnd | None:
        """One connection. ``None``: it was lost after a good while, so connect at once."""
        session = Session(
            self._plan.uri,
            self._carry,
            length_s=self._plan.segment_s,
            overlap_s=self._plan.overlap_s,
            emit=self._queue.put,
            tell=self._tell,
            stop=self._stop,
        )
        started_s = time.monotonic()
        self._is_connected = True
        try:
            return await asyncio.to_thread(session.run)
        except (FeedLost, InvalidMedia) as lost:
            if isinstance(lost, InvalidMedia) and not self._counts["connections"]:
                raise
            lasted = session.delivered and time.monotonic() - started_s >= LASTED_S
            again = "connecting again at once" if lasted else f"connecting again in about {next_wait_s:.1f} s"
            self._told(happened("disconnected", f"{lost.reason}; {again}", reason=lost.reason))
            if lasted:
                return None
            raise FeedLost(lost.reason) from lost
        finally:
            self._is_connected = False

    async def _publish_all(self) -> None:
        while (segment := await self._queue.get()) is not None:
            try:
                async for attempt in stamina.retry_context(
                    on=TransientError, attempts=None, timeout=PUBLISH_S, wait_max=5.0
                ):
                    with attempt:
                        await self._publish(segment)
            except (TransientError, InvalidEvent) as error:
                self._drop(segment, error.reason)

    async def _publish(self, segment: Segment) -> None:
        document_id = self._document_id(segment)
        await self._client.publish(
            segment.data,
            document_id=document_id,
            version=segment.start_ms,
            content_type=segment.content_type,
            source=self._plan.source,
            tenant=self._plan.tenant,
            source_uri=self._position(segment),
            event_time_ms=segment.start_ms,
        )
        delay_ms = round((time.time() - segment.arrived_s) * 1000)
        self._delays_ms.append(delay_ms)
        self._counts["published"] += 1
        self._counts["bytes"] += len(segment.data)
        seconds = (segment.end_ms - segment.start_ms) / 1000
        self._told(
            happened(
                "published",
                f"{document_id}: {seconds:.1f} s from {_iso(segment.start_ms)}",
                document_id=document_id,
                event_time_ms=segment.start_ms,
                duration_ms=segment.end_ms - segment.start_ms,
                bytes=len(segment.data),
                delay_ms=delay_ms,
                clock=segment.clock,
            )
        )

    async def _drain(self, publishing: asyncio.Task[None]) -> None:
        self._queue.close()
        try:
            await asyncio.wait_for(publishing, DRAIN_S)
        except TimeoutError:
            left = len(self._queue) + 1  # and the one that was on its way
            text = f"dropped {left} segments: they could not be published in time"
            self._told(happened("dropped", text, segments=left))

    def _document_id(self, segment: Segment) -> str:
        epoch = datetime.fromtimestamp(segment.epoch_ms / 1000, UTC)
        return f"{slug(self._plan.source)}-{epoch:%Y%m%dT%H%M%S}{segment.epoch_ms % 1000:03d}-{segment.sequence:05d}"

    def _position(self, segment: Segment) -> str:
        """A W3C media fragment in wall-clock time, and whose clock that is."""
        span = f"{_iso(segment.start_ms)},{_iso(segment.end_ms)}"
        return f"{masked(self._plan.uri)}#t=clock:{span}&clock={segment.clock}"

    def _drop_late(self, segment: Segment) -> None:
        """Called by the queue, from the session's thread."""
        self._loop.call_soon_threadsafe(self._drop, segment, "publishing does not keep up with the stream")

    def _drop(self, segment: Segment, reason: str) -> None:
        document_id = self._document_id(segment)
        text = f"dropped {document_id}: {reason}"
        self._told(
            happened(
                "dropped", text, document_id=document_id, event_time_ms=segment.start_ms, reason=reason, segments=1
            )
        )

    def _tell(self, event: FeedEvent) -> None:
        """Called from the session's threads."""
        self._loop.call_soon_threadsafe(self._told, event)

    def _told(self, event: FeedEvent) -> None:
        if event.kind == "connected":
            self._counts["connections"] += 1
        elif event.kind == "gap":
            self._counts["gaps"] += 1
            self._counts["gap_ms"] += int(event.details["to_ms"]) - int(event.details["from_ms"])
        elif event.kind == "dropped":
            self._counts["dropped"] += int(event.details.get("segments", 0))
        self._on_event(event)

    def _report(self, seconds: float) -> FeedReport:
        delays = self._delays_ms or [0]
        p50 = round(statistics.median(delays))
        return FeedReport(**self._counts, delay_p50_ms=p50, delay_max_ms=max(delays), seconds=round(seconds, 3))


def _iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
