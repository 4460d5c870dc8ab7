"""milvus-lite as a server whose writes are safe: ``python -m workers.store.lite FOLDER --port PORT``.

milvus-lite's own server hands every request to a pool of threads, while its engine expects one writer: writes at the
same time can give two rows one sequence number, a row that is written while a flush swaps the log can be lost, and rows
are out of sight for as long as they are being flushed. Here writes come one after the other, and a flush waits for the
searches that have begun and lets none begin before it is done. So any number of index workers may share the store.

It listens on loopback unless told otherwise (it has no login) and ends cleanly on SIGTERM and SIGINT.
"""

from __future__ import annotations

import argparse
import hashlib
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any

import grpc  # type: ignore[import-untyped]  # grpcio ships no types
import structlog
from milvus_lite.adapter.grpc.servicer import MilvusServicer
from milvus_lite.constants import DEFAULT_NUM_PARTITIONS, PARTITION_KEY_BUCKET_PREFIX
from milvus_lite.db import MilvusLite
from milvus_lite.exceptions import MilvusLiteError
from milvus_lite.search.filter import parse_expr
from milvus_lite.search.filter.ast import And, InOp
from pymilvus.grpc_gen import milvus_pb2_grpc

from workers.store import lite_search

log = structlog.get_logger()

_MAX_MESSAGE = 256 * 1024 * 1024  # as Milvus standalone
_OPTIONS = [
    ("grpc.max_receive_message_length", _MAX_MESSAGE),
    ("grpc.max_send_message_length", _MAX_MESSAGE),
    ("grpc.so_reuseport", 0),
    # pymilvus pings every 10 s, also when idle; by default a server takes that for an attack and hangs up
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 1000),
    ("grpc.http2.max_ping_strikes", 0),
]
_THREADS = 10

_READS = ("Query", "Search", "HybridSearch")
_WRITES = ("Insert", "Upsert", "Delete")
_CHANGES = (
    "CreateCollection",
    "DropCollection",
    "RenameCollection",
    "TruncateCollection",
    "CreateIndex",
    "DropIndex",
    "LoadCollection",
    "ReleaseCollection",
    "CreatePartition",
    "DropPartition",
    "CreateAlias",
    "AlterAlias",
    "DropAlias",
    "Flush",
)


class Gate:
    """Reads beside one write; a change alone. A waiting change lets no new read begin."""

    def __init__(self) -> None:
        self._writing = threading.Lock()
        self._state = threading.Condition()
        self._reads = 0
        self._changing = False

    @contextmanager
    def read(self) -> Iterator[None]:
        """Together with other reads and a write."""
        with self._state:
            self._state.wait_for(lambda: not self._changing)
            self._reads += 1
        try:
            yield
        finally:
            with self._state:
                self._reads -= 1
                self._state.notify_all()

    @contextmanager
    def write(self) -> Iterator[None]:
        """Together with reads, after other writes."""
        with self._writing:
            yield

    @contextmanager
    def change(self) -> Iterator[None]:
        """Alone."""
        with self._writing:
            with self._state:
                self._changing = True
                self._state.wait_for(lambda: self._reads == 0)
            try:
                yield
            finally:
                with self._state:
                    self._changing = False
                    self._state.notify_all()


def guarded(servicer: MilvusServicer, gate: Gate) -> MilvusServicer:
    """``servicer`` with every request behind ``gate``."""

    def behind(enter: Callable[[], AbstractContextManager[None]], method: Callable[..., Any]) -> Callable[..., Any]:
        def handle(request: Any, context: Any) -> Any:
            with enter():
                return method(request, context)

        return handle

    servicer.HybridSearch = _pruned(servicer, servicer.HybridSearch)
    for names, enter in ((_READS, gate.read), (_WRITES, gate.write), (_CHANGES, gate.change)):
        for name in names:
            setattr(servicer, name, behind(enter, getattr(servicer, name)))
    return servicer


def _pruned(servicer: MilvusServicer, search: Callable[..., Any]) -> Callable[..., Any]:
    """Hybrid search that reads only the partitions that a filter on the partition key leaves, as Milvus itself does."""

    def handle(request: Any, context: Any) -> Any:
        with suppress(MilvusLiteError):  # the search itself reports it
            key = servicer._get_collection(request, context)._partition_key_field
            for part in request.requests:
                part.partition_names.extend(partitions(part.dsl, key))
        return search(request, context)

    return handle


def partitions(expression: str, key: str | None) -> list[str]:
    """The partitions that rows of ``expression`` may lie in, by its terms on the partition key; none named: all."""
    parsed = parse_expr(expression) if key and expression else None
    for term in parsed.operands if isinstance(parsed, And) else (parsed,):
        if isinstance(term, InOp) and term.field.name == key and not term.negate:
            return sorted({_bucket(str(literal.value)) for literal in term.values.elements})
    return []


def _bucket(value: str) -> str:
    """As ``milvus_lite.engine.collection`` spreads rows."""
    number = int(hashlib.md5(value.encode(), usedforsecurity=False).hexdigest(), 16) % DEFAULT_NUM_PARTITIONS
    return f"{PARTITION_KEY_BUCKET_PREFIX}{number}"


def start(folder: str, host: str = "127.0.0.1", port: int = 0) -> tuple[grpc.Server, MilvusLite, int]:
    """Serve ``folder``; port 0 takes a free one. Returns the server, the engine and the port.

    Raises ``RuntimeError`` when the port is taken, and what milvus-lite raises when another process has the folder.
    """
    if not lite_search.install():
        log.warning("milvus_lite.unknown", hint="searches are slow; install the version of requirements.lock")
    engine = MilvusLite(folder)
    server = grpc.server(futures.ThreadPoolExecutor(_THREADS, "milvus-lite"), options=_OPTIONS)
    milvus_pb2_grpc.add_MilvusServiceServicer_to_server(guarded(MilvusServicer(engine), Gate()), server)
    bound = server.add_insecure_port(f"{host}:{port}")
    server.start()
    return server, engine, bound


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m workers.store.lite", description="milvus-lite with safe writes")
    parser.add_argument("folder", help="where the rows are kept; one process a folder")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=19530, help="0: a free one")
    arguments = parser.parse_args()
    server, engine, port = start(arguments.folder, arguments.host, arguments.port)
    print(f"milvus-lite listens on {arguments.host}:{port}", flush=True)  # the starter reads it
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    ended.wait()
    server.stop(grace=5).wait()
    engine.close()


if __name__ == "__main__":
    main()
