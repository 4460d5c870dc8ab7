"""Documents as they are published: raw media, inline or by claim check, and deletions."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

from pydantic import Field

from schemas.base import Event, Value


class Modality(StrEnum):
    """What kind of media a document or a chunk is."""

    TEXT = "text"
    IMAGE = "image"
    AUDIO = "audio"
    VIDEO = "video"


class BlobRef(Value):
    """A claim check: bytes that lie in the blob store."""

    uri: str
    sha256: str
    size: int = Field(ge=0, description="bytes")
    content_type: str = "application/octet-stream"


class DocumentEvent(Event):
    """An event about one document; versions and deletions of one document share a key, so they stay in order."""

    document_id: str
    version: int = Field(ge=0, description="grows with each version; milliseconds of the event time by default")

    @property
    def key(self) -> str:
        return f"{self.tenant}/{self.document_id}"

    @property
    def subject(self) -> str:
        return self.document_id


class MediaReceived(DocumentEvent):
    """One version of a document. Exactly one of ``data`` and ``blob`` is set.

    On the wire it is CloudEvents binary mode: the fields are headers, ``data`` is the value itself.
    """

    ce_type: ClassVar[str] = "sensorium.media.received.v1"

    source: str = "unknown"
    source_uri: str = Field("", description="where the publisher had it from: a path, a URL, a feed position")
    content_type: str = Field("", description="empty: to be sniffed")
    event_time_ms: int = Field(description="when the content happened, milliseconds since the epoch")
    data: bytes | None = None
    blob: BlobRef | None = None


class Scope(Value):
    """Documents by where they come from."""

    source: str = Field("", description="of this source only; empty: all of the tenant")


class DocumentsDeleted(DocumentEvent):
    """All documents of a scope that Kafka had received before this event are to be removed.

    Whatever is still on its way and was received before it goes, too; what is published later stays.
    """

    ce_type: ClassVar[str] = "sensorium.documents.deleted.v1"

    scope: Scope = Scope()


class DocumentDeleted(DocumentEvent):
    """A document is to be removed, with all versions up to ``version``."""

    ce_type: ClassVar[str] = "sensorium.document.deleted.v1"
