"""The vector store: chunks in Milvus or milvus-lite, found by meaning and by words in one hybrid query.

In: rows of embedded chunks, the versions of documents, search requests. Out: candidates, best first. Rows are
searchable as soon as a write returns (strong consistency). Raises ``TransientError`` where Milvus is away or busy and
``InvalidEvent`` for a chunk that no row can hold.

One collection an index generation, ``<collection>_<generation>``, with the memory of versions beside it; the alias
``<collection>`` names the generation that is in use. A collection remembers the ``fingerprint`` of the models and the
chunking that filled it, and takes no others.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from pymilvus import AnnSearchRequest, RRFRanker

from schemas.chunks import EmbeddedChunk
from schemas.queries import Candidate
from workers.arrays import unpack
from workers.models.base import Floats
from workers.store import filters as where
from workers.store.filters import Expression
from workers.store.flush import Flusher, FlushPolicy
from workers.store.milvus import Kind, Server, prepare
from workers.store.request import SearchRequest
from workers.store.rows import OUTPUT_FIELDS, Row, from_row, to_row
from workers.store.schema import (
    CHANNEL_GROUPS,
    CHUNK_INDEXES,
    DENSE,
    DOCUMENT_INDEXES,
    SPARSE,
    chunks_schema,
    documents_schema,
)
from workers.store.terms import asked
from workers.store.versions import DocumentState, document_key, shown

_RRF_K = 60  # Cormack, Clarke and Büttcher, Reciprocal rank fusion, SIGIR 2009
_BATCH_ROWS = 500
_BATCH_BYTES = 8 * 1024 * 1024


class MilvusStore:
    """See the module. ``start`` before anything else, ``stop`` at the end; lives on one event loop."""

    def __init__(
        self,
        uri: str,
        *,
        token: str = "",
        collection: str,
        dimension: int,
        generation: str = "first",
        fingerprint: str = "",
        timeout_s: float = 10.0,
        flush_rows: int = 100,
        tls: Mapping[str, str] | None = None,
    ) -> None:
        self.dimension = dimension
        self.fingerprint = fingerprint
        self.alias = identifier(collection)
        self.collection = identifier(f"{collection}_{generation}")
        self.documents = f"{self.collection}_documents"
        self._uri, self._token, self._timeout_s = uri, token, timeout_s
        self._flush_rows = flush_rows
        self._tls = dict(tls or {})
        self._users = 0
        self._starting = asyncio.Lock()
        self._server: Server | None = None
        self._flusher: Flusher | None = None

    async def start(self) -> None:
        """Connect, create what is missing, load. Stages may share a store: each starts it and stops it."""
        async with self._starting:
            if self._server is None:
                await self._connect()
            self._users += 1

    async def stop(self) -> None:
        """Flush what is pending and disconnect, once all that started it have stopped it."""
        async with self._starting:
            self._users = max(0, self._users - 1)
            if self._users or self._server is None:
                return
            if self._flusher is not None:
                await self._flusher.stop()
            await self._server.close()
            self._server = self._flusher = None

    async def _connect(self) -> None:
        collections = {
            self.collection: Kind(chunks_schema(self.dimension), CHUNK_INDEXES, self.fingerprint),
            self.documents: Kind(documents_schema(), DOCUMENT_INDEXES),
        }
        is_lite = await asyncio.to_thread(
            prepare, self._uri, self._token, self._timeout_s, collections, self.alias, self._tls
        )
        self._server = Server(self._uri, self._token, self._timeout_s, self._tls)
        if is_lite:
            await self._flush()  # rows that an earlier process left
            self._flusher = Flusher(self._flush, FlushPolicy(time.monotonic, rows=self._flush_rows))

    async def upsert(self, items: Sequence[EmbeddedChunk]) -> None:
        """Write chunks; of two with one id the later counts."""
        await self.write([to_row(item, self.dimension) for item in items])

    async def write(self, rows: Sequence[Row]) -> None:
        """Write rows that ``to_row`` made; of two with one id the later counts."""
        unique = list({row["chunk_id"]: row for row in rows}.values())
        for batch in _batches(unique):
            await self._call("upsert", self.collection, batch)
            self._count_writes(len(batch))

    async def delete_versions(self, tenant: str, document_id: str, before_version: int) -> None:
        """Remove a document's chunks of all versions before ``before_version``."""
        await self._where("delete", self.collection, where.of_document(tenant, document_id, before_version))
        self._count_writes(1)

    async def delete_scope(self, tenant: str, source: str, received_ms: int) -> None:
        """Remove the chunks of a source, or of the whole tenant, that Kafka received until ``received_ms``."""
        await self._where("delete", self.collection, where.of_scope(tenant, source, received_ms))
        self._count_writes(1)

    async def states(self, keys: Iterable[str]) -> dict[str, DocumentState]:
        """What is known of documents, by ``versions.document_key``; unknown ones are missing."""
        wanted = list(dict.fromkeys(keys))
        if not wanted:
            return {}
        rows = await self._where(
            "query", self.documents, where.of_states(wanted), output_fields=["version", "is_deleted", "has_older"]
        )
        return {row["document_key"]: DocumentState(row["version"], row["is_deleted"], row["has_older"]) for row in rows}

    async def remember(self, states: Mapping[str, DocumentState]) -> None:
        """Keep states of documents, by ``versions.document_key``."""
        rows = [
            {
                "document_key": key,
                "version": state.version,
                "is_deleted": state.is_deleted,
                "has_older": state.has_older,
                "unused": [0.0, 0.0],
            }
            for key, state in states.items()
        ]
        if rows:
            await self._call("upsert", self.documents, rows)

    async def search(self, request: SearchRequest) -> list[Candidate]:
        """The best candidates, fused by rank. ``scores``: ``retrieve`` (fused), ``dense`` (best cosine of a part).

        While a document is being replaced its old and its new rows are there together: one version of it is given.
        """
        requests = _sub_requests(request)
        if not requests:
            return []
        found = await self._call(
            "hybrid_search",
            self.collection,
            requests,
            RRFRanker(_RRF_K),
            limit=request.limit,
            output_fields=OUTPUT_FIELDS,
        )
        return await self._one_version_each([_candidate(hit, request.dense) for hit in found[0]])

    async def _one_version_each(self, found: list[Candidate]) -> list[Candidate]:
        """``found`` without mixes of versions; the store is asked about documents that have more than one only."""
        versions: dict[str, set[int]] = defaultdict(set)
        for candidate in found:
            versions[_key(candidate)].add(candidate.item.chunk.version)
        mixed = {key: seen for key, seen in versions.items() if len(seen) > 1}
        states = await self.states(mixed)
        chosen = {key: shown(states.get(key), seen) for key, seen in mixed.items()}
        return [item for item in found if chosen.get(_key(item), item.item.chunk.version) == item.item.chunk.version]

    async def get(self, tenant: str, chunk_ids: Sequence[str]) -> list[EmbeddedChunk]:
        """Chunks by id, in no order; those that are not the tenant's are missing."""
        if not chunk_ids:
            return []
        found = where.of_chunks(tenant, chunk_ids)
        return [
            from_row(row) for row in await self._where("query", self.collection, found, output_fields=OUTPUT_FIELDS)
        ]

    async def count(self, tenant: str) -> int:
        """How many chunks a tenant has."""
        rows = await self._where("query", self.collection, where.of_tenant(tenant), output_fields=["count(*)"])
        return int(rows[0]["count(*)"])

    async def count_all(self) -> int:
        """How many chunks there are, of all tenants: for who runs the system, never for who asks."""
        rows = await self._call("query", self.collection, filter="", output_fields=["count(*)"])
        return int(rows[0]["count(*)"])

    async def in_use(self) -> str:
        """The generation that the alias names."""
        found = await self._call("describe_alias", self.alias)
        return str(found["collection_name"]).removeprefix(f"{self.alias}_")

    async def _where(self, method: str, collection: str, expression: Expression, **kwargs: Any) -> Any:
        """Rows are reached by an ``Expression`` only, and so with their tenant."""
        return await self._call(method, collection, filter=expression, **kwargs)

    async def _call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        if self._server is None:
            raise RuntimeError("the store is used before start() or after stop()")
        return await self._server.call(method, *args, **kwargs)

    def _count_writes(self, rows: int) -> None:
        if self._flusher is not None:
            self._flusher.wrote(rows)

    async def _flush(self) -> None:
        await self._call("flush", self.collection)


