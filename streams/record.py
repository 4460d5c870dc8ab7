"""A Kafka record, as plain data: what the codec reads and writes, whichever client carries it."""

from __future__ import annotations

from dataclasses import dataclass

Headers = tuple[tuple[str, bytes | None], ...]
"""As they came: a name may stand twice, a value may be null."""


@dataclass(frozen=True, slots=True)
class Record:
    """One record. ``timestamp_ms`` is Kafka's, milliseconds since the epoch."""

    topic: str
    value: bytes | None
    key: bytes | None = None
    headers: Headers = ()
    partition: int = 0
    offset: int = 0
    timestamp_ms: int = 0

    @property
    def size(self) -> int:
        """Bytes of key, value and headers."""
        headers = sum(len(name) + len(value or b"") for name, value in self.headers)
        return len(self.value or b"") + len(self.key or b"") + headers
