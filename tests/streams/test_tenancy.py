"""Nobody publishes or asks for a tenant that is not theirs; and the tests that say so can fail."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from schemas.base import Event
from schemas.generations import GenerationBegins
from schemas.media import DocumentDeleted, DocumentsDeleted, MediaReceived, Scope
from schemas.queries import QueryAsked
from streams.environment import to_environment
from streams.record import Record
from streams.settings import Settings
from streams.tenancy import EVERY_TENANT, ForbiddenTenant, Producer, checker, signed, signer
from streams.wire import decode, encode
from workers.errors import InvalidEvent

SECRET, OTHERS = "a secret of the newsroom", "a secret of the operators"
PRODUCERS = {
    "newsroom": Producer(tenant="news", secret=SecretStr(SECRET)),
    "operators": Producer(tenant=EVERY_TENANT, secret=SecretStr(OTHERS)),
}
check = checker(PRODUCERS)
names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)
EVENTS: dict[str, Callable[[str], Event]] = {
    "media": lambda tenant: MediaReceived(tenant=tenant, document_id="d", version=1, event_time_ms=0, data=b"text"),
    "deletion": lambda tenant: DocumentDeleted(tenant=tenant, document_id="d", version=2),
    "deletions": lambda tenant: DocumentsDeleted(tenant=tenant, document_id="d", version=2, scope=Scope(source="")),
    "question": lambda tenant: QueryAsked(tenant=tenant, query_id="q", question="what?"),
}


def accepts(record: Record) -> bool:
    try:
        check(record, decode(record))
    except InvalidEvent:
        return False
    return True


@pytest.mark.parametrize("make", EVENTS.values(), ids=EVENTS.keys())
def test_a_producer_speaks_for_its_tenant_and_for_no_other(make: Callable[[str], Event]) -> None:
    assert accepts(signed(encode(make("news")), "newsroom", SECRET))
    assert accepts(signed(encode(make("sports")), "operators", OTHERS))
    assert not accepts(signed(encode(make("sports")), "newsroom", SECRET))
    assert not accepts(signed(encode(make("news")), "newsroom", OTHERS))
    assert not accepts(signed(encode(make("news")), "strangers", SECRET))
    assert not accepts(encode(make("news")))


def test_only_operators_switch_generations() -> None:
    mark = encode(GenerationBegins(tenant="news", generation="second"))
    assert not accepts(signed(mark, "newsroom", SECRET))
    assert accepts(signed(mark, "operators", OTHERS))


@given(tenant=names, document=names, data=st.binary(max_size=50), kind=st.sampled_from(sorted(EVENTS)))
def test_whatever_it_holds_it_passes_only_as_it_was_signed(tenant: str, document: str, data: bytes, kind: str) -> None:
    event = EVENTS[kind](tenant)
    if isinstance(event, MediaReceived):
        event = event.model_copy(update={"document_id": document, "data": data})
    try:
        record = signed(encode(event), "newsroom", SECRET)
        tenant_read = decode(record).tenant
    except InvalidEvent:
        return  # not an event at all, whoever sends it
    assert accepts(record) == (tenant_read == "news")
    assert accepts(signed(encode(event), "operators", OTHERS))


@given(
    place=st.sampled_from(["topic", "key", "value", "header", "more", "fewer", "moved"]),
    at=st.integers(0, 1000),
    bit=st.integers(0, 7),
)
def test_no_byte_can_be_changed(place: str, at: int, bit: int) -> None:
    record = signed(encode(EVENTS["media"]("news")), "newsroom", SECRET)
    changed = _changed(record, place, at, bit)
    assert accepts(record)
    assert changed == record or not accepts(changed)


def _changed(record: Record, place: str, at: int, bit: int) -> Record:
    headers, key, value = record.headers, record.key or b"", record.value or b""
    index = at % len(headers)
    name, told = headers[index]
    others = (*headers[:index], *headers[index + 1 :])
    changes = {
        "topic": replace(record, topic="queries.asked.v1"),
        "key": replace(record, key=_flipped(key, at, bit)),
        "value": replace(record, value=_flipped(value, at, bit)),
        "header": replace(record, headers=(*others, (name, _flipped(told or b"\0", at, bit)))),
        "more": replace(record, headers=(*headers, ("ce_tenant", b"sports"))),
        "fewer": replace(record, headers=others),
        "moved": replace(record, key=key[:-1], value=key[-1:] + value),
    }
    return changes[place]


def _flipped(data: bytes, at: int, bit: int) -> bytes:
    changed = bytearray(data)
    changed[at % len(changed)] ^= 1 << bit
    return bytes(changed)


def test_without_the_check_the_forged_event_would_pass() -> None:
    forged = encode(EVENTS["deletions"]("sports"))
    checker({})(forged, decode(forged))
    with pytest.raises(ForbiddenTenant) as refused:
        check(forged, decode(forged))
    assert "docs/security.md" in refused.value.hint


def test_only_the_topics_of_producers_are_signed() -> None:
    sign = signer("newsroom", SECRET)
    inner = Record("chunks.indexed.v1", b"x")
    assert sign(inner) == inner
    assert sign(Record("media.received.v1", b"x")).headers
    assert signer("", "")(Record("media.received.v1", b"x")).headers == ()


def test_secrets_reach_the_workers_and_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(producers=PRODUCERS, producer="newsroom", producer_secret=SecretStr(SECRET))
    for shown in (repr(settings), str(settings), settings.model_dump_json()):
        assert SECRET not in shown
        assert OTHERS not in shown
    for name, value in to_environment(settings).items():
        monkeypatch.setenv(name, value)
    assert Settings().producers == PRODUCERS


def test_the_example_of_the_documentation_signs() -> None:
    text = (Path(__file__).parents[2] / "docs" / "security.md").read_text()
    [example] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict[str, Any] = {}
    exec(example, names)
    plain = [("content-type", b"text/plain"), ("tenant", b"news")]
    headers = names["sign"](b"media.received.v1", None, b"words", plain, "newsroom", SECRET)
    assert accepts(Record("media.received.v1", b"words", None, tuple(headers)))
