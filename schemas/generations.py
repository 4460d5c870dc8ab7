"""Index generations: from which question on another one answers."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from schemas.base import Event

FIRST = "first"
"""The generation that is there before anybody reindexes."""


class GenerationBegins(Event):
    """A mark among the questions of one partition: those behind it are answered from this generation."""

    ce_type: ClassVar[str] = "sensorium.generation.begins.v1"

    generation: str

    @property
    def key(self) -> str:
        return self.generation

    @property
    def subject(self) -> str:
        return self.generation


class GenerationSwitched(Event):
    """A switch that was made, and where its marks stand: for workers that begin to read behind them."""

    ce_type: ClassVar[str] = "sensorium.generation.switched.v1"

    generation: str
    before: str = Field(description="the generation that answered until then")
    marks: dict[int, int] = Field({}, description="by partition of the questions' topic: the offset of the mark")
    switched_ms: int = Field(0, description="wall clock, milliseconds since the epoch")

    @property
    def key(self) -> str:
        return "generations"

    @property
    def subject(self) -> str:
        return self.generation
