"""Events to and from Kafka records: CloudEvents 1.0, binary mode out, binary, structured or plain in.

Raw media is the value itself and its fields are headers (``streams/media_wire.py``); every other event is JSON, checked
by its model in both directions. Raises ``InvalidEvent`` for whatever is not one of our events.
"""

from __future__ import annotations

import json
import re
import secrets
import uuid
from datetime import UTC, datetime
from typing import Any

from cloudevents.core.base import BaseCloudEvent, EventFactory
from cloudevents.core.bindings import kafka
from cloudevents.core.exceptions import CloudEventValidationError
from cloudevents.core.formats.base import Format
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from pydantic import ValidationError

from schemas.answers import AnswerEvent
from schemas.base import Event, Trace
from schemas.generations import FIRST
from streams import media_wire
from streams.record import Record
from streams.topics import EVENT_OF, MEDIA_RECEIVED, TOPIC_OF, contract_name, of_generation
from workers.errors import InvalidEvent

PRODUCER = "urn:sensorium"
STRUCTURED = "application/cloudevents+json"
MAX_HEADER_BYTES = 8192
_TRACEPARENT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_HINT = "docs/events.md shows the headers and the body of each event"


class _Bytes(Format):
    """Binary mode carries the data as it is: bytes in, bytes out."""

    def read_data(self, body: bytes, datacontenttype: str | None) -> bytes:
        return body

    def write_data(self, data: Any, datacontenttype: str | None) -> bytes:
        return bytes(data)

    def read(self, event_factory: EventFactory | None, data: str | bytes) -> BaseCloudEvent:
        return JSONFormat().read(event_factory, data)

    def write(self, event: BaseCloudEvent) -> bytes:
        return JSONFormat().write(event)

    def get_content_type(self) -> str:
        return STRUCTURED


def encode(event: Event, generation: str = FIRST) -> Record:
    """The record that publishes ``event``, for the topic of its type. Raises ``InvalidEvent`` without a subject.

    ``generation`` is that of the worker which sends it.
    """
    if isinstance(event, media_wire.MediaEvent):
        extensions, data = media_wire.to_attributes(event), getattr(event, "data", None) or b""
        content_type, moment = media_wire.content_type(event), media_wire.event_time(event)
    else:
        extensions, data = {"tenant": event.tenant}, event.model_dump_json().encode()
        content_type, moment = "application/json", datetime.now(UTC)
    attributes: dict[str, Any] = {
        "id": str(uuid.uuid4()),
        "source": PRODUCER,
        "type": event.ce_type,
        "specversion": "1.0",
        "subject": event.subject,
        "time": moment,
        **extensions,
    }
    if content_type:
        attributes["datacontenttype"] = content_type
    attributes["traceparent"] = event.trace.traceparent or new_traceparent()
    try:
        message = kafka.to_binary(CloudEvent(attributes, data), _Bytes(), lambda _: event.key)
    except CloudEventValidationError as error:
        raise InvalidEvent(f"{type(event).__name__} about {event.subject!r} cannot be sent: {error}") from error
    return Record(
        topic=of_generation(TOPIC_OF[type(event)], generation).name,
        key=event.key.encode(),
        value=message.value,
        headers=tuple(message.headers.items()),
    )


def decode(record: Record) -> Event:
    """The event in ``record``. Raises ``InvalidEvent``, which says what is wrong with it."""
    headers = _headers(record)
    if any(name.startswith(kafka.CE_PREFIX) for name in headers):
        event = _from_attributes(*_binary(headers, record), record)
    elif headers.get("content-type", b"").lower().startswith(STRUCTURED.encode()):
        event = _from_attributes(*_structured(record), record)
    elif record.topic == MEDIA_RECEIVED.name:
        event = media_wire.from_plain(record, {name: _text(name, value) for name, value in headers.items()})
    else:
        raise InvalidEvent(f"a record of {record.topic} is no CloudEvent: it has no ce_ headers", hint=_HINT)
    if TOPIC_OF[type(event)].name != contract_name(record.topic):
        raise InvalidEvent(f"a {type(event).__name__} does not belong into {record.topic}", hint=_HINT)
    if not event.subject:
        raise InvalidEvent(f"a {type(event).__name__} names neither a document nor a query", hint=_HINT)
    return _traced(event, record)


def _headers(record: Record) -> dict[str, bytes]:
    """The headers as a dictionary with lower-case names. Raises ``InvalidEvent`` for duplicates and oversize."""
    headers: dict[str, bytes] = {}
    for name, value in record.headers:
        lower = name.lower()
        if lower in headers and lower.startswith((kafka.CE_PREFIX, "content-type")):
            raise InvalidEvent(f"the header {lower!r} stands twice", hint="send each header once")
        if len(value or b"") > MAX_HEADER_BYTES:
            raise InvalidEvent(f"the header {lower[:80]!r} is longer than {MAX_HEADER_BYTES} bytes", hint=_HINT)
        headers[lower] = value or b""
    return headers


