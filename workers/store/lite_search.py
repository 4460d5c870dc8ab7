"""milvus-lite's search with live rows that are remembered (``workers/store/lite_live.py``).

``install`` puts functions in the place of milvus-lite's own: the same arguments, the same results. Segments are
searched here, with milvus-lite's own indexes and filters; the memtable, a few rows, is left to milvus-lite. Rows are
read without the columns that nobody asked for, a vector of 384 numbers among them. Where milvus-lite is not the one
that this was written for, ``install`` changes nothing and returns ``False``.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from milvus_lite.analyzer.sparse import bytes_to_sparse
from milvus_lite.engine import collection as engine
from milvus_lite.engine.projection import build_projection_plan, project_record
from milvus_lite.index.brute_force import BruteForceIndex
from milvus_lite.index.sparse_factory import _search_prepared_sparse_index, create_sparse_index, sparse_index_matches
from milvus_lite.search.indexed_filter import evaluate_segment_filter

from workers.models.base import Floats
from workers.store.lite_live import LiveRows, Mask

_live: WeakKeyDictionary[Any, LiveRows] = WeakKeyDictionary()
_making = threading.Lock()

Hit = dict[str, Any]
Found = tuple[float, Any, int]
"""Distance, segment, row."""

_DENSE = engine.execute_search_with_index
_SPARSE = engine.Collection._search_sparse
_SNAPSHOT = engine.Collection._read_snapshot
_EXPECTED: dict[Callable[..., Any], str] = {
    _DENSE: "query_vectors segments memtable delta_index top_k metric_type pk_field vector_field partition_names "
    "compiled_filter output_fields indexed_filter_plan project_record_fn search_params",
    _SPARSE: "self query_vectors vector_field top_k metric_type partition_names expr output_fields timezone",
    _SNAPSHOT: "self",
}


def install() -> bool:
    """Put the searches of this module into milvus-lite; whether they fit."""
    if any(" ".join(inspect.signature(found).parameters) != names for found, names in _EXPECTED.items()):
        return False
    engine.execute_search_with_index = dense_search
    engine.Collection._search_sparse = sparse_search
    engine.Collection._read_snapshot = snapshot
    return True


def uninstall() -> None:
    """Milvus-lite's own searches again."""
    engine.execute_search_with_index = _DENSE
    engine.Collection._search_sparse, engine.Collection._read_snapshot = _SPARSE, _SNAPSHOT


class Segments(tuple[Any, ...]):
    """The segments of a collection at one moment, and which of their rows are live."""

    live: LiveRows

    def masks(self, deleted: Any, memtable: Any) -> dict[Any, Mask]:
        """The live rows of each segment."""
        return dict(zip(self, self.live.masks(self, deleted._map, memtable), strict=True))


def snapshot(self: Any) -> tuple[Segments, Any]:
    """As ``milvus_lite.engine.collection.Collection._read_snapshot``."""
    segments, deleted = _SNAPSHOT(self)
    found = Segments(segments)
    with _making:
        found.live = _live.setdefault(self, LiveRows())
    return found, deleted


def dense_search(query_vectors: Floats, segments: Segments, **rest: Any) -> list[list[Hit]]:
    """As ``milvus_lite.search.executor_indexed.execute_search_with_index``: the nearest rows of each query."""
    chosen = _scope(segments, rest["partition_names"])
    masks = segments.masks(rest["delta_index"], rest["memtable"])
    recent: list[list[Hit]] = _DENSE(query_vectors=query_vectors, segments=(), **rest)
    if rest["top_k"] <= 0 or not chosen:
        return recent
    found: list[list[Found]] = [[] for _ in query_vectors]
    for segment in chosen:
        vectors, present = segment.vector_data(rest["vector_field"])
        mask = _filtered(masks[segment], segment, rest["compiled_filter"], rest["indexed_filter_plan"])
        if present is not None:
            mask = mask & present
        if mask.any():
            index = segment.indexes.get(rest["vector_field"]) or BruteForceIndex.build(vectors, rest["metric_type"])
            valid = None if mask.all() else mask
            _collect(
                found,
                segment,
                *index.search(query_vectors, rest["top_k"], valid_mask=valid, params=rest["search_params"]),
            )
    wanted, project = rest["output_fields"], rest["project_record_fn"]
    return [
        _merged(_hits(best, rest["top_k"], wanted, project), late, rest["top_k"])
        for best, late in zip(found, recent, strict=True)
    ]


