"""Query ids: UUIDs of version 7 (RFC 9562), whose first 48 bits are the time they were made at.

So a client that joins late knows where in the topic the answer begins.
"""

from __future__ import annotations

import os
import uuid

from streams.shell import wall_ms


def new_query_id() -> str:
    """A UUID of version 7 (RFC 9562): its first 48 bits are the time, so that a late client knows where to look."""
    moment, random = wall_ms(), int.from_bytes(os.urandom(10), "big")
    high = (random >> 62) & 0xFFF
    number = (moment << 80) | (7 << 76) | (high << 64) | (2 << 62) | (random & ((1 << 62) - 1))
    return str(uuid.UUID(int=number))


def moment_of(query_id: str) -> int | None:
    """When a query id was made, milliseconds; ``None`` where it is not one of ours."""
    try:
        parsed = uuid.UUID(query_id)
    except ValueError:
        return None
    return parsed.int >> 80 if parsed.version == 7 else None
