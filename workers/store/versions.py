"""Which version of a document counts: the rules by which late, repeated and out-of-order events lose.

The store remembers for every document the newest version that it has seen and whether that was its deletion (a
tombstone). The memory lies beside the chunks, so it survives restarts and is shared by all index workers; one writer at
a time has a document, because its events share a Kafka key. It is written *before* the rows that it announces: after a
crash the event comes again and does the rest.

A deletion of a whole source, or of a tenant, is remembered in the same way, with the moment at which Kafka received it
in the place of the version: it covers what Kafka had received by then, in whichever partition, however late it arrives.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

MAX_VERSION = 2**63 - 1


def document_key(tenant: str, document_id: str) -> str:
    """64 hexadecimal digits that stand for a document of a tenant."""
    encoded = tenant.encode()
    return hashlib.sha256(len(encoded).to_bytes(8, "little") + encoded + document_id.encode()).hexdigest()


def scope_key(tenant: str, source: str = "") -> str:
    """64 hexadecimal digits that stand for a source of a tenant, or for all of the tenant; no document has them."""
    return document_key(tenant, f"\0{source}")


def is_covered(states: Mapping[str, DocumentState], tenant: str, source: str, received_ms: int) -> bool:
    """Whether a document that Kafka received at ``received_ms`` was deleted with its source or its tenant."""
    scopes = (states.get(scope_key(tenant)), states.get(scope_key(tenant, source)))
    return any(state is not None and received_ms <= state.version for state in scopes)


@dataclass(frozen=True, slots=True)
class DocumentState:
    """``has_older``: rows of versions before ``version`` may still be there."""

    version: int
    is_deleted: bool = False
    has_older: bool = False


def admits(state: DocumentState | None, version: int) -> bool:
    """Whether chunks of ``version`` may be written."""
    if state is None or version > state.version:
        return True
    return version == state.version and not state.is_deleted


def after_chunks(state: DocumentState | None, version: int) -> DocumentState:
    """The state once chunks of an admitted ``version`` are on their way."""
    if state is None:
        return DocumentState(version)
    if state.version == version:
        return state
    return DocumentState(version, has_older=not state.is_deleted or state.has_older)


def after_deletion(state: DocumentState | None, version: int) -> DocumentState:
    """The state once the deletion of everything up to ``version`` is on its way."""
    if state is None or version >= state.version:
        return DocumentState(version, is_deleted=True)
    return state


def cleaned(state: DocumentState) -> DocumentState:
    """The state once the rows of older versions are gone."""
    return DocumentState(state.version, state.is_deleted)


def shown(state: DocumentState | None, versions: Iterable[int]) -> int | None:
    """Which of several versions that were found of a document counts; ``None``: it has been deleted meanwhile.

    The newest, once it is whole and the others are on their way out; until then the one before it.
    """
    *older, newest = sorted(set(versions))
    if state is not None and state.is_deleted and state.version >= newest:
        return None
    is_being_replaced = state is not None and state.has_older and state.version <= newest
    return older[-1] if older and is_being_replaced else newest
