"""Questions on their way through retrieve, rerank, refine and generate."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

from pydantic import Field

from schemas.arrays import PackedArray
from schemas.base import Event, Value
from schemas.chunks import Box, Channel, EmbeddedChunk
from schemas.media import BlobRef, Modality


class QueryStage(StrEnum):
    """Where a query may end: ``generate`` gives an answer, the others give ranked hits."""

    RETRIEVE = "retrieve"
    RERANK = "rerank"
    REFINE = "refine"
    GENERATE = "generate"


class QueryMedia(Value):
    """A picture, a sound or a video as part of a question. Exactly one of ``data`` and ``blob`` is set."""

    content_type: str = ""
    data: bytes | None = None
    blob: BlobRef | None = None


class Filters(Value):
    """Which chunks a query may see; empty means all of the tenant. Times are event times, milliseconds, half open."""

    modalities: tuple[Modality, ...] = ()
    sources: tuple[str, ...] = ()
    document_ids: tuple[str, ...] = ()
    since_ms: int | None = None
    until_ms: int | None = None


class QueryEvent(Event):
    """An event about one query."""

    query_id: str

    @property
    def key(self) -> str:
        return self.query_id

    @property
    def subject(self) -> str:
        return self.query_id


class QueryAsked(QueryEvent):
    """A question: text, image, audio and video parts in any mix, at least one."""

    ce_type: ClassVar[str] = "sensorium.query.asked.v1"

    question: str = ""
    image: QueryMedia | None = None
    audio: QueryMedia | None = None
    video: QueryMedia | None = None
    filters: Filters = Filters()
    limit: int = Field(10, ge=1, le=200, description="hits, or pieces of evidence, that are wanted")
    until_stage: QueryStage = QueryStage.GENERATE
    asked_ms: int = Field(0, description="wall clock of the asker, milliseconds since the epoch")
    generation: str = Field("", description="the index generation to ask; empty: the one that is in use")


class QueryVectors(Value):
    """The query in the unified space: one vector a part (text, picture, sound), and the vectors of their parts."""

    text: str = Field("", description="all words of the query: the question, what OCR and speech recognition read")
    dense: PackedArray = Field(description="(q, d) float32, unit rows: one a part of the query")
    parts: PackedArray = Field(description="(n, d) float16, unit rows: tokens, regions, windows")
    weights: PackedArray = Field(description="(n,) float32: how much each part vector counts")
    labels: tuple[str, ...] = Field((), description="what the query's picture shows or its sound is, best first")


class Candidate(Value):
    """A chunk with its score after a stage; ``scores`` keeps what each stage and signal gave."""

    item: EmbeddedChunk
    score: float
    scores: dict[str, float] = {}


class Evidence(Value):
    """A refined chunk: the piece that answers, quoted, with its exact place.

    ``text`` is the words themselves (sentence, OCR line, transcript) or, without words, what is shown or heard.
    ``start_char``/``end_char`` locate it in the document's text.
    """

    number: int = Field(ge=1, description="the citation number")
    chunk_id: str
    document_id: str
    version: int
    source: str
    source_uri: str
    modality: Modality
    channel: Channel = Field(
        Channel.TEXT, description="whether ``text`` was written, spoken, or names what is shown or heard"
    )
    content_type: str
    event_time_ms: int
    text: str
    score: float
    title: str = ""
    page: int | None = None
    box: Box | None = None
    start_char: int | None = None
    end_char: int | None = None
    start_ms: int | None = None
    end_ms: int | None = None
    media: BlobRef | None = None


class QueryRetrieved(QueryEvent):
    """Candidates of the first stage, best first."""

    ce_type: ClassVar[str] = "sensorium.query.retrieved.v1"

    asked: QueryAsked
    vectors: QueryVectors
    candidates: tuple[Candidate, ...]


class QueryReranked(QueryEvent):
    """Candidates after late interaction, best first."""

    ce_type: ClassVar[str] = "sensorium.query.reranked.v1"

    asked: QueryAsked
    vectors: QueryVectors
    candidates: tuple[Candidate, ...]


class QueryRefined(QueryEvent):
    """The evidence, best first."""

    ce_type: ClassVar[str] = "sensorium.query.refined.v1"

    asked: QueryAsked
    evidence: tuple[Evidence, ...]
