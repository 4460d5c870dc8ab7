"""The Faust application of one stage: one agent, one consumer group, records into the shell.

Faust acknowledges what fails, and a batch taken with ``take()`` whether it failed or not; so the agent does nothing but
hand each record, unacknowledged, to the shell (``streams/shell.py``), which acknowledges when the effect is durable.
Offsets are committed in order, twice a second, on every rebalance and at the end.
"""

from __future__ import annotations

from typing import Any

import aiokafka
import faust
import structlog
from faust.transport.drivers import aiokafka as driver

from streams.record import Record
from streams.security import faust_credentials
from streams.settings import Settings
from streams.shell import Received, Shell
from streams.stages import group_id
from streams.topics import Topic

log = structlog.get_logger()

FETCH_MAX_WAIT_MS = 50
"""How long the broker holds a fetch that finds nothing. Faust's 1,500 ms cost up to 550 ms a hop on the embedded
broker, which looks for new records only a few times within that span; with 50 ms a hop takes 4 ms."""

FETCH_MAX_BYTES = 16 * 1024 * 1024
"""What one answer of a broker may hold, about; two of the largest messages fit. aiokafka's own bound is 50 MiB."""

REBALANCE_TIMEOUT_S = 60.0
RELEASE_TIMEOUT_S = 20.0
"""How long a rebalance waits for the batch in flight; all workers of the stage stand still meanwhile."""

MAX_POLL_INTERVAL_S = 24 * 3600.0
"""A worker is alive as long as it sends heartbeats, however long one recording keeps it from asking for more."""


class _ConsumerThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]  # faust has no types
    def _create_worker_consumer(self, transport: Any) -> aiokafka.AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_MAX_WAIT_MS  # Faust has no settings for these
        consumer._fetch_max_bytes = FETCH_MAX_BYTES
        return consumer


class _Consumer(driver.Consumer):  # type: ignore[misc]  # faust has no types
    logger = driver.logger

    async def _getmany(self, active_partitions: set[Any] | None, timeout: float) -> Any:  # noqa: ASYNC109  # Faust's
        """Faust's own buffers are bounded by count only, and softly: nothing is fetched while the shell is full."""
        if not await self.app.feed.room(timeout):
            return {}
        return await super()._getmany(active_partitions, timeout)

    async def on_partitions_revoked(self, revoked: set[Any]) -> None:
        if revoked:  # first: Faust forgets what was acknowledged since the last commit, and only then sends its signal
            await self.app.feed.give_up()
        await super().on_partitions_revoked(revoked)

    def _new_consumer_thread(self) -> _ConsumerThread:
        return _ConsumerThread(self, loop=self.loop, beacon=self.beacon)


class _Transport(driver.Transport):  # type: ignore[misc]  # faust has no types
    Consumer = _Consumer


class _App(faust.App):  # type: ignore[misc]  # faust has no types
    feed: _Feed

    def _new_transport(self) -> _Transport:
        return _Transport(self.conf.broker_consumer, self)


def build_app(topic: Topic, shell: Shell, settings: Settings, bootstrap: str) -> faust.App:
    """The app that feeds ``shell`` from ``topic``. Start it with ``await app.start()``."""
    unused = settings.data_dir / "faust"  # no stage keeps a table, but Faust wants a folder for them
    unused.mkdir(parents=True, exist_ok=True)
    app = _App(
        group_id(shell.stage.name, settings.generation),
        broker=[f"aiokafka://{server.strip()}" for server in bootstrap.split(",")],
        broker_credentials=faust_credentials(bootstrap),
        store="memory://",
        datadir=str(unused),
        autodiscover=False,
        web_enabled=False,
        topic_disable_leader=True,
        topic_allow_declare=False,
        table_standby_replicas=0,
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=topic.max_message_bytes,
        # The embedded broker holds a group's first join for half of the session timeout.
        broker_session_timeout=settings.session_timeout_s,
        broker_heartbeat_interval=settings.session_timeout_s / 6,
        broker_rebalance_timeout=REBALANCE_TIMEOUT_S,
        broker_max_poll_interval=MAX_POLL_INTERVAL_S,
        broker_max_poll_records=4 * shell.batch_size,
        broker_commit_interval=0.5,
        stream_buffer_maxsize=4 * shell.batch_size,
        stream_wait_empty=False,  # it waits without a bound; the shell's release has one
    )
    channel = app.topic(topic.name, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")

    app.feed = _Feed(app, shell)
    app.agent(channel, name=shell.stage.name, concurrency=1)(app.feed.run)
    app.on_partitions_assigned.connect(app.feed.on_assigned)
    return app


class _Feed:
    """Hands records to the shell, and gives the partitions up in good order when the group changes.

    Faust drops its buffers then and reads again from the last commit, but a record that waits for room in a buffer
    slips through. It would be worked on twice, and acknowledged ahead of those before it: it is left out here.
    """

    def __init__(self, app: faust.App, shell: Shell) -> None:
        self._app = app
        self._shell = shell
        self._revoked_generation: int | None = None

    async def run(self, stream: Any) -> None:
        """The agent."""
        async for event in stream.noack().events():
            if event.message.generation_id != self._revoked_generation:
                await self._shell.put(Received(_record(event.message), event.ack))

    async def room(self, within_s: float) -> bool:
        """Whether the shell takes more; waits for it."""
        return await self._shell.room(within_s)

    async def give_up(self) -> None:
        """Finish the batch in flight and commit it while the partitions are still ours."""
        self._revoked_generation = self._app.consumer_generation_id
        await self._shell.pause(RELEASE_TIMEOUT_S)
        await self._app.consumer.commit()

    async def on_assigned(self, _: object, assigned: set[Any], **__: object) -> None:
        """The group has settled."""
        partitions = sorted(part.partition for part in assigned)
        log.info("partitions.assigned", stage=self._shell.stage.name, partitions=partitions)
        if self._revoked_generation == self._app.consumer_generation_id:
            self._revoked_generation = None  # a group that was forgotten counts from the start again
        self._shell.resume()


def _record(message: Any) -> Record:
    headers = message.headers or ()
    pairs = headers.items() if isinstance(headers, dict) else headers
    return Record(
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
        key=message.key,
        value=message.value,
        headers=tuple(pairs),
        timestamp_ms=int(message.timestamp * 1000),
    )
