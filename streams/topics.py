"""Every topic, once: its name with the version of its contract, its settings, and which events it carries."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from schemas.answers import AnswerFailed, AnswerFinished, AnswerStarted, EvidenceFound, HitsRanked, TokenGenerated
from schemas.base import Event
from schemas.chunks import ChunksEmbedded, ChunksExtracted, ChunksIndexed
from schemas.generations import FIRST, GenerationBegins, GenerationSwitched
from schemas.letters import DeadLetter, LetterReplayed
from schemas.media import DocumentDeleted, DocumentsDeleted, MediaReceived
from schemas.queries import QueryAsked, QueryRefined, QueryReranked, QueryRetrieved

DAY_MS = 24 * 3600 * 1000


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic. ``retention_ms`` applies where the broker can retain; -1 keeps for ever."""

    name: str
    events: tuple[type[Event], ...]
    partitions: int = 4
    retention_ms: int = 7 * DAY_MS
    max_message_bytes: int = 8 * 1024 * 1024
    config: dict[str, str] = field(default_factory=dict)


MEDIA_RECEIVED = Topic("media.received.v1", (MediaReceived, DocumentDeleted, DocumentsDeleted), retention_ms=-1)
CHUNKS_EXTRACTED = Topic("chunks.extracted.v1", (ChunksExtracted,))
CHUNKS_EMBEDDED = Topic("chunks.embedded.v1", (ChunksEmbedded,))
CHUNKS_INDEXED = Topic("chunks.indexed.v1", (ChunksIndexed,))
QUERIES_ASKED = Topic("queries.asked.v1", (QueryAsked, GenerationBegins), retention_ms=DAY_MS)
QUERIES_RETRIEVED = Topic("queries.retrieved.v1", (QueryRetrieved,), retention_ms=DAY_MS)
QUERIES_RERANKED = Topic("queries.reranked.v1", (QueryReranked,), retention_ms=DAY_MS)
QUERIES_REFINED = Topic("queries.refined.v1", (QueryRefined,), retention_ms=DAY_MS)
ANSWERS_STREAMED = Topic(
    "answers.streamed.v1",
    (AnswerStarted, EvidenceFound, TokenGenerated, AnswerFinished, AnswerFailed, HitsRanked),
)
DEAD_LETTERS = Topic(
    "dead-letters.v1",
    (DeadLetter, LetterReplayed),
    partitions=1,
    retention_ms=30 * DAY_MS,
    max_message_bytes=16 * 1024 * 1024,
)
GENERATIONS = Topic("generations.v1", (GenerationSwitched,), partitions=1, retention_ms=-1)

TOPICS: tuple[Topic, ...] = (
    MEDIA_RECEIVED,
    CHUNKS_EXTRACTED,
    CHUNKS_EMBEDDED,
    CHUNKS_INDEXED,
    QUERIES_ASKED,
    QUERIES_RETRIEVED,
    QUERIES_RERANKED,
    QUERIES_REFINED,
    ANSWERS_STREAMED,
    DEAD_LETTERS,
    GENERATIONS,
)

PER_GENERATION = (CHUNKS_EXTRACTED, CHUNKS_EMBEDDED, CHUNKS_INDEXED)
"""Topics that each index generation but the first has for itself: it adds its name."""

TOPIC_OF: dict[type[Event], Topic] = {event: topic for topic in TOPICS for event in topic.events}
"""Where an event of a type is published."""

EVENT_OF: dict[str, type[Event]] = {event.ce_type: event for event in TOPIC_OF}
"""The event that a CloudEvents ``type`` names."""


def of_generation(topic: Topic, generation: str) -> Topic:
    """``topic`` as the workers of an index generation use it."""
    if generation == FIRST or topic not in PER_GENERATION:
        return topic
    return replace(topic, name=f"{topic.name}.{generation}")


def contract_name(name: str) -> str:
    """The topic whose contract a topic follows: ``chunks.embedded.v1`` for ``chunks.embedded.v1.second``."""
    return next((topic.name for topic in PER_GENERATION if name.startswith(f"{topic.name}.")), name)
