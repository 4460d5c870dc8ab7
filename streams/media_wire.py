"""Media on the wire: the value is the raw bytes, everything else is CloudEvents attributes or plain headers.

=================  ===================================================================================
``documentid``     document id (else ``subject``, else the Kafka key, else the sha256 of the bytes)
``time``           event time (else Kafka's timestamp, which a redelivery does not change)
``tenant``         tenant (else the part of the key before its first ``/``, else ``default``)
``documentversion``  version (else milliseconds of the event time)
``mediasource``, ``sourceuri``  source, and where the publisher had it from
``dataref``, ``datahash``, ``datasize``  claim check: URI, sha256 and size of media in the blob store
=================  ===================================================================================

A record without any ``ce_`` header, as kcat sends it, may carry ``content-type``, ``tenant``, ``source`` and
``source-uri`` as plain headers. A null value deletes the document of its key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from schemas.base import DEFAULT_TENANT, Event, Trace
from schemas.media import BlobRef, DocumentDeleted, DocumentsDeleted, MediaReceived, Scope
from streams.record import Record
from workers.errors import InvalidEvent

MediaEvent = MediaReceived | DocumentDeleted | DocumentsDeleted
"""What travels as headers, with the media itself, or nothing, as the value."""

ALL_SOURCES = "*"
"""The document id in a deletion of all that a tenant has."""

UNKNOWN_TYPE = "application/octet-stream"
_HINT = "docs/events.md shows the headers of media"
_ATTRIBUTES = frozenset(
    {"id", "source", "type", "specversion", "subject", "time", "datacontenttype", "dataschema", "traceparent"}
    | {"tenant", "documentid", "documentversion", "mediasource", "sourceuri", "dataref", "datahash", "datasize"}
)


def content_type(event: MediaEvent) -> str:
    """What goes into the ``content-type`` header; empty where it is to be sniffed."""
    return event.content_type if isinstance(event, MediaReceived) else ""


def event_time(event: MediaEvent) -> datetime:
    """The CloudEvents ``time``."""
    moment = event.event_time_ms if isinstance(event, MediaReceived) else event.version
    try:
        return datetime.fromtimestamp(moment / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return datetime.now(UTC)  # a version that is no time


def to_attributes(event: MediaEvent) -> dict[str, Any]:
    """The extension attributes of ``event``."""
    attributes: dict[str, Any] = {
        "tenant": event.tenant,
        "documentid": event.document_id,
        "documentversion": str(event.version),
    }
    if isinstance(event, MediaReceived):
        attributes |= {"mediasource": event.source}
        if event.source_uri:
            attributes["sourceuri"] = event.source_uri
        if event.blob:
            attributes |= {
                "dataref": event.blob.uri,
                "datahash": event.blob.sha256,
                "datasize": str(event.blob.size),
            }
    elif isinstance(event, DocumentsDeleted) and event.scope.source:
        attributes["mediasource"] = event.scope.source
    return attributes | {name: str(value) for name, value in (event.model_extra or {}).items()}


def from_attributes(kind: type[MediaEvent], attributes: Mapping[str, Any], value: bytes, record: Record) -> MediaEvent:
    """A document from CloudEvents attributes. Raises ``InvalidEvent``."""
    source = str(attributes.get("mediasource") or "")
    named = attributes.get("documentid") or attributes.get("subject") or ""
    if kind is DocumentsDeleted:
        named = source or ALL_SOURCES
    tenant, document_id = _identity(str(attributes.get("tenant") or ""), str(named), record)
    moment = attributes.get("time")
    time_ms = int(moment.timestamp() * 1000) if isinstance(moment, datetime) else record.timestamp_ms
    fields: dict[str, Any] = {
        "tenant": tenant,
        "document_id": document_id,
        "version": _number(attributes, "documentversion", time_ms),
        "trace": Trace(traceparent=str(attributes.get("traceparent") or ""), received_ms=record.timestamp_ms),
    }
    if kind is MediaReceived:
        declared = str(attributes.get("datacontenttype") or "")
        fields |= {
            "source": source or "unknown",
            "source_uri": str(attributes.get("sourceuri") or ""),
            "content_type": "" if declared == UNKNOWN_TYPE else declared,
            "event_time_ms": time_ms,
            **_content(attributes, value),
        }
    elif kind is DocumentsDeleted:
        fields["scope"] = Scope(source=source)
    return _checked(kind, _of_a_later_version(kind, attributes) | fields)


def _of_a_later_version(kind: type[Event], attributes: Mapping[str, Any]) -> dict[str, str]:
    """Extension attributes that nothing here knows: they are kept and passed on."""
    known = _ATTRIBUTES | kind.model_fields.keys()
    return {name: str(value) for name, value in attributes.items() if name not in known}


def from_plain(record: Record, headers: Mapping[str, str]) -> MediaEvent:
    """A document from a record that is no CloudEvent. Raises ``InvalidEvent``."""
    tenant, document_id = _identity(headers.get("tenant", ""), "", record)
    declared = headers.get("content-type", "")
    fields: dict[str, Any] = {
        "tenant": tenant,
        "document_id": document_id,
        "version": record.timestamp_ms,
        "trace": Trace(traceparent=headers.get("traceparent", ""), received_ms=record.timestamp_ms),
    }
    if record.value is None:
        return _checked(DocumentDeleted, fields)
    fields |= {
        "source": headers.get("source") or "unknown",
        "source_uri": headers.get("source-uri", ""),
        "content_type": "" if declared == UNKNOWN_TYPE else declared,
        "event_time_ms": record.timestamp_ms,
        "data": record.value,
    }
    return _checked(MediaReceived, fields)


def _identity(tenant: str, named: str, record: Record) -> tuple[str, str]:
    """Tenant and document id: what the headers say, else what the key says, else the content's hash."""
    try:
        key = (record.key or b"").decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidEvent("the Kafka key is not UTF-8", hint="use tenant/document_id as the key") from error
    before, slash, after = key.partition("/")
    of_key = (before, after) if slash and before and after else ("", key)
    document_id = named or of_key[1]
    if not document_id:
        if not record.value:
            raise InvalidEvent("an event without key and bytes names no document", hint=_HINT)
        document_id = hashlib.sha256(record.value).hexdigest()[:32]
    return tenant or of_key[0] or DEFAULT_TENANT, document_id


