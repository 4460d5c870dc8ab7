"""No tenant reaches another's rows, whatever tenants, documents, sources and filters are called.

Each case writes a document of the same name for two tenants into a real milvus-lite, lets one of them search, read and
delete in every way that there is, and looks at what came and at what the other one still has.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.queries import Filters
from tests.workers.made import direction, made_item
from workers.store.request import SearchRequest
from workers.store.schema import LENGTHS
from workers.store.vectors import MilvusStore

TRICKS = (
    '" or tenant != "',
    '\\" or 1 == 1 or "',
    "' or ''='",
    "\\",
    '"]',
    "%",
    "words/",
    "/words",
    "tenant",
    "{x}",
    "\n",
    "a\u2028b",
    "\U0001d51e",
)
names = st.one_of(
    st.sampled_from(TRICKS),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=40),
    st.tuples(st.sampled_from(TRICKS), st.text("ab\"'\\ /", max_size=6)).map("".join),
).filter(lambda name: len(name.encode()) <= LENGTHS["tenant"])


@dataclass(frozen=True)
class Case:
    """Two tenants, and what they call things."""

    ours: str
    theirs: str
    document: str
    source: str


cases = st.builds(Case, ours=names, theirs=names, document=names, source=names).filter(lambda c: c.ours != c.theirs)


async def crossings(store: MilvusStore, case: Case) -> list[str]:
    """Ways in which ``ours`` reached what is not its own."""
    both = [case.ours, case.theirs]
    items = {who: made_item(case.document, tenant=who, source=case.source, text="same words") for who in both}
    await store.upsert(list(items.values()))
    ids = [item.chunk.chunk_id for item in items.values()]
    filters = Filters(sources=(case.source,), document_ids=(case.document, case.theirs))
    found = {
        "search": await searched(store, case.ours, Filters()),
        "search with filters": await searched(store, case.ours, filters),
        "get": [item.chunk.tenant for item in await store.get(case.ours, ids)],
    }
    ways = [way for way, tenants in found.items() if set(tenants) != {case.ours}]
    await store.delete_versions(case.ours, case.document, 2)
    if await searched(store, case.ours, filters):
        ways.append("delete left something")
    if case.theirs not in await searched(store, case.theirs, filters):
        ways.append("delete")
    if await store.count(case.ours):
        ways.append("count")
    await store.delete_versions(case.theirs, case.document, 2)
    return ways


async def searched(store: MilvusStore, tenant: str, filters: Filters) -> list[str]:
    """The tenants of what a search finds."""
    request = SearchRequest(tenant, direction("same words")[None].astype(np.float32), "words", 5, filters)
    return [candidate.item.chunk.tenant for candidate in await store.search(request)]


def run(uri: str, examples: int, dimension: int, collection: str = "isolation") -> int:
    """Try ``examples`` cases; how many there were. Raises ``AssertionError`` with the case that crosses."""
    tried = 0

    async def one(case: Case) -> list[str]:
        store = MilvusStore(uri, collection=collection, dimension=dimension)
        await store.start()
        try:
            return await crossings(store, case)
        finally:
            await store.stop()

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(cases)
    def isolated(case: Case) -> None:
        nonlocal tried
        tried += 1
        ways = loop.run_until_complete(one(case))
        assert not ways, f"{case} crosses by {', '.join(ways)}"

    loop = asyncio.new_event_loop()
    try:
        checked: Callable[[], None] = isolated
        checked()
    finally:
        loop.close()
    return tried
