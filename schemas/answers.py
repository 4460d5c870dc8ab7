"""The answer stream. A consumer orders by ``(attempt, seq)`` and drops what a higher attempt replaces."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from schemas.base import Value
from schemas.chunks import Box
from schemas.media import BlobRef, Modality
from schemas.queries import Evidence, QueryEvent, QueryStage


class AnswerEvent(QueryEvent):
    """One event of an answer stream."""

    attempt: int = Field(1, ge=1, description="grows when the generation starts again; the highest one counts")
    seq: int = Field(ge=0, description="position within the attempt, from 0, without gaps")
    at_ms: int = Field(description="wall clock, milliseconds since the epoch")


class AnswerStarted(AnswerEvent):
    """An attempt begins."""

    ce_type: ClassVar[str] = "sensorium.answer.started.v1"

    generator: str


class EvidenceFound(AnswerEvent):
    """All evidence that the generator is given, numbered as the answer cites it."""

    ce_type: ClassVar[str] = "sensorium.answer.evidence-found.v1"

    evidence: tuple[Evidence, ...]


class TokenGenerated(AnswerEvent):
    """The next piece of the answer's text: a delta, not the text so far."""

    ce_type: ClassVar[str] = "sensorium.answer.token-generated.v1"

    text: str


class AnswerFinished(AnswerEvent):
    """The end of a good answer; repeats it whole, so that a simple consumer needs no other event."""

    ce_type: ClassVar[str] = "sensorium.answer.finished.v1"

    answer: str
    citations: tuple[Evidence, ...] = Field(description="the evidence that the answer cites, by its numbers")
    abstained: bool = Field(description="true: the collection does not hold the answer, and the answer says so")
    generator: str


class AnswerFailed(AnswerEvent):
    """The end of a query that could not be served: what happened, at which stage, and what to do."""

    ce_type: ClassVar[str] = "sensorium.answer.failed.v1"

    stage: str
    reason: str
    hint: str = ""


class Hit(Value):
    """A ranked chunk, flat, as ``search`` prints it."""

    rank: int = Field(ge=1)
    score: float
    chunk_id: str
    document_id: str
    version: int
    source: str
    source_uri: str
    modality: Modality
    content_type: str
    text: str
    event_time_ms: int
    page: int | None = None
    box: Box | None = None
    start_char: int | None = None
    end_char: int | None = None
    start_ms: int | None = None
    end_ms: int | None = None
    media: BlobRef | None = None
    scores: dict[str, float] = {}


class HitsRanked(AnswerEvent):
    """The end of a query that asked for ranked hits (``until_stage`` before ``generate``)."""

    ce_type: ClassVar[str] = "sensorium.answer.hits-ranked.v1"

    stage: QueryStage
    hits: tuple[Hit, ...]


StreamEvent = AnswerStarted | EvidenceFound | TokenGenerated | AnswerFinished | AnswerFailed | HitsRanked
"""Everything that ``answers.streamed.v1`` carries."""

TERMINAL = (AnswerFinished, AnswerFailed, HitsRanked)
"""After one of these nothing of the same attempt follows."""