def _content(attributes: Mapping[str, Any], value: bytes) -> dict[str, Any]:
    uri = attributes.get("dataref")
    if not uri:
        return {"data": value}
    if value:
        raise InvalidEvent("the event carries bytes and a dataref at once", hint="send one of them")
    digest = str(attributes.get("datahash") or "")
    if not digest or "datasize" not in attributes:
        raise InvalidEvent("a dataref needs datahash (sha256) and datasize", hint=_HINT)
    size = _number(attributes, "datasize", 0)
    return {"blob": BlobRef(uri=str(uri), sha256=digest.removeprefix("sha256:").lower(), size=size)}


def _number(attributes: Mapping[str, Any], name: str, default: int) -> int:
    value = attributes.get(name)
    if value in (None, ""):
        return default
    try:
        number = int(str(value))
    except ValueError as error:
        raise InvalidEvent(f"{name} is {str(value)[:80]!r}, which is no whole number", hint=_HINT) from error
    if not 0 <= number < 2**63:
        raise InvalidEvent(f"{name} is {number}, which is not between 0 and 2^63", hint=_HINT)
    return number


def _checked(kind: type[MediaEvent], fields: dict[str, Any]) -> MediaEvent:
    try:
        return kind(**fields)
    except ValidationError as error:
        complaint = error.errors(include_url=False, include_input=False)[0]
        raise InvalidEvent(f"{complaint['loc']}: {complaint['msg']}", hint=_HINT) from error
