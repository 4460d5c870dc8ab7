"""The Milvus schema: one collection of chunks, and a small one that knows the newest version of every document."""

from __future__ import annotations

from typing import Any

from pymilvus import CollectionSchema, DataType, FieldSchema, Function, FunctionType

from schemas.chunks import Channel

CHANNEL_GROUPS: dict[str, tuple[Channel, ...]] = {
    "words": (Channel.TEXT, Channel.SPEECH),
    "picture": (Channel.PICTURE,),
    "sound": (Channel.SOUND,),
}
"""Channels whose scores are comparable; each group is ranked by itself, so no modality wins because of its encoder."""

MAX_TEXT_BYTES = 65_535
"""The longest VARCHAR of Milvus, in UTF-8 bytes (milvus-lite counts characters, so bytes are safe for both)."""

LENGTHS = {
    "chunk_id": 128,
    "shard": 320,
    "tenant": 256,
    "document_id": 2048,
    "source": 1024,
    "modality": 16,
    "channel": 16,
    "text": MAX_TEXT_BYTES,
    "payload": MAX_TEXT_BYTES,
}
"""The bound of every VARCHAR field, UTF-8 bytes."""

DENSE, SPARSE = "vector", "sparse"

_NUMBERS = ("version", "event_time_ms", "start_ms", "end_ms", "received_ms")


def chunks_schema(dimension: int) -> CollectionSchema:
    """One row a chunk. Milvus makes ``sparse`` (BM25) from ``text``; ``payload`` is the chunk as JSON.

    The partition key ``shard`` is the tenant and the group of channels, so that each part of a hybrid query reads only
    the rows that it ranks. ``start_ms`` and ``end_ms`` are -1 where a chunk has none; ``received_ms`` is when Kafka
    received the document.
    """
    fields = [FieldSchema("chunk_id", DataType.VARCHAR, is_primary=True, max_length=LENGTHS["chunk_id"])]
    fields.append(_varchar("shard", is_partition_key=True))
    fields += [_varchar(name) for name in ("tenant", "document_id", "source", "modality", "channel", "payload")]
    fields += [FieldSchema(name, DataType.INT64) for name in _NUMBERS]
    fields.append(
        _varchar("text", enable_analyzer=True, analyzer_params={"tokenizer": "standard", "filter": ["lowercase"]})
    )
    fields.append(FieldSchema(DENSE, DataType.FLOAT_VECTOR, dim=dimension))
    fields.append(FieldSchema(SPARSE, DataType.SPARSE_FLOAT_VECTOR))
    bm25 = Function(
        name="bm25", function_type=FunctionType.BM25, input_field_names=["text"], output_field_names=[SPARSE]
    )
    return CollectionSchema(fields, functions=[bm25], description="chunks of documents")


def documents_schema() -> CollectionSchema:
    """One row a document: its newest version, whether that is its deletion, and whether older rows may remain.

    Milvus wants a vector in every collection; ``unused`` is it.
    """
    return CollectionSchema(
        [
            FieldSchema("document_key", DataType.VARCHAR, is_primary=True, max_length=64),
            FieldSchema("version", DataType.INT64),
            FieldSchema("is_deleted", DataType.BOOL),
            FieldSchema("has_older", DataType.BOOL),
            FieldSchema("unused", DataType.FLOAT_VECTOR, dim=2),
        ],
        description="the newest version of every document, and tombstones",
    )


CHUNK_INDEXES: dict[str, dict[str, Any]] = {
    DENSE: {"index_type": "FLAT", "metric_type": "IP"},
    SPARSE: {"index_type": "SPARSE_INVERTED_INDEX", "metric_type": "BM25"},
}
"""FLAT is exact, and on milvus-lite faster than HNSW at 20,000 rows; unit vectors make IP the cosine."""

DOCUMENT_INDEXES: dict[str, dict[str, Any]] = {"unused": {"index_type": "FLAT", "metric_type": "IP"}}


def _varchar(name: str, **options: Any) -> FieldSchema:
    return FieldSchema(name, DataType.VARCHAR, max_length=LENGTHS[name], **options)


_GROUP_OF = {channel: group for group, channels in CHANNEL_GROUPS.items() for channel in channels}


def shard(tenant: str, group: str) -> str:
    """The partition key of a tenant's chunks of a group of channels."""
    return f"{group}/{tenant}"


def group_of(channel: Channel) -> str:
    """The group of channels that a channel belongs to."""
    return _GROUP_OF[channel]
