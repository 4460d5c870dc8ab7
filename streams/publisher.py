"""Sends events. Delivery is what the broker acknowledged, never what was handed to a buffer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from typing import Any

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    MessageSizeTooLargeError,
    NoError,
    RecordTooLargeError,
    for_code,
)
from aiokafka.protocol.transaction import InitProducerIdRequest
from aiokafka.structs import RecordMetadata

from schemas.base import Event
from schemas.generations import FIRST
from streams.record import Record
from streams.security import client_options, unreachable
from streams.tenancy import Sign
from streams.wire import encode
from workers.errors import InvalidEvent, TransientError

MAX_REQUEST_BYTES = 16 * 1024 * 1024
TRY_AGAIN = frozenset({14, 15, 16})
"""Codes of a Kafka that is still loading its coordinators."""

log = structlog.get_logger()


class Delivery:
    """A record on its way. Awaiting it gives its place in the topic, once it is durable."""

    def __init__(
        self, future: asyncio.Future[RecordMetadata], record: Record, on_failure: Callable[[], None] = lambda: None
    ) -> None:
        self._future = future
        self._record = record
        self._on_failure = on_failure

    def __await__(self) -> Generator[Any, None, RecordMetadata]:
        try:
            return (yield from self._future.__await__())
        except KafkaError as error:
            self._on_failure()
            raise _sorted(error, self._record) from error


class Publisher:
    """A producer that waits for all in-sync replicas and, where the broker can, never writes a record twice.

    An idempotent producer numbers its records: after one that failed, the broker refuses those that follow. So the next
    ``send`` after a failure begins with a new producer, once the old one has got rid of what it can still deliver.
    ``generation`` is that of the worker; a client sends nothing for which it matters.
    ``sign`` shows who sends what goes to the topics of producers.
    """

    def __init__(self, bootstrap: str, generation: str = FIRST, sign: Sign = lambda record: record) -> None:
        self._bootstrap = bootstrap
        self._sign = sign
        self._generation = generation
        self._producer: AIOKafkaProducer | None = None
        self._has_failed = False
        self._renewing = asyncio.Lock()

    async def start(self) -> None:
        """Connect. Raises ``TransientError`` where no broker answers, ``AccessDenied`` where one does not let us in."""
        try:
            self._producer = await self._connect(idempotent=await _is_idempotent(self._bootstrap))
        except KafkaError as error:
            raise await unreachable(self._bootstrap, error) from error

    async def stop(self) -> None:
        """Flush and disconnect."""
        if self._producer:
            await self._producer.stop()
            self._producer = None

    async def send(self, event: Event) -> Delivery:
        """Hand ``event`` to the send buffer, in order; await what it returns for the broker's word.

        Raises ``InvalidEvent`` for an event that is too large, ``TransientError`` where the broker is away.
        """
        return await self.send_record(encode(event, self._generation))

    async def send_again(self, record: Record) -> Delivery:
        """Like ``send_record``, to the record's own partition and with its own time."""
        return await self._send(record, partition=record.partition, timestamp_ms=record.timestamp_ms or None)

    async def send_record(self, record: Record) -> Delivery:
        """Like ``send``, for a record that is encoded already; its key says to which partition."""
        return await self._send(self._sign(record))

    async def _send(self, record: Record, **place: int | None) -> Delivery:
        if self._has_failed:
            await self._renew()
        producer = self._producer
        assert producer, "publisher is not started"

        def on_failure() -> None:
            self._has_failed |= producer is self._producer  # not where there is a new one already

        try:
            future = await producer.send(
                record.topic, value=record.value, key=record.key, headers=list(record.headers), **place
            )
        except MessageSizeTooLargeError as error:  # told before it has a number
            raise _sorted(error, record) from error
        except KafkaError as error:
            on_failure()
            raise _sorted(error, record) from error
        return Delivery(future, record, on_failure)

    async def _renew(self) -> None:
        """A new producer in the place of one that failed. Raises ``TransientError`` where no broker answers."""
        async with self._renewing:
            if self._has_failed:
                await self.stop()
                await self.start()
                self._has_failed = False

    async def publish(self, event: Event) -> RecordMetadata:
        """Send ``event`` and wait until it is durable. Raises ``TransientError`` where the broker is away."""
        return await (await self.send(event))

    async def _connect(self, *, idempotent: bool) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(
            **client_options(self._bootstrap),
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


def _sorted(error: KafkaError, record: Record) -> InvalidEvent | TransientError:
    """What a failed delivery means for the event: too large for ever, or not now."""
    if isinstance(error, MessageSizeTooLargeError | RecordTooLargeError):
        return InvalidEvent(
            f"an event of {record.size // 1024} KiB is larger than {record.topic} takes",
            hint="lower SENSORIUM_INLINE_LIMIT so that media is claim-checked",
        )
    return TransientError(f"Kafka did not take an event for {record.topic}: {error!r}", hint="is the broker running?")


async def _is_idempotent(bootstrap: str) -> bool:
    """Whether the broker gives out producer ids; the embedded one says only when asked that it does not."""
    client = AIOKafkaClient(**client_options(bootstrap))
    try:
        await client.bootstrap()
        request = InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=1000)
        answer = await client.send(client.get_random_node(), request)
        refusal = None if answer.error_code in TRY_AGAIN else for_code(answer.error_code)
    except KafkaConnectionError:
        raise
    except KafkaError as error:
        refusal = type(error)
    finally:
        await client.close()
    if refusal in (None, NoError):
        return True
    log.info("publisher.not_idempotent", reason="the broker gives out no producer ids", answer=refusal.__name__)
    return False