def _text(name: str, value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidEvent(f"the header {name!r} is not UTF-8", hint=_HINT) from error


def _binary(headers: dict[str, bytes], record: Record) -> tuple[dict[str, Any], bytes]:
    ours = {name: value for name, value in headers.items() if name.startswith((kafka.CE_PREFIX, "content-type"))}
    for name, value in ours.items():
        _text(name, value)
    # Without its key: keys that are not UTF-8 must not make the event unreadable here.
    message = kafka.KafkaMessage(headers=ours, key=None, value=record.value or b"")
    try:
        event = kafka.from_binary(message, _Bytes(), _strict)
    except (CloudEventValidationError, ValueError, OverflowError) as error:
        raise InvalidEvent(f"the CloudEvents headers are wrong: {error}", hint=_HINT) from error
    return event.get_attributes(), record.value or b""


def _strict(attributes: dict[str, Any], data: Any) -> CloudEvent:
    """The library fills in what is missing; an id of its own and the time of reading are worse than none."""
    for name in ("id", "source", "type", "specversion"):
        if name not in attributes:
            raise InvalidEvent(f"the CloudEvents attribute {name!r} is missing", hint=_HINT)
    has_time = "time" in attributes
    event = CloudEvent(attributes, data)
    if not has_time:
        del event.get_attributes()["time"]
    return event


def _structured(record: Record) -> tuple[dict[str, Any], bytes]:
    message = kafka.KafkaMessage(headers={}, key=None, value=record.value or b"")
    try:
        event = kafka.from_structured(message, JSONFormat(), _strict)
    except RecursionError:
        raise InvalidEvent("the structured CloudEvent is nested too deeply", hint=_HINT) from None
    except (CloudEventValidationError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise InvalidEvent(f"the structured CloudEvent cannot be read: {error}", hint=_HINT) from error
    attributes, data = event.get_attributes(), event.get_data()
    if data is None or isinstance(data, bytes):
        return attributes, data or b""
    return attributes, data.encode() if isinstance(data, str) else json.dumps(data).encode()


def _from_attributes(attributes: dict[str, Any], value: bytes, record: Record) -> Event:
    kind = EVENT_OF.get(str(attributes.get("type")))
    if kind is None:
        raise InvalidEvent(f"no event of the type {attributes.get('type')!r} is known here", hint=_HINT)
    if issubclass(kind, media_wire.MediaEvent):
        return media_wire.from_attributes(kind, attributes, value, record)
    try:
        event = kind.model_validate_json(value)
    except ValidationError as error:
        raise InvalidEvent(f"the body is no {kind.__name__}: {_first(error)}", hint=_HINT) from error
    if event.trace.traceparent:
        return event
    trace = event.trace.model_copy(update={"traceparent": str(attributes.get("traceparent", ""))})
    return event.model_copy(update={"trace": trace})


def _traced(event: Event, record: Record) -> Event:
    """``event`` with a trace that begins here, as far as nobody before has begun one."""
    trace = event.trace
    is_traced = _TRACEPARENT.fullmatch(trace.traceparent) is not None
    if is_traced and trace.received_ms:
        return event
    begun = {
        "traceparent": trace.traceparent if is_traced else new_traceparent(),
        "received_ms": trace.received_ms or record.timestamp_ms,
    }
    return event.model_copy(update={"trace": trace.model_copy(update=begun)})


def new_traceparent() -> str:
    """A W3C ``traceparent`` of a new, sampled trace."""
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"


def child(trace: Trace, stage: str, at_ms: int) -> Trace:
    """``trace`` one hop further: the same trace id, a span of its own."""
    if not _TRACEPARENT.fullmatch(trace.traceparent):
        parent = new_traceparent()
    else:
        _, trace_id, _, flags = trace.traceparent.split("-")
        parent = f"00-{trace_id}-{secrets.token_hex(8)}-{flags}"
    return trace.after(stage, at_ms).model_copy(update={"traceparent": parent})


def carried(origin: Event, event: Event) -> Event:
    """``event`` with the fields of ``origin`` that a later version has added, as far as it has none of that name.

    Answers do not carry them: a stream of tokens would repeat them without end.
    """
    if isinstance(event, AnswerEvent) or not origin.model_extra:
        return event
    known = type(event).model_fields.keys() | (event.model_extra or {}).keys()
    unknown = {name: value for name, value in origin.model_extra.items() if name not in known}
    return event.model_copy(update=unknown) if unknown else event


def _first(error: ValidationError) -> str:
    """The first of pydantic's complaints, in one line."""
    complaint = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in complaint["loc"])
    return f"{place}: {complaint['msg']}" if place else str(complaint["msg"])
