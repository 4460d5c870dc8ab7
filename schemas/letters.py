"""Dead letters: what a stage could not take, why, and the original bytes; and that one was replayed."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from schemas.base import Event
from schemas.generations import FIRST


class DeadLetter(Event):
    """An event that a stage refused. It holds everything that a replay needs, byte for byte."""

    ce_type: ClassVar[str] = "sensorium.dead-letter.v1"

    stage: str
    generation: str = Field(FIRST, description="the index generation of the worker that refused it")
    topic: str
    partition: int
    offset: int
    about: str = Field(description="the document or the query, as far as it could be read; else the Kafka key")
    error: str = Field(description="the class of the error, e.g. InvalidMedia")
    reason: str
    hint: str = ""
    attempts: int = Field(1, ge=1)
    failed_ms: int
    original_key: bytes | None = None
    original_value: bytes | None = None
    original_headers: tuple[tuple[str, bytes | None], ...] = ()
    original_timestamp_ms: int = Field(0, description="Kafka's: the version of a record that names none")
    is_whole: bool = Field(True, description="false: the bytes were too many to be carried along")

    @property
    def place(self) -> tuple[str, str, int, int]:
        """Stage, topic, partition, offset: a letter that was sent twice, after a crash, has the same."""
        return f"{self.stage} {self.generation}", self.topic, self.partition, self.offset

    @property
    def key(self) -> str:
        return f"{self.tenant}/{self.about}"

    @property
    def subject(self) -> str:
        return self.about


class LetterReplayed(Event):
    """The original record of a dead letter went back to its topic. If it is refused again, that is a new letter."""

    ce_type: ClassVar[str] = "sensorium.dead-letter.replayed.v1"

    stage: str
    generation: str = FIRST
    topic: str
    partition: int
    offset: int
    about: str
    replayed_ms: int

    @property
    def place(self) -> tuple[str, str, int, int]:
        """That of the letter."""
        return f"{self.stage} {self.generation}", self.topic, self.partition, self.offset

    @property
    def key(self) -> str:
        return f"{self.tenant}/{self.about}"

    @property
    def subject(self) -> str:
        return self.about
