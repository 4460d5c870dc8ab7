"""The decoder process: takes a document, does with it what its worker asks, answers.

In: requests on the socket that it was started with (see ``wire``): a document, calls of functions that take its bytes
first, steps of their iterators. Out: answers. It is confined before it reads the first request, imports what a function
needs when it is asked for it, and ends when its worker does.

An error in a function is the document's fault: the worker gets a reason. A function that is not there is not.
"""

from __future__ import annotations

import faulthandler
import importlib
import json
import logging
import pickle
import socket
import sys
import time
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from workers.errors import InvalidEvent, InvalidMedia
from workers.sandbox.confine import confine
from workers.sandbox.held import Data, Held, received
from workers.sandbox.progress import on_beat
from workers.sandbox.wire import HEAD, LENGTH, REQUEST, Kind, Tree, encoded

_BEAT_S: Final = 1.0
_MAX_LOGS, _MAX_LOG_CHARS = 20, 400
_SEND_BUFFER: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Start:
    """What a process is started with."""

    worker: int
    memory_mib: int
    packages: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Open:
    """A new document; its file descriptor comes along. What was open before is closed."""

    size: int


@dataclass(frozen=True, slots=True)
class Call:
    """``module:function`` with the document first, then ``arguments``."""

    work: str
    arguments: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Next:
    """The item number ``place`` of the iterator ``number``, which ``call`` makes when it is first asked for."""

    number: int
    call: Call
    place: int


@dataclass(frozen=True, slots=True)
class Done:
    """The document is done with: give back what it took."""


@dataclass(slots=True)
class _Iterating:
    items: Iterator[object]
    place: int = 0


@dataclass(slots=True)
class _Document:
    data: Data = b""
    iterators: dict[int, _Iterating] = field(default_factory=dict)

    def close(self) -> None:
        self.iterators.clear()
        if isinstance(self.data, Held):
            self.data.close()
        self.data = b""


class _Decoder:
    """One process's loop."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._document = _Document()
        self._logs: list[Tree] = []
        self._beaten = time.monotonic()

    def serve(self) -> None:
        """Answer until the worker closes the connection."""
        on_beat(self._beat)
        _take_logs(self._logs)
        while (request := self._receive()) is not None:
            message, descriptors = request
            self._beaten = time.monotonic()
            match message:
                case Open(size):
                    self._document.close()
                    self._document.data = received(descriptors[0], size)
                case Done():
                    self._document.close()
                case Call() | Next():
                    self._answer(message)

    def _answer(self, message: Call | Next) -> None:
        try:
            work = _function(message.work if isinstance(message, Call) else message.call.work)
        except (ImportError, AttributeError):
            self._send(Kind.FAULT, traceback.format_exc())
            return
        try:
            if isinstance(message, Call):
                self._send(Kind.VALUE, work(self._document.data, *message.arguments))
            else:
                self._send(*self._next(message, work))
        except InvalidEvent as error:
            self._refuse(error)
        except MemoryError:
            self._document.close()
            self._send(Kind.MEMORY, None)
        # Whatever a parser raises, hostile bytes made it do so: the document is refused, and the log says where.
        except Exception as error:
            self._logs.append(["error", "a decoder failed", {"where": traceback.format_exc()[-2000:]}])
            self._refuse(InvalidMedia(f"its decoder failed: {type(error).__name__}: {error}", hint="check the file"))

    def _next(self, message: Next, work: Any) -> tuple[Kind, object]:
        iterators = self._document.iterators
        if message.number not in iterators:
            iterators[message.number] = _Iterating(iter(work(self._document.data, *message.call.arguments)))
        iterating = iterators[message.number]
        for item in iterating.items:
            iterating.place += 1
            if iterating.place > message.place:  # items before it were seen before the last decoder died
                return Kind.VALUE, item
            self._beat()
        return Kind.END, None

    def _refuse(self, error: InvalidEvent) -> None:
        texts = (text.encode("utf-8", "replace").decode() for text in (error.reason[:2000], error.hint[:2000]))
        self._send(Kind.REFUSED, [type(error).__name__, *texts])

    def _beat(self) -> None:
        now = time.monotonic()
        if now - self._beaten >= _BEAT_S:
            self._beaten = now
            self._send(Kind.BEAT, None)

    def _send(self, kind: Kind, value: object) -> None:
        buffers: list[memoryview] = []
        tree = encoded(value, buffers)
        logs = self._logs[:_MAX_LOGS]
        self._logs.clear()
        body = json.dumps([tree, logs]).encode()
        lengths = b"".join(LENGTH.pack(buffer.nbytes) for buffer in buffers)
        self._connection.sendall(HEAD.pack(kind, len(body), len(buffers)) + lengths + body)
        for buffer in buffers:
            self._connection.sendall(buffer)

    def _receive(self) -> tuple[Any, list[int]] | None:
        head, descriptors, _, _ = socket.recv_fds(self._connection, REQUEST.size, 1)
        if len(head) < REQUEST.size:
            return None
        body = bytearray(REQUEST.unpack(head)[0])
        view = memoryview(body)
        while view:
            count = self._connection.recv_into(view)
            if count == 0:
                return None
            view = view[count:]
        return pickle.loads(body), descriptors  # noqa: S301  # a worker is believed


def _function(work: str) -> Any:
    module, _, name = work.partition(":")
    return getattr(importlib.import_module(module), name)


def _take_logs(logs: list[Tree]) -> None:
    """Log lines go to the worker with the next answer; it has the settings of how they are written."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            _keep(logs, record.levelname.lower(), record.getMessage(), {"logger": record.name})

    logging.basicConfig(level=logging.WARNING, handlers=[Handler()], force=True)
    import structlog

    def keep(_: object, level: str, event: Any) -> Any:
        _keep(logs, level, str(event.pop("event", "")), event)
        raise structlog.DropEvent

    structlog.configure(processors=[keep], cache_logger_on_first_use=False)


def _keep(logs: list[Tree], level: str, event: str, values: dict[str, Any]) -> None:
    if len(logs) < _MAX_LOGS:
        shown = {key: str(value)[:_MAX_LOG_CHARS].encode("utf-8", "replace").decode() for key, value in values.items()}
        logs.append([level, event[:_MAX_LOG_CHARS].encode("utf-8", "replace").decode(), shown])


def main(descriptor: int) -> None:
    """Serve the socket behind ``descriptor``."""
    faulthandler.enable()
    connection = socket.socket(fileno=descriptor)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
    decoder = _Decoder(connection)
    request = decoder._receive()
    if request is None:
        return
    start: Start = request[0]
    for package in start.packages:
        importlib.import_module(package)
    warnings.simplefilter("ignore")
    decoder._send(Kind.READY, confine(start.memory_mib, start.worker, start.packages))
    try:
        decoder.serve()
    except (BrokenPipeError, ConnectionResetError):
        sys.exit(0)  # the worker has ended
