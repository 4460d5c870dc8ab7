"""What is sought in the vector store."""

from __future__ import annotations

from dataclasses import dataclass, field

from schemas.queries import Filters
from workers.models.base import Floats


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """``dense`` is ``(q, d)`` with unit rows, one a part of the query; ``text`` is what BM25 reads."""

    tenant: str
    dense: Floats
    text: str
    limit: int
    filters: Filters = field(default_factory=Filters)
