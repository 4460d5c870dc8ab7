"""Deterministic ids: the same document gives the same chunk ids, on whichever worker, however often."""

from __future__ import annotations

import hashlib


def chunk_id(tenant: str, document_id: str, version: int, place: str) -> str:
    """32 hexadecimal digits from the document's version and the chunk's ``place``, which is unique within it.

    The index generation is the collection that the chunk lies in, so it needs no part in the id.
    """
    parts = (tenant, document_id, str(version), place)
    digest = hashlib.sha256()
    for part in parts:  # lengths keep ("a", "bc") and ("ab", "c") apart
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(8, "little") + encoded)
    return digest.hexdigest()[:32]
