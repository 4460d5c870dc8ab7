"""Bounds on what is read from media: a document beyond one of them becomes a dead letter that names the setting."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Limits(BaseModel):
    """All bounds, with their defaults. In the environment: ``SENSORIUM_LIMITS__MAX_PAGES=50``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_bytes: int = Field(256 * 1024 * 1024, gt=0, description="size of a document")
    max_text_chars: int = Field(4_000_000, gt=0, description="characters of a text document")
    max_pixels: int = Field(40_000_000, gt=0, description="width × height of an image or a frame")
    max_frames: int = Field(64, gt=0, description="frames of an animated image that are looked at in the file")
    max_pages: int = Field(500, gt=0, description="pages of a PDF")
    max_seconds: float = Field(4 * 3600.0, gt=0, description="length of audio or video")
    max_ratio: float = Field(200.0, gt=0, description="decoded size over encoded size of text inside a container")
    passage_tokens: int = Field(200, ge=40, le=240, description="longest passage of prose, tokens")
    max_chunks: int = Field(20_000, gt=0, description="chunks of one document")
    decoder_memory_mib: int = Field(512, ge=192, description="MiB that the process which decodes a document may hold")
    decoder_cpu_seconds: float = Field(
        30.0, gt=0, description="processor time for one step of decoding: a page, a text, a second of a film"
    )
    decoder_seconds: float = Field(60.0, gt=0, description="time for one step of decoding, however busy the machine is")
    decoder_total_seconds: float = Field(2 * 3600.0, gt=0, description="time for decoding one document in all")
