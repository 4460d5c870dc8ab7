"""The index generations that a store holds: which is in use, what documents each has, switching and dropping.

In: a server and the name of the alias. Out: names of generations, keys of documents. Blocks: call it in a thread.
Raises ``TransientError`` where the store is away.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from pymilvus import MilvusClient

from workers.store.milvus import translated
from workers.store.vectors import identifier

_PAGE = 1000
_MEMORY = "_documents"


@dataclass(frozen=True, slots=True)
class Generations:
    """Those of one alias; the server's ``uri``, ``token``, ``timeout_s`` (seconds) and ``tls`` (pymilvus's options)."""

    uri: str
    token: str
    alias: str
    timeout_s: float = 10.0
    tls: Mapping[str, str] = field(default_factory=dict)

    def in_use(self) -> str:
        """The generation that the alias names; empty where there is none yet."""
        with self._client("look up the alias") as client:
            if not client.has_collection(self.alias):
                return ""
            found = client.describe_alias(self.alias)["collection_name"]
            return str(found).removeprefix(f"{self.alias}_")

    def names(self) -> list[str]:
        """All of them, sorted."""
        with self._client("list the generations") as client:
            there = set(client.list_collections())
        mine = {name.removeprefix(f"{self.alias}_") for name in there if f"{name}{_MEMORY}" in there}
        return sorted(mine)

    def chunks(self, name: str) -> int:
        """How many chunks a generation has."""
        with self._client("count chunks") as client:
            rows = client.query(self._collection(name), filter="", output_fields=["count(*)"])
            return int(rows[0]["count(*)"])

    def documents(self, name: str) -> set[str]:
        """The keys of the documents that a generation holds and that are not deleted."""
        with self._client("list documents") as client:
            return set(_keys(client, self._collection(name) + _MEMORY))

    def use(self, name: str) -> None:
        """Let the alias name this generation."""
        with self._client("move the alias") as client:
            client.alter_alias(self._collection(name), self.alias)

    def drop(self, name: str) -> None:
        """Remove a generation and all that it holds."""
        with self._client("drop a generation") as client:
            for collection in (self._collection(name), self._collection(name) + _MEMORY):
                client.drop_collection(collection)

    def _collection(self, name: str) -> str:
        return identifier(f"{self.alias}_{name}")

    @contextmanager
    def _client(self, purpose: str) -> Iterator[MilvusClient]:
        with translated(self.uri, purpose):
            client = MilvusClient(self.uri, token=self.token, timeout=self.timeout_s, **self.tls)
            try:
                yield client
            finally:
                client.close()


def _keys(client: MilvusClient, collection: str) -> Iterator[str]:
    client.load_collection(collection)
    pages = client.query_iterator(
        collection, batch_size=_PAGE, filter="is_deleted == false", output_fields=["document_key"]
    )
    try:
        while rows := pages.next():
            for row in rows:
                yield row["document_key"]
    finally:
        pages.close()
