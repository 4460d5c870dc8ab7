"""Calls to Milvus with a deadline and with errors of ours; the same for milvus-lite's server and for Milvus itself.

Raises ``TransientError`` where the server is away, busy, or has just been restarted; anything else that it refuses is a
fault of ours and passes as pymilvus's own ``MilvusException``. ``StoreMismatch`` for collections of another version.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc  # type: ignore[import-untyped]  # grpcio ships no types
from pymilvus import AsyncMilvusClient, CollectionSchema, MilvusClient, MilvusException
from pymilvus.exceptions import MilvusUnavailableException

from workers.errors import StoreMismatch, TransientError

Indexes = Mapping[str, Mapping[str, Any]]
"""The index of every vector field: its type and its metric."""

FINGERPRINT = "sensorium.fingerprint"
"""The property of a collection that says which models and which chunking filled it."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What a collection is like. One without a ``fingerprint`` takes, and is taken by, everything."""

    schema: CollectionSchema
    indexes: Indexes
    fingerprint: str = ""


logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # it logs every error that it raises, with its stack

_AWAY = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED}
_NOT_LOADED = 101  # collections of milvus-lite are released when its server starts again
_BUSY = {
    2,  # service unavailable; in pymilvus: cannot connect
    3,  # memory limit
    4,  # too many requests
    7,  # disk limit
    8,  # rate limit
    9,  # quota: writing or reading is denied for now
    11,  # timestamps lag behind
    _NOT_LOADED,
    106,  # collection is recovering
    503,  # no replica available
}
"""Codes of Milvus (merr) that pass by themselves."""


class Server:
    """A connection, made at the first call."""

    def __init__(self, uri: str, token: str, timeout_s: float, tls: Mapping[str, str] | None = None) -> None:
        self.uri = uri
        self._client = AsyncMilvusClient(uri, token=token, timeout=timeout_s, **(tls or {}))
        self._timeout_s = timeout_s

    async def close(self) -> None:
        """End the connection."""
        await self._client.close()

    async def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """A method of pymilvus's ``AsyncMilvusClient``."""
        function: Callable[..., Awaitable[Any]] = getattr(self._client, method)
        with translated(self.uri, method):
            try:
                return await function(*args, timeout=self._timeout_s, **kwargs)
            except MilvusException as error:
                if error.code != _NOT_LOADED:
                    raise
            await self._client.load_collection(args[0], timeout=self._timeout_s)
            return await function(*args, timeout=self._timeout_s, **kwargs)


@contextmanager
def translated(uri: str, method: str) -> Iterator[None]:
    """What passes by itself as a ``TransientError``."""
    try:
        yield
    except (MilvusException, grpc.RpcError, OSError) as error:
        if not is_transient(error):
            raise
        hint = "check that Milvus runs (SENSORIUM_MILVUS); `sensorium status` shows its state"
        raise TransientError(f"Milvus at {uri} failed to {method}: {error}", hint=hint) from error


def is_transient(error: BaseException) -> bool:
    """Whether trying again later may help: the server is away, too busy, or has lost its loaded collections.

    pymilvus raises its errors again from themselves, so the first cause stands in the context.
    """
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        code = link.code() if isinstance(link, grpc.RpcError) else getattr(link, "code", None)
        if code in _AWAY or code in _BUSY or isinstance(link, MilvusUnavailableException | OSError):
            return True
        link = link.__context__
    return False


def prepare(
    uri: str,
    token: str,
    timeout_s: float,
    collections: Mapping[str, Kind],
    alias: str,
    tls: Mapping[str, str] | None = None,
) -> bool:
    """Create, index and load ``collections``; let ``alias`` name the first unless it names one already.

    Blocks. Several workers may do it at the same time. Returns whether the server is milvus-lite, which its clients
    must flush. (The asynchronous client cannot create an index on milvus-lite, hence a client of its own.)
    """
    with translated(uri, "prepare collections"):
        client = MilvusClient(uri, token=token, timeout=timeout_s, **(tls or {}))
        try:
            for name, kind in collections.items():
                _ensure_collection(client, name, kind)
            if not client.has_collection(alias):
                _unless_there(client.create_alias, next(iter(collections)), alias)
            return "lite" in client.get_server_version()
        finally:
            client.close()


def _ensure_collection(client: MilvusClient, name: str, kind: Kind) -> None:
    if not client.has_collection(name):
        properties = {FINGERPRINT: kind.fingerprint} if kind.fingerprint else {}
        _unless_there(
            client.create_collection, name, schema=kind.schema, properties=properties, consistency_level="Strong"
        )
    _check(client, name, kind)
    for field, index in kind.indexes.items():
        if not client.list_indexes(name, field_name=field):
            params = client.prepare_index_params()
            params.add_index(field_name=field, **index)
            _unless_there(client.create_index, name, params, sync=False)  # loading waits for it
    client.load_collection(name)


def _check(client: MilvusClient, name: str, kind: Kind) -> None:
    found = client.describe_collection(name)
    there = {field["name"] for field in found["fields"]}
    if missing := {field.name for field in kind.schema.fields} - there:
        raise StoreMismatch(
            f"the collection {name} lacks {', '.join(sorted(missing))}: an earlier version of Sensorium has made it",
            hint="start with another --data-dir or SENSORIUM_COLLECTION, and publish again",
        )
    filled_by = found.get("properties", {}).get(FINGERPRINT, "")
    if filled_by and kind.fingerprint and filled_by != kind.fingerprint:
        raise StoreMismatch(
            f"the collection {name} was filled by {filled_by!r}, but this worker is {kind.fingerprint!r}",
            hint="take the profile and the limits back, or build a new generation: sensorium reindex start NAME",
        )


def _unless_there(create: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
    """Call ``create``; another worker that was first is no error."""
    try:
        create(*args, **kwargs)
    except MilvusException as error:
        if "exist" not in error.message:
            raise
