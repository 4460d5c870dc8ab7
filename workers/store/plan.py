"""What a micro-batch of the index stage does to the store: pure rules over what is known, no store.

In: events with their rows, in order, and the states of their documents and scopes. Out: states to remember, rows to
write, removals.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from schemas.chunks import ChunksEmbedded
from workers.store.rows import Row
from workers.store.versions import (
    DocumentState,
    admits,
    after_chunks,
    after_deletion,
    cleaned,
    document_key,
    is_covered,
    scope_key,
)


@dataclass(frozen=True, slots=True)
class ScopeRemoval:
    """Everything of a source (of the tenant, where it is empty) that Kafka received until ``received_ms``."""

    tenant: str
    source: str
    received_ms: int


def keys(event: ChunksEmbedded) -> set[str]:
    """What has to be known before ``event`` is added to a plan."""
    if event.scope is not None:
        return {scope_key(event.tenant, event.scope.source)}
    return {document_key(event.tenant, event.document_id), *scope_keys(event)}


def scope_keys(event: ChunksEmbedded) -> set[str]:
    """The scopes whose deletion would cover the chunks of ``event``."""
    sources = {item.chunk.source for item in event.chunks}
    return {scope_key(event.tenant), *(scope_key(event.tenant, source) for source in sources)} if sources else set()


@dataclass(slots=True)
class Plan:
    """``removals``: by document key, the first version that stays; ``scopes``: what goes by source or tenant."""

    states: dict[str, DocumentState]
    changed: set[str] = field(default_factory=set)
    rows: list[Row] = field(default_factory=list)
    removals: dict[str, tuple[ChunksEmbedded, int]] = field(default_factory=dict)
    scopes: set[ScopeRemoval] = field(default_factory=set)
    superseded: set[int] = field(default_factory=set)
    written: list[ChunksEmbedded] = field(default_factory=list)

    def add(self, origin: int, event: ChunksEmbedded, rows: list[Row]) -> None:
        """One more event, in order."""
        if event.scope is not None:
            self._delete_scope(event, event.scope.source)
        elif event.is_deleted:
            self._delete(origin, event)
        else:
            self._write(origin, event, rows)

    def cleaned(self) -> dict[str, DocumentState]:
        """What is known of documents whose older rows are gone, once the removals are done."""
        states = {key: (self.states[key], event.version) for key, (event, _) in self.removals.items()}
        return {
            key: cleaned(state)
            for key, (state, version) in states.items()
            if state == DocumentState(version, has_older=True)
        }

    def covered_since(self, states: dict[str, DocumentState]) -> set[ScopeRemoval]:
        """Deletions that came, in another worker, between the look at the states and the writing of the rows."""
        return set(_covering(self.written, states))

    def _change(self, key: str, state: DocumentState) -> None:
        if self.states.get(key) != state:
            self.states[key] = state
            self.changed.add(key)

    def _delete_scope(self, event: ChunksEmbedded, source: str) -> None:
        key, received_ms = scope_key(event.tenant, source), event.trace.received_ms
        known = self.states.get(key)
        if known is None or known.version < received_ms:
            self._change(key, DocumentState(received_ms, is_deleted=True))
        self.scopes.add(ScopeRemoval(event.tenant, source, received_ms))

    def _delete(self, origin: int, event: ChunksEmbedded) -> None:
        key = document_key(event.tenant, event.document_id)
        before = self.states.get(key)
        if before is not None and before.version > event.version:
            self.superseded.add(origin)
            return
        self._change(key, after_deletion(before, event.version))
        if before is not None:  # rows exist only where a state does
            self.removals[key] = (event, event.version + 1)

    def _write(self, origin: int, event: ChunksEmbedded, rows: list[Row]) -> None:
        key = document_key(event.tenant, event.document_id)
        before = self.states.get(key)
        sources = {item.chunk.source for item in event.chunks}
        if any(is_covered(self.states, event.tenant, source, event.trace.received_ms) for source in sources):
            self.superseded.add(origin)
            return
        if not admits(before, event.version):
            self.superseded.add(origin)
            return
        state = after_chunks(before, event.version)
        self._change(key, state)
        self.rows += rows
        self.written.append(event)
        if event.is_last and state.has_older:
            self.removals[key] = (event, event.version)


def _covering(events: Iterable[ChunksEmbedded], states: dict[str, DocumentState]) -> Iterable[ScopeRemoval]:
    for event in events:
        for source in {item.chunk.source for item in event.chunks}:
            for named in ("", source):
                state = states.get(scope_key(event.tenant, named))
                if state is not None and event.trace.received_ms <= state.version:
                    yield ScopeRemoval(event.tenant, named, state.version)
