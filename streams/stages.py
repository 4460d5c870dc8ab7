"""Every stage, once: its name, the topic that it reads, and how it is built.

A process that runs several stages shares their models and stores. Heavy imports happen in the builders, so that a
process loads what its own stages need and nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from schemas.generations import FIRST
from streams.runtime import Addresses
from streams.security import milvus_options
from streams.settings import Settings
from streams.topics import (
    CHUNKS_EMBEDDED,
    CHUNKS_EXTRACTED,
    MEDIA_RECEIVED,
    QUERIES_ASKED,
    QUERIES_REFINED,
    QUERIES_RERANKED,
    QUERIES_RETRIEVED,
    Topic,
)
from workers.stage import Stage

if TYPE_CHECKING:
    from workers.models.profiles import Models
    from workers.store.blobs import BlobStore
    from workers.store.generations import Generations
    from workers.store.parts import PartsStore
    from workers.store.vectors import MilvusStore


class Resources:
    """What the stages of one process share, made when first asked for."""

    def __init__(self, settings: Settings, addresses: Addresses) -> None:
        self.settings = settings
        self.addresses = addresses

    @cached_property
    def models(self) -> Models:
        """Encoders, recognisers and the generator of the profile."""
        from workers.models.hub import HubNames
        from workers.models.profiles import Models

        chosen = self.settings
        return Models(
            self.settings.profile,
            threads=self.settings.threads or min(4, os.cpu_count() or 1),
            generator=self.settings.generator,
            ocr=self.settings.ocr,
            passage_tokens=self.settings.limits.passage_tokens,
            hub=HubNames(
                vision=chosen.hub_vision,
                audio=chosen.hub_audio,
                speech=chosen.hub_speech,
                generator=chosen.hub_generator,
                device=chosen.device,
            ),
        )

    @cached_property
    def blobs(self) -> BlobStore:
        """The blob store."""
        from workers.store.blobs import BlobStore

        return BlobStore(self.addresses.blobs, self.settings.media_roots)

    @cached_property
    def parts(self) -> PartsStore:
        """The part vectors."""
        from workers.store.parts import PartsStore

        return PartsStore(self.blobs)

    @cached_property
    def store(self) -> MilvusStore:
        """The vector store."""
        from workers.store.vectors import MilvusStore

        return MilvusStore(
            self.addresses.milvus,
            token=self.settings.milvus_token.get_secret_value(),
            collection=self.settings.collection,
            dimension=self.models.dimension,
            generation=self.settings.generation,
            fingerprint=self.models.generation,
            tls=milvus_options(self.settings),
        )


PER_GENERATION = ("extract", "embed", "index", "retrieve")
"""Stages that depend on models and chunking: each index generation has its own."""


def generations_of(settings: Settings, addresses: Addresses) -> Generations:
    """The index generations of the store."""
    from workers.store.generations import Generations

    token = settings.milvus_token.get_secret_value()
    return Generations(addresses.milvus, token, settings.collection, tls=milvus_options(settings))


def own_name(stage: str, generation: str) -> str:
    """What a stage of an index generation is called on this machine: ``embed``, ``embed@second``."""
    return stage if generation == FIRST or stage not in PER_GENERATION else f"{stage}@{generation}"


def group_id(stage: str, generation: str = FIRST) -> str:
    """The consumer group of a stage, or of one that an index generation has for itself; for Faust, the app's id."""
    if generation == FIRST or stage not in PER_GENERATION:
        return f"sensorium-{stage}"
    return f"sensorium-{stage}-{generation}"


@dataclass(frozen=True, slots=True)
class StageSpec:
    """One stage. Ingestion is ``is_ingestion``: it gives way to queries for the cores.

    A batch is acknowledged as a whole, so that ``most`` bounds what a crash repeats. Only a stage that works on many
    events at once, ``is_batching``, waits for more of them; every other one takes what is there. One whose events may
    take minutes has two ``lanes``, so that one tenant's long video holds up no other tenant.
    """

    name: str
    topic: Topic
    build: Callable[[Resources], Stage]
    most: int = 8
    is_ingestion: bool = False
    is_batching: bool = False
    lanes: int = 1


def _extract(resources: Resources) -> Stage:
    from workers.extract.stage import ExtractStage

    return ExtractStage(resources.blobs, resources.models, resources.settings.limits)


def _embed(resources: Resources) -> Stage:
    from workers.embed import EmbedStage

    return EmbedStage(resources.blobs, resources.parts, resources.models)


def _index(resources: Resources) -> Stage:
    from workers.index import IndexStage

    return IndexStage(resources.store)


def _retrieve(resources: Resources) -> Stage:
    from workers.retrieve import RetrieveStage

    return RetrieveStage(
        resources.store, resources.blobs, resources.models, resources.settings.limits, resources.settings.candidates
    )


def _rerank(resources: Resources) -> Stage:
    from workers.rerank import RerankStage

    return RerankStage(resources.parts)


def _refine(resources: Resources) -> Stage:
    from workers.refine import RefineStage

    return RefineStage(resources.parts, resources.settings.evidence_tokens)


def _generate(resources: Resources) -> Stage:
    from workers.generate import GenerateStage

    return GenerateStage(resources.models, resources.settings.answer_tokens)


STAGES: dict[str, StageSpec] = {
    spec.name: spec
    for spec in (
        StageSpec("extract", MEDIA_RECEIVED, _extract, is_ingestion=True, lanes=2),
        StageSpec("embed", CHUNKS_EXTRACTED, _embed, most=1024, is_ingestion=True, is_batching=True),
        StageSpec("index", CHUNKS_EMBEDDED, _index, most=1024, is_ingestion=True, is_batching=True),
        StageSpec("retrieve", QUERIES_ASKED, _retrieve),
        StageSpec("rerank", QUERIES_RETRIEVED, _rerank),
        StageSpec("refine", QUERIES_RERANKED, _refine),
        StageSpec("generate", QUERIES_REFINED, _generate, most=1),
    )
}
"""In the order of the data flow."""
