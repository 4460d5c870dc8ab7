"""CloudEvents on Kafka: what goes out comes back, what any producer may send is understood, all else is refused."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.answers import TokenGenerated
from schemas.base import Event, Hop, Trace
from schemas.chunks import ChunksIndexed
from schemas.letters import DeadLetter
from schemas.media import BlobRef, DocumentDeleted, DocumentsDeleted, MediaReceived, Scope
from schemas.queries import QueryAsked, QueryMedia
from streams.record import Headers, Record
from streams.topics import MEDIA_RECEIVED, TOPICS
from streams.wire import MAX_HEADER_BYTES, child, decode, encode
from workers.errors import InvalidEvent

NOW_MS = 1_700_000_000_000
PARENT = f"00-{'a' * 32}-{'b' * 16}-01"
TRACE = Trace(traceparent=PARENT, received_ms=NOW_MS - 5, hops=(Hop(stage="extract", at_ms=NOW_MS),))
MEDIA = {"ce_id": "1", "ce_source": "/camera", "ce_specversion": "1.0", "ce_type": MediaReceived.ce_type}
ASKED = {**MEDIA, "ce_type": QueryAsked.ce_type}


def record(
    headers: Mapping[str, str] | None = None,
    value: bytes | None = b"hello",
    key: bytes | None = b"acme/d1",
    topic: str = MEDIA_RECEIVED.name,
) -> Record:
    pairs: Headers = tuple((name, text.encode()) for name, text in (headers or {}).items())
    return Record(topic, value, key, pairs, timestamp_ms=NOW_MS)


def media(
    headers: Mapping[str, str] | None = None, value: bytes | None = b"hello", key: bytes | None = b"acme/d1"
) -> MediaReceived:
    event = decode(record(headers, value, key))
    assert isinstance(event, MediaReceived)
    return event


@pytest.mark.parametrize(
    "event",
    [
        MediaReceived(
            tenant="acme",
            document_id="a/b ü",
            version=7,
            source="camera 1",
            source_uri="file:///ü.png",
            content_type="image/png",
            event_time_ms=NOW_MS + 123,
            data=b"\x00\xff",
            trace=Trace(traceparent=PARENT),
        ),
        MediaReceived(
            document_id="d",
            version=0,
            event_time_ms=NOW_MS,
            blob=BlobRef(uri="s3://roots/x", sha256="f" * 64, size=3),
            trace=Trace(traceparent=PARENT),
        ),
        DocumentDeleted(tenant="acme", document_id="d", version=NOW_MS, trace=Trace(traceparent=PARENT)),
        DocumentsDeleted(document_id="cam", version=NOW_MS, scope=Scope(source="cam"), trace=Trace(traceparent=PARENT)),
        DocumentsDeleted(tenant="acme", document_id="*", version=NOW_MS, trace=Trace(traceparent=PARENT)),
        QueryAsked(tenant="acme", query_id="q", image=QueryMedia(data=b"\x00\xfe"), trace=TRACE),
        TokenGenerated(query_id="q", attempt=2, seq=3, at_ms=4, text="wörd ", trace=TRACE),
        ChunksIndexed(document_id="d", version=1, event_time_ms=2, searchable_ms=3, trace=TRACE),
        DeadLetter(
            stage="embed",
            topic="t",
            partition=0,
            offset=1,
            about="d",
            error="InvalidMedia",
            reason="no PNG",
            failed_ms=1,
            original_value=b"\x00\xff",
            original_headers=(("a", b"\x00"),),
            trace=TRACE,
        ),
    ],
    ids=lambda event: type(event).__name__,
)
def test_what_goes_out_comes_back(event: Event) -> None:
    sent = encode(event)
    back = decode(Record(sent.topic, sent.value, sent.key, sent.headers, timestamp_ms=NOW_MS))
    received_ms = event.trace.received_ms or NOW_MS
    assert back == event.model_copy(update={"trace": event.trace.model_copy(update={"received_ms": received_ms})})


def test_media_goes_out_as_its_bytes_with_the_fields_as_headers() -> None:
    sent = encode(MediaReceived(tenant="acme", document_id="d", version=1, event_time_ms=NOW_MS, data=b"\xff\x00"))
    headers = dict(sent.headers)
    assert (sent.topic, sent.key, sent.value) == ("media.received.v1", b"acme/d", b"\xff\x00")
    assert headers["ce_specversion"] == b"1.0"
    assert headers["ce_type"] == b"sensorium.media.received.v1"
    assert (headers["ce_tenant"], headers["ce_documentid"], headers["ce_documentversion"]) == (b"acme", b"d", b"1")
    assert headers["ce_time"] == b"2023-11-14T22:13:20Z"
    assert (headers["ce_traceparent"] or b"").startswith(b"00-")
    assert "content-type" not in headers  # to be sniffed


def test_plain_bytes_of_any_producer_are_a_document() -> None:
    event = media({"content-type": "image/png", "source": "camera", "source-uri": "file:///cat.png"})
    assert (event.tenant, event.document_id, event.data) == ("acme", "d1", b"hello")
    assert (event.content_type, event.source, event.source_uri) == ("image/png", "camera", "file:///cat.png")
    assert (event.version, event.event_time_ms, event.trace.received_ms) == (NOW_MS, NOW_MS, NOW_MS)
    assert event.trace.traceparent


@pytest.mark.parametrize(
    ("key", "headers", "tenant", "document_id"),
    [
        (b"cat-1", {}, "default", "cat-1"),
        (b"acme/albums/cat", {}, "acme", "albums/cat"),
        (b"cat-1", {"tenant": "zoo"}, "zoo", "cat-1"),
        (b"/cat", {}, "default", "/cat"),
        (None, {}, "default", hashlib.sha256(b"hello").hexdigest()[:32]),
        (b"", {}, "default", hashlib.sha256(b"hello").hexdigest()[:32]),
    ],
)
def test_identity_comes_from_the_key_or_the_content(
    key: bytes | None, headers: dict[str, str], tenant: str, document_id: str
) -> None:
    event = media(headers, key=key)
    assert (event.tenant, event.document_id) == (tenant, document_id)


def test_unknown_content_type_is_left_to_the_sniffer() -> None:
    assert media({"content-type": "application/octet-stream"}).content_type == ""
    assert media({**MEDIA, "content-type": "application/octet-stream"}).content_type == ""


def test_null_value_deletes_and_empty_value_does_not() -> None:
    deleted = decode(record(value=None))
    assert isinstance(deleted, DocumentDeleted)
    assert (deleted.tenant, deleted.document_id, deleted.version) == ("acme", "d1", NOW_MS)
    assert isinstance(decode(record(value=b"")), MediaReceived)


def test_cloud_event_defaults_come_from_the_record() -> None:
    event = media(MEDIA)
    assert (event.tenant, event.document_id, event.version, event.source) == ("acme", "d1", NOW_MS, "unknown")
    timed = media({**MEDIA, "ce_time": "2024-01-01T00:00:00.5+01:00", "ce_documentid": "d9", "ce_tenant": "zoo"})
    moment = int(datetime(2023, 12, 31, 23, 0, 0, 500_000, UTC).timestamp() * 1000)
    assert (timed.tenant, timed.document_id, timed.event_time_ms, timed.version) == ("zoo", "d9", moment, moment)


def test_redelivery_gives_the_same_version() -> None:
    assert media().version == media().version
    assert media(MEDIA).version == media(MEDIA).version


def test_claim_check() -> None:
    event = media({**MEDIA, "ce_dataref": "s3://r/x", "ce_datahash": "sha256:" + "AB" * 32, "ce_datasize": "9"}, b"")
    assert event.blob == BlobRef(uri="s3://r/x", sha256="ab" * 32, size=9)
    assert event.data is None


def structured(event_type: str, **fields: object) -> Record:
    body = {"specversion": "1.0", "id": "1", "source": "/x", "type": event_type, **fields}
    headers = {"content-type": "application/cloudevents+json; charset=utf-8"}
    topic = MEDIA_RECEIVED.name if "media" in event_type else "queries.asked.v1"
    return record(headers, json.dumps(body).encode(), topic=topic)


def test_structured_mode_is_read_too() -> None:
    asked = decode(structured(QueryAsked.ce_type, data={"query_id": "q", "question": "why?"}, traceparent=PARENT))
    assert isinstance(asked, QueryAsked)
    assert (asked.question, asked.trace.traceparent, asked.trace.received_ms) == ("why?", PARENT, NOW_MS)
    png = base64.b64encode(b"\x89PNG").decode()
    seen = decode(structured(MediaReceived.ce_type, data_base64=png, datacontenttype="image/png", documentid="d5"))
    assert isinstance(seen, MediaReceived)
    assert (seen.data, seen.content_type, seen.document_id) == (b"\x89PNG", "image/png", "d5")


def test_headers_of_other_programs_may_hold_anything() -> None:
    pairs = (*record(MEDIA).headers, ("b3", b"\xff\xfe"), ("b3", b"\x00"))
    assert decode(Record(MEDIA_RECEIVED.name, b"x", b"d", pairs, timestamp_ms=NOW_MS))


REFUSED: dict[str, tuple[dict[str, str] | Headers, bytes, str]] = {
    "duplicate header": ((*record(MEDIA).headers, ("CE_ID", b"2")), b"x", "stands twice"),
    "wrong specversion": ({**MEDIA, "ce_specversion": "0.3"}, b"x", "specversion"),
    "empty id": ({**MEDIA, "ce_id": ""}, b"x", "id"),
    "no id": ({name: text for name, text in MEDIA.items() if name != "ce_id"}, b"x", "'id' is missing"),
    "unknown type": ({**MEDIA, "ce_type": "com.example.other"}, b"x", "com.example.other"),
    "not UTF-8": ((*record(MEDIA).headers, ("ce_tenant", b"\xff")), b"x", "not UTF-8"),
    "oversize header": ({**MEDIA, "ce_sourceuri": "x" * (MAX_HEADER_BYTES + 1)}, b"x", "longer than"),
    "time without zone": ({**MEDIA, "ce_time": "2024-01-01T00:00:00"}, b"x", "timezone"),
    "time in words": ({**MEDIA, "ce_time": "yesterday"}, b"x", "yest"),
    "version in words": ({**MEDIA, "ce_documentversion": "two"}, b"x", "two"),
    "version too large": ({**MEDIA, "ce_documentversion": str(2**63)}, b"x", "2^63"),
    "bytes and claim check": ({**MEDIA, "ce_dataref": "s3://r/x"}, b"x", "at once"),
    "claim check without hash": ({**MEDIA, "ce_dataref": "s3://r/x", "ce_datasize": "1"}, b"", "datahash"),
    "wrong topic": (ASKED, b'{"query_id": "q"}', "does not belong"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_broken_media_is_refused_with_its_reason(case: str) -> None:
    headers, value, reason = REFUSED[case]
    broken = record(headers, value) if isinstance(headers, dict) else Record(MEDIA_RECEIVED.name, value, b"d", headers)
    with pytest.raises(InvalidEvent, match=reason.replace("^", r"\^")) as refused:
        decode(broken)
    assert refused.value.hint


@pytest.mark.parametrize(
    ("headers", "value", "reason"),
    [
        (ASKED, b"{", "no QueryAsked"),
        (ASKED, b"\xff\xfe", "no QueryAsked"),
        (ASKED, b'{"question": "why?"}', "query_id"),
        (ASKED, b'{"query_id": "q", "limit": 0}', "limit"),
        (ASKED, b'{"query_id": ""}', "names neither"),
        (ASKED, b"[" * 100_000, "no QueryAsked"),
        (ASKED, None, "no QueryAsked"),
        ({}, b'{"query_id": "q"}', "no CloudEvent"),
        ({"content-type": "application/cloudevents+json"}, b"[" * 100_000, "nested too deeply"),
        ({"content-type": "application/cloudevents+json"}, b"[]", "cannot be read"),
        ({"content-type": "application/cloudevents+json"}, b'{"data": 1}', "'id' is missing"),
    ],
)
def test_broken_query_is_refused_with_its_reason(headers: dict[str, str], value: bytes | None, reason: str) -> None:
    with pytest.raises(InvalidEvent, match=reason) as refused:
        decode(record(headers, value, topic="queries.asked.v1"))
    assert refused.value.hint


def test_key_that_is_not_text_is_refused() -> None:
    with pytest.raises(InvalidEvent, match="key is not UTF-8"):
        decode(record(key=b"\xff"))


def test_event_without_a_name_cannot_be_sent() -> None:
    with pytest.raises(InvalidEvent, match="cannot be sent"):
        encode(QueryAsked(query_id=""))


def test_child_span_stays_in_its_trace() -> None:
    after = child(TRACE, "embed", NOW_MS)
    assert after.traceparent[:36] == PARENT[:36]
    assert after.traceparent[36:52] != PARENT[36:52]
    assert [hop.stage for hop in after.hops] == ["extract", "embed"]
    assert len(child(Trace(traceparent="nonsense"), "embed", NOW_MS).traceparent) == len(PARENT)


def test_nonsense_for_a_trace_is_replaced() -> None:
    assert media({**MEDIA, "ce_traceparent": "nonsense"}).trace.traceparent.startswith("00-")


names = st.sampled_from([*ASKED, "ce_time", "ce_subject", "ce_dataref", "ce_datasize", "ce_data", "content-type", "x"])
words = st.sampled_from(
    [*ASKED.values(), "application/cloudevents+json", "9999-12-31T23:59:59-14:00", "0001-01-01T00:00"]
)
texts = st.one_of(words.map(str.encode), st.binary(max_size=12))
bodies = st.sampled_from(
    [b"[" * 99_999, b"null", b'{"type": ["a"]}', b'{"specversion": "1.0", "time": 5, "data": NaN}']
)
extra = st.lists(st.tuples(names, texts), max_size=5)


@settings(max_examples=400, deadline=None)
@given(
    base=st.sampled_from([{}, MEDIA, ASKED]),
    more=extra,
    value=st.one_of(st.none(), st.binary(max_size=30), bodies),
    key=st.one_of(st.none(), st.binary(max_size=6)),
    topic=st.sampled_from([topic.name for topic in TOPICS]),
)
def test_whatever_arrives_is_an_event_that_can_be_sent_again_or_is_refused(
    base: dict[str, str], more: list[tuple[str, bytes]], value: bytes | None, key: bytes | None, topic: str
) -> None:
    headers = record(base).headers + tuple(more)
    try:
        event = decode(Record(topic, value, key, headers, timestamp_ms=NOW_MS))
    except InvalidEvent as refused:
        assert refused.reason
    else:
        assert encode(event).topic == topic
