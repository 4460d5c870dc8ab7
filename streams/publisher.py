"""Sends events. Delivery is what the broker acknowledged, never what was handed to a buffer."""

from __future__ import annotations

import asyncio

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError, KafkaError, MessageSizeTooLargeError
from aiokafka.structs import RecordMetadata

from schemas.base import Event
from streams.record import Record
from streams.wire import encode
from workers.errors import InvalidEvent, TransientError

MAX_REQUEST_BYTES = 16 * 1024 * 1024
PROBE_TIMEOUT_S = 5.0

log = structlog.get_logger()


class Publisher:
    """A producer that waits for all in-sync replicas and, where the broker can, never writes a record twice."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._producer: AIOKafkaProducer | None = None

    async def start(self) -> None:
        """Connect. Raises ``TransientError`` where no broker answers."""
        try:
            self._producer = await self._connect(idempotent=await _is_idempotent(self._bootstrap))
        except KafkaConnectionError as error:
            raise TransientError(
                f"no Kafka answers at {self._bootstrap}", hint="is `sensorium up` running? or set SENSORIUM_KAFKA"
            ) from error

    async def stop(self) -> None:
        """Flush and disconnect."""
        if self._producer:
            await self._producer.stop()
            self._producer = None

    async def send(self, event: Event) -> asyncio.Future[RecordMetadata]:
        """Hand ``event`` to the send buffer, in order; the future is done when it is durable."""
        return await self.send_record(encode(event))

    async def send_record(self, record: Record) -> asyncio.Future[RecordMetadata]:
        """Like ``send``, for a record that is encoded already."""
        assert self._producer, "publisher is not started"
        try:
            future: asyncio.Future[RecordMetadata] = await self._producer.send(
                record.topic, value=record.value, key=record.key, headers=list(record.headers)
            )
        except MessageSizeTooLargeError as error:
            size = record.size // 1024
            raise InvalidEvent(
                f"an event of {size} KiB for {record.topic} is larger than {MAX_REQUEST_BYTES // 1024} KiB",
                hint="lower SENSORIUM_INLINE_LIMIT so that media is claim-checked",
            ) from error
        return future

    async def publish(self, event: Event) -> RecordMetadata:
        """Send ``event`` and wait until it is durable. Raises ``TransientError`` where the broker is away."""
        return await delivered(await self.send(event))

    async def _connect(self, *, idempotent: bool) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap,
            acks="all",
            enable_idempotence=idempotent,
            max_request_size=MAX_REQUEST_BYTES,
            linger_ms=1,
        )
        try:
            await producer.start()
        except BaseException:
            await producer.stop()
            raise
        return producer


async def delivered(future: asyncio.Future[RecordMetadata]) -> RecordMetadata:
    """Wait for a delivery. Raises ``TransientError`` where it failed."""
    try:
        return await future
    except KafkaError as error:
        raise TransientError(f"Kafka did not take an event: {error!r}") from error


async def _is_idempotent(bootstrap: str) -> bool:
    """Whether the broker gives out producer ids; the embedded one does not, and says so only when asked."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True)
    try:
        await asyncio.wait_for(producer.start(), PROBE_TIMEOUT_S)
    except KafkaConnectionError:
        raise
    except (KafkaError, TimeoutError):
        log.info("publisher.not_idempotent", reason="the broker gives out no producer ids")
        return False
    finally:
        await producer.stop()
    return True
