"""Records that wait for their turn: bounded by count and bytes, fair among tenants, acknowledged in order.

Tenants take turns, so that one with a long queue delays the others by one batch at most; the records of one tenant, and
so those of one key, stay in order. Records may thus be finished out of the order of their partition. They are
acknowledged in that order all the same, each only after all before it: Faust's own account of acknowledgements commits
past a record that is still in work where those behind it are acknowledged first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

from streams.record import Record

MOST_BYTES = 64 * 1024 * 1024
MOST_UNACKNOWLEDGED = 4096
"""Records that may be finished or waiting behind one that is still in work; they are done again after a crash."""

Judge = Callable[[Record], bool]


@dataclass(slots=True, eq=False)
class Received:
    """A record and what acknowledges it. ``epoch`` is the span of ownership of the partitions that it came in."""

    record: Record
    ack: Callable[[], object]
    epoch: int = field(default=0, init=False)


class Intake:
    """What has been received and is not acknowledged."""

    def __init__(self, most_records: int) -> None:
        self.epoch = 0
        self._most_records = most_records
        self._waiting: dict[str, deque[Received]] = {}  # by tenant, whose turn it is first
        self._lines: dict[int, deque[Received]] = {}  # by partition, in the order of offsets
        self._done: set[Received] = set()
        self._count = self._bytes = 0

    def __len__(self) -> int:
        """Records that wait."""
        return self._count

    def has_room(self) -> bool:
        """Whether one more record may come; one always may where none waits."""
        if sum(map(len, self._lines.values())) >= MOST_UNACKNOWLEDGED:
            return False
        return not self._count or (self._count < self._most_records and self._bytes < MOST_BYTES)

    def add(self, received: Received) -> None:
        """One more record, the next of its partition."""
        received.epoch = self.epoch
        self._waiting.setdefault(tenant_of(received.record), deque()).append(received)
        self._lines.setdefault(received.record.partition, deque()).append(received)
        self._count += 1
        self._bytes += received.record.size

    def pass_by(self, received: Received) -> None:
        """A record that is not for this worker: acknowledged as soon as those before it are."""
        received.epoch = self.epoch
        self._lines.setdefault(received.record.partition, deque()).append(received)
        self.done([received])

    def has_work(self, busy: Collection[str] | None = None) -> bool:
        """Whether a record of a tenant waits that is not ``busy``."""
        return any(tenant not in (busy or ()) for tenant in self._waiting)

    def take(self, most: int, stands_alone: Judge, busy: Collection[str] | None = None) -> list[Received]:
        """At most ``most`` records, in which tenants take turns; given ``busy``, all of one tenant that is not.

        A record that ``stands_alone`` is a batch of its own.
        """
        batch: list[Received] = []
        while len(batch) < most:
            tenant = next((name for name in self._waiting if name not in (busy or ())), None)
            if tenant is None or (batch and stands_alone(self._waiting[tenant][0].record)):
                break
            batch.append(self._pop(tenant))
            if busy is not None:
                busy = {name for name in self._waiting if name != tenant}
            if len(batch) == 1 and stands_alone(batch[0].record):
                break
        return batch

    def done(self, batch: Iterable[Received]) -> None:
        """Everything of ``batch`` is durable: acknowledge it as far as nothing before it is in work."""
        current = [received for received in batch if received.epoch == self.epoch]
        self._done.update(current)
        for partition in sorted({received.record.partition for received in current}):
            line = self._lines[partition]
            while line and line[0] in self._done:
                first = line.popleft()
                self._done.discard(first)
                first.ack()

    def drop_waiting(self) -> None:
        """What waits is left to whoever gets the partitions; what is in work may still be acknowledged."""
        self._waiting.clear()
        self._count = self._bytes = 0

    def begin_epoch(self) -> None:
        """The partitions are gone: nothing of what was received may be acknowledged any more."""
        self.drop_waiting()
        self._lines.clear()
        self._done.clear()
        self.epoch += 1

    def _pop(self, tenant: str) -> Received:
        queue = self._waiting.pop(tenant)
        received = queue.popleft()
        if queue:
            self._waiting[tenant] = queue  # last in turn
        self._count -= 1
        self._bytes -= received.record.size
        return received


def tenant_of(record: Record) -> str:
    """Whose record it is, as far as key and headers tell without decoding it. One key has one tenant."""
    before, slash, _ = (record.key or b"").partition(b"/")
    if slash:
        return before.decode("utf-8", "replace")
    for name, value in record.headers:
        if name.lower() in ("ce_tenant", "tenant"):
            return (value or b"").decode("utf-8", "replace")
    return ""
