"""The contract of all topics as AsyncAPI 3.0 (https://www.asyncapi.com/docs/reference/specification/v3.0.0).

Out: one document made of ``streams/topics.py`` and the models in ``schemas/``; ``python -m streams.contract FILE``
writes it. It is checked in as ``docs/asyncapi.json`` and a test holds both equal. Its JSON Schemas are for programs in
other languages: the bodies of events, and for media, whose value is raw bytes, the headers.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from pydantic.json_schema import JsonSchemaMode, models_json_schema

from schemas.base import Event
from schemas.media import DocumentDeleted, DocumentsDeleted, MediaReceived
from streams.topics import TOPICS, Topic

VERSION = "1.0.0"
SCHEMAS = "#/components/schemas/"
RAW = (MediaReceived, DocumentDeleted, DocumentsDeleted)
"""Their fields travel as headers and the value is the media itself."""
READS, WRITES = (
    ("media.received.v1", "queries.asked.v1"),
    ("chunks.indexed.v1", "answers.streamed.v1", "dead-letters.v1"),
)
"""What people publish, and what they consume; the other topics run between the stages."""

_ATTRIBUTES: dict[str, dict[str, Any]] = {
    "ce_specversion": {"type": "string", "const": "1.0"},
    "ce_id": {"type": "string", "minLength": 1},
    "ce_source": {"type": "string", "minLength": 1},
    "ce_subject": {"type": "string", "description": "the document or the query that the event is about"},
    "ce_time": {"type": "string", "format": "date-time"},
    "ce_tenant": {"type": "string"},
    "ce_traceparent": {"type": "string", "description": "W3C trace context"},
    "content-type": {"type": "string"},
}
_MEDIA_ATTRIBUTES: dict[str, dict[str, Any]] = {
    "ce_documentid": {"type": "string", "description": "else the subject, else the Kafka key, else the sha256"},
    "ce_documentversion": {"type": "string", "pattern": "^[0-9]+$", "description": "else the event time, milliseconds"},
    "ce_mediasource": {"type": "string"},
    "ce_sourceuri": {"type": "string"},
    "ce_dataref": {"type": "string", "description": "claim check: where the bytes lie; the value is empty then"},
    "ce_datahash": {"type": "string", "pattern": "^[0-9a-f]{64}$", "description": "claim check: sha256 of the bytes"},
    "ce_datasize": {"type": "string", "pattern": "^[0-9]+$", "description": "claim check: size in bytes"},
}


def document() -> dict[str, Any]:
    """The whole contract."""
    events = tuple(event for topic in TOPICS for event in topic.events)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Sensorium",
            "version": VERSION,
            "description": "Media and questions in, chunks and streamed answers out. CloudEvents 1.0, binary mode.",
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {topic.name: _channel(topic) for topic in TOPICS},
        "operations": dict(_operations()),
        "components": {
            "messages": {event.__name__: _message(event) for event in events},
            "schemas": schemas(tuple(event for event in events if event not in RAW)),
        },
    }


def schemas(events: tuple[type[Event], ...]) -> dict[str, Any]:
    """The JSON Schemas of ``events`` as they are written, and of all that they hold, by name."""
    mode: JsonSchemaMode = "serialization"
    _, found = models_json_schema([(event, mode) for event in events], ref_template=SCHEMAS + "{model}")
    return dict(sorted(found["$defs"].items()))


def _channel(topic: Topic) -> dict[str, Any]:
    return {
        "address": topic.name,
        "messages": {event.__name__: {"$ref": f"#/components/messages/{event.__name__}"} for event in topic.events},
        "bindings": {
            "kafka": {
                "partitions": topic.partitions,
                "topicConfiguration": {
                    "retention.ms": topic.retention_ms,
                    "max.message.bytes": topic.max_message_bytes,
                },
                "bindingVersion": "0.5.0",
            }
        },
    }


def _operations() -> list[tuple[str, dict[str, Any]]]:
    """From the side of Sensorium: it receives what people publish and sends what they consume."""
    return [
        (name, {"action": action, "channel": {"$ref": f"#/channels/{name}"}})
        for action, names in (("receive", READS), ("send", WRITES))
        for name in names
    ]


def _message(event: type[Event]) -> dict[str, Any]:
    return {
        "name": event.ce_type,
        "title": event.__name__,
        "summary": (event.__doc__ or "").split("\n\n")[0].replace("\n", " ").strip(),
        "contentType": "application/octet-stream" if event in RAW else "application/json",
        "headers": _headers(event),
        "payload": _payload(event),
        "bindings": {"kafka": {"key": {"type": "string", "description": _key(event)}, "bindingVersion": "0.5.0"}},
    }


def _payload(event: type[Event]) -> dict[str, Any]:
    if event is MediaReceived:
        return {"type": "string", "format": "binary", "description": "the media as it is; empty with a claim check"}
    if event in RAW:
        return {"type": "string", "maxLength": 0, "description": "empty"}
    return {"$ref": SCHEMAS + event.__name__}


def _headers(event: type[Event]) -> dict[str, Any]:
    own = _MEDIA_ATTRIBUTES if event in RAW else {}
    return {
        "type": "object",
        "required": ["ce_specversion", "ce_id", "ce_source", "ce_type"],
        "properties": {"ce_type": {"type": "string", "const": event.ce_type}, **_ATTRIBUTES, **own},
    }


def _key(event: type[Event]) -> str:
    """What the Kafka key is, by the fields that the event has."""
    if "document_id" in event.model_fields:
        return "tenant/document_id: versions and deletions of a document stay in order"
    if "query_id" in event.model_fields:
        return "query_id: the events of a query stay in order"
    return "tenant/what it is about"


def text() -> str:
    """The contract as it stands in the file."""
    return json.dumps(document(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(text(), encoding="utf-8")
