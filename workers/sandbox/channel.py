"""The worker's end of the socket to a decoder process.

In: requests. Out: answers, of which nothing is believed. Raises ``ConnectionError`` where the process is gone,
``ValueError`` where it talks nonsense.
"""

from __future__ import annotations

import asyncio
import json
import pickle
import socket
from collections.abc import Sequence
from typing import Final

import numpy as np
import structlog

from workers.sandbox.wire import HEAD, LENGTH, MAX_BUFFERS, MAX_JSON, REQUEST, Answer, Kind, Tree

_READ_AT_ONCE: Final = 64 * 1024
_log = structlog.get_logger(__name__)


class Channel:
    """``connection`` does not block. Buffers of at most ``max_bytes`` are taken."""

    def __init__(self, connection: socket.socket, max_bytes: int) -> None:
        self._connection = connection
        self._max_bytes = max_bytes
        self._unread = bytearray()

    def tell(self, request: object, descriptors: Sequence[int] = ()) -> None:
        """Send what is short, and is not answered."""
        try:
            socket.send_fds(self._connection, [_framed(request)], descriptors)
        except OSError as error:
            raise ConnectionError(str(error)) from error

    async def send(self, request: object) -> None:
        """Send what may be long."""
        try:
            await asyncio.get_running_loop().sock_sendall(self._connection, _framed(request))
        except OSError as error:
            raise ConnectionError(str(error)) from error

    async def answer(self) -> Answer:
        """The next answer. The log lines that come with it are written."""
        kind, size, count = HEAD.unpack(await self._bytes(HEAD.size))
        if size > MAX_JSON or count > MAX_BUFFERS:
            raise ValueError("it answered too much")
        lengths = [LENGTH.unpack(await self._bytes(LENGTH.size))[0] for _ in range(count)]
        if sum(lengths) > self._max_bytes:
            raise ValueError("it answered too much")
        body = await self._bytes(size)
        buffers = [await self._buffer(length) for length in lengths]
        try:
            value, logs = json.loads(body)
            for level, event, values in logs:
                _write(level, event, values)
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError("it answered nonsense") from error
        return Answer(Kind(kind), value, buffers)

    def close(self) -> None:
        """The process ends when it next listens."""
        self._connection.close()

    async def _bytes(self, count: int) -> bytes:
        while len(self._unread) < count:
            try:
                more = await asyncio.get_running_loop().sock_recv(self._connection, _READ_AT_ONCE)
            except OSError as error:
                raise ConnectionError(str(error)) from error
            if not more:
                raise ConnectionError("closed")
            self._unread += more
        found = bytes(self._unread[:count])
        del self._unread[:count]
        return found

    async def _buffer(self, length: int) -> memoryview:
        """So many bytes, received where they stay."""
        buffer = np.empty(length, np.uint8).data
        have = min(length, len(self._unread))
        buffer[:have] = self._unread[:have]
        del self._unread[:have]
        while have < length:
            try:
                count = await asyncio.get_running_loop().sock_recv_into(self._connection, buffer[have:])
            except OSError as error:
                raise ConnectionError(str(error)) from error
            if count == 0:
                raise ConnectionError("closed")
            have += count
        return buffer


def _framed(request: object) -> bytes:
    body = pickle.dumps(request)
    return REQUEST.pack(len(body)) + body


def _write(level: Tree, event: Tree, values: dict[str, Tree]) -> None:
    """A log line of the process; its keys must not clash with what the logger takes."""
    shown = {key: value for key, value in values.items() if key.isidentifier() and key not in {"event", "self"}}
    (_log.error if level == "error" else _log.warning)(str(event), **shown)