def sparse_search(
    self: Any,
    query_vectors: list[Any],
    vector_field: str,
    top_k: int,
    metric_type: str,
    partition_names: list[str] | None,
    expr: str | None,
    output_fields: list[str] | None,
    timezone: str | None = None,
) -> list[list[Hit]]:
    """As ``milvus_lite.engine.collection.Collection._search_sparse``: the best rows of each query by BM25 or IP."""
    segments, deleted = self._read_snapshot()
    masks = segments.masks(deleted, self._memtable)
    recent = _SPARSE(
        _WithoutSegments(self, deleted),
        query_vectors,
        vector_field,
        top_k,
        metric_type,
        partition_names,
        expr,
        output_fields,
        timezone,
    )
    queries = self._prepare_sparse_queries(query_vectors, vector_field)
    compiled = self._compile_filter(expr, timezone=timezone) if expr else None
    plan = self._indexed_filter_plan(compiled)
    found: list[list[Found]] = [[] for _ in queries]
    for segment in _scope(segments, partition_names):
        mask = _filtered(masks[segment], segment, compiled, plan)
        if mask.any():
            index = _sparse_index(self, segment, vector_field, metric_type)
            _collect(found, segment, *_search_prepared_sparse_index(index, queries, top_k, valid_mask=mask))
    projection = build_projection_plan(output_fields, self._schema, api_kind="search")

    def project(record: Hit) -> Hit:
        return dict(project_record(record, self._schema, projection))

    return [
        _merged(_hits(best, top_k, output_fields, project), late, top_k)
        for best, late in zip(found, recent, strict=True)
    ]


class _WithoutSegments:
    """A collection that has nothing but its memtable."""

    def __init__(self, collection: Any, deleted: Any) -> None:
        self._collection = collection
        self._deleted = deleted

    def __getattr__(self, name: str) -> Any:
        return getattr(self._collection, name)

    def _read_snapshot(self) -> tuple[tuple[()], Any]:
        return (), self._deleted


def _scope(segments: Iterable[Any], partitions: Sequence[str] | None) -> list[Any]:
    """The segments that have rows, of these partitions; none named: of all."""
    return [s for s in segments if s.num_rows and (not partitions or s.partition in partitions)]


def _filtered(mask: Mask, segment: Any, compiled: Any, plan: Any) -> Mask:
    return mask if compiled is None else mask & evaluate_segment_filter(segment, compiled, plan)


def _sparse_index(collection: Any, segment: Any, field: str, metric_type: str) -> Any:
    """The segment's inverted index, built when it is first needed."""
    spec = collection._index_specs.get(field)
    parameters = spec.build_params if spec else {}
    index = segment.sparse_indexes.get(field)
    if not sparse_index_matches(index, metric_type, parameters):
        stored = segment.table.column(field).to_pylist()
        index = create_sparse_index(metric_type, parameters)
        index.build([bytes_to_sparse(row) if isinstance(row, bytes) else row or {} for row in stored])
        segment.sparse_indexes[field] = index
    return index


def _collect(found: list[list[Found]], segment: Any, rows: Any, distances: Any) -> None:
    """Add a segment's best rows to those of each query; a row of -1 ends them."""
    for best, its_rows, its_distances in zip(found, rows.tolist(), distances.tolist(), strict=True):
        best += [(far, segment, row) for far, row in zip(its_distances, its_rows, strict=True) if row >= 0]


def _hits(found: list[Found], top_k: int, wanted: Sequence[str] | None, project: Callable[[Hit], Hit]) -> list[Hit]:
    """The best of ``found``, with what was asked for; at the same distance the earlier segment comes first."""
    best = sorted(found, key=lambda item: item[0])[:top_k]
    return [
        {"id": segment.pks[row], "distance": far, "entity": project(_record(segment, row, wanted))}
        for far, segment, row in best
    ]


def _record(segment: Any, row: int, wanted: Sequence[str] | None) -> Hit:
    """The columns of a row that were asked for; the dynamic ones need ``$meta``."""
    if wanted is None or not set(wanted) <= set(segment.table.column_names):
        return dict(segment.row_to_dict(row))
    return {name: segment.table.column(name)[row].as_py() for name in wanted}


def _merged(old: list[Hit], recent: list[Hit], top_k: int) -> list[Hit]:
    """Rows of segments and of the memtable; a row that was written meanwhile counts once, as it is now."""
    written = {hit["id"] for hit in recent}
    kept = [hit for hit in old if hit["id"] not in written]
    return sorted([*kept, *recent], key=lambda hit: hit["distance"])[:top_k] if recent else kept