def identifier(name: str) -> str:
    """A name that Milvus takes for a collection."""
    return re.sub(r"\W", "_", name, flags=re.ASCII)


def _batches(rows: Sequence[Row]) -> Iterable[list[Row]]:
    """Rows in batches of bounded length and size."""
    batch: list[Row] = []
    size = 0
    for row in rows:
        row_size = len(row["payload"]) + len(row["text"]) + 4 * len(row[DENSE])
        if batch and (len(batch) == _BATCH_ROWS or size + row_size > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(row)
        size += row_size
    if batch:
        yield batch


def _sub_requests(request: SearchRequest) -> list[AnnSearchRequest]:
    """A dense request for every part of the query in every group of channels, and one of BM25."""
    requests = [
        AnnSearchRequest(
            data=[vector],
            anns_field=DENSE,
            param={"metric_type": "IP"},
            limit=request.limit,
            expr=where.of_query(request.tenant, request.filters, [group]),
        )
        for group in CHANNEL_GROUPS
        for vector in request.dense
    ]
    words = asked(request.text)
    if words:
        requests.append(
            AnnSearchRequest(
                data=[words],
                anns_field=SPARSE,
                param={"metric_type": "BM25"},
                limit=request.limit,
                expr=where.of_query(request.tenant, request.filters, list(CHANNEL_GROUPS)),
            )
        )
    return requests


def _key(candidate: Candidate) -> str:
    chunk = candidate.item.chunk
    return document_key(chunk.tenant, chunk.document_id)


def _candidate(hit: Any, dense: Floats) -> Candidate:
    item = from_row(hit["entity"])
    scores = {"retrieve": float(hit["distance"])}
    if len(dense):
        scores["dense"] = float(np.max(dense @ unpack(item.vector)))
    return Candidate(item=item, score=scores["retrieve"], scores=scores)
