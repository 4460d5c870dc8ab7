"""Milvus filter expressions, built from values that are not trusted.

The only place that writes them: field names come from an allow-list, values pass one escaper, and what the store takes
is an ``Expression``, which always has a tenant in it. milvus-lite takes no filter templates (its parser knows no
``{``), and it refuses escapes that Milvus takes, so the escaper writes what both read. Raises ``InvalidEvent`` for text
that no store can hold, ``ValueError`` for a field that is not of the schema.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NewType

from schemas.queries import Filters
from workers.errors import InvalidEvent
from workers.store.schema import shard

FIELDS = frozenset(
    {
        "chunk_id",
        "shard",
        "tenant",
        "document_id",
        "version",
        "source",
        "modality",
        "channel",
        "event_time_ms",
        "received_ms",
        "document_key",
    }
)
"""What a filter may name."""

Expression = NewType("Expression", str)
"""A whole filter, with its tenant."""

_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"})


def quoted(value: str) -> str:
    """``value`` as a string literal."""
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidEvent(f"{value!r} is not valid Unicode text") from error
    if "\0" in value:
        raise InvalidEvent(f"{value!r} holds a NUL character")
    return f'"{value.translate(_ESCAPES)}"'


def equals(field: str, value: str) -> str:
    """Rows whose ``field`` is ``value``."""
    return f"{_known(field)} == {quoted(value)}"


def one_of(field: str, values: Iterable[str]) -> str:
    """Rows whose ``field`` is one of ``values``, of which there is at least one."""
    return f"{_known(field)} in [{', '.join(quoted(value) for value in values)}]"


def at_least(field: str, value: int) -> str:
    """Rows whose ``field`` is ``value`` or more."""
    return f"{_known(field)} >= {int(value)}"


def below(field: str, value: int) -> str:
    """Rows whose ``field`` is less than ``value``."""
    return f"{_known(field)} < {int(value)}"


def of_tenant(tenant: str) -> Expression:
    """All rows of a tenant."""
    return _all([equals("tenant", tenant)])


def of_chunks(tenant: str, chunk_ids: Iterable[str]) -> Expression:
    """Some chunks of a tenant, of which there is at least one."""
    return _all([one_of("chunk_id", chunk_ids), equals("tenant", tenant)])


def of_states(document_keys: Iterable[str]) -> Expression:
    """What is known of documents: the tenant is part of each key (``workers.store.versions.document_key``)."""
    return _all([one_of("document_key", document_keys)])


def of_document(tenant: str, document_id: str, before_version: int) -> Expression:
    """Rows of a document's versions before ``before_version``."""
    return _all([equals("tenant", tenant), equals("document_id", document_id), below("version", before_version)])


def of_scope(tenant: str, source: str, received_ms: int) -> Expression:
    """Rows of a source, or of the whole tenant where it is empty, that Kafka received until ``received_ms``."""
    terms = [equals("tenant", tenant), below("received_ms", received_ms + 1)]
    return _all([*terms, equals("source", source)] if source else terms)


def of_query(tenant: str, filters: Filters, groups: Sequence[str]) -> Expression:
    """Rows of some groups of channels that a query may see."""
    terms = [one_of("shard", [shard(tenant, group) for group in groups]), equals("tenant", tenant)]
    if filters.modalities:
        terms.append(one_of("modality", filters.modalities))
    if filters.sources:
        terms.append(one_of("source", filters.sources))
    if filters.document_ids:
        terms.append(one_of("document_id", filters.document_ids))
    if filters.since_ms is not None:
        terms.append(at_least("event_time_ms", filters.since_ms))
    if filters.until_ms is not None:
        terms.append(below("event_time_ms", filters.until_ms))
    return _all(terms)


def _known(field: str) -> str:
    if field not in FIELDS:
        raise ValueError(f"{field!r} is no field to filter by")
    return field


def _all(terms: Sequence[str]) -> Expression:
    return Expression(" and ".join(terms))
