"""Whose event it is, shown by a signature: so that nobody publishes or asks for a tenant by writing its name.

In: the producers of the settings, each with its tenant and its secret. A producer signs a record with HMAC-SHA256 over
its topic, key, value and headers; the stages that read what producers write check it. Where the settings name no
producers, who may write to the topics is Kafka's business alone, and nothing is checked.

Raises ``ForbiddenTenant`` for an event that is not signed, is signed wrongly, or is for another tenant.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from pydantic import BaseModel, ConfigDict, SecretStr

from schemas.base import Event
from schemas.generations import GenerationBegins
from streams.record import Headers, Record
from streams.topics import MEDIA_RECEIVED, QUERIES_ASKED
from workers.errors import InvalidEvent

PRODUCER, SIGNATURE = "sensorium-producer", "sensorium-signature"
EVERY_TENANT = "*"
"""The tenant of a producer that may speak for all, and may switch index generations."""
ENTRIES = (MEDIA_RECEIVED.name, QUERIES_ASKED.name)
"""Topics that producers write to; to all others only workers do."""

Sign = Callable[[Record], Record]
Check = Callable[[Record, Event], None]


class ForbiddenTenant(InvalidEvent):
    """An event of a producer that may not speak for its tenant, or of nobody known."""


class Producer(BaseModel):
    """Somebody who may publish and ask for one tenant, or for every one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tenant: str
    secret: SecretStr


def signed(record: Record, producer: str, secret: str) -> Record:
    """``record`` with the headers that show who has sent it; those that it had are replaced."""
    others = tuple((name, value) for name, value in record.headers if name not in (PRODUCER, SIGNATURE))
    named = replace(record, headers=(*others, (PRODUCER, producer.encode())))
    return replace(named, headers=(*named.headers, (SIGNATURE, signature(named, secret).encode())))


def signature(record: Record, secret: str) -> str:
    """HMAC-SHA256 in hexadecimal digits over topic, key, value and all headers but the signature, sorted.

    Each part stands after its length, 8 bytes, big-endian; a part that is null has the length 2**64 - 1.
    """
    return hmac.new(secret.encode(), b"".join(_framed(record)), "sha256").hexdigest()


def _framed(record: Record) -> Iterator[bytes]:
    covered = sorted(_covered(record.headers))
    parts = [record.topic.encode(), record.key, record.value]
    for part in (*parts, *(item for header in covered for item in header)):
        yield (2**64 - 1 if part is None else len(part)).to_bytes(8, "big")
        yield part or b""


def _covered(headers: Headers) -> Iterator[tuple[bytes, bytes]]:
    for name, value in headers:
        if name != SIGNATURE:
            yield name.encode(), value or b""


def signer(producer: str, secret: str) -> Sign:
    """Signs what goes to the topics of producers; nothing, where ``producer`` is empty."""

    def sign(record: Record) -> Record:
        return signed(record, producer, secret) if producer and record.topic in ENTRIES else record

    return sign


def checker(producers: Mapping[str, Producer]) -> Check:
    """Checks events of the topics of producers; none, where there are no ``producers``."""

    def check(record: Record, event: Event) -> None:
        if producers and record.topic in ENTRIES:
            _check(record, event, producers)

    return check


def _check(record: Record, event: Event, producers: Mapping[str, Producer]) -> None:
    name = _only(record.headers, PRODUCER)
    producer = producers.get(name)
    if producer is None:
        raise _forbidden(f"its producer {name!r} is not known" if name else "it names no producer")
    expected = signature(record, producer.secret.get_secret_value())
    if not hmac.compare_digest(expected.encode(), _only(record.headers, SIGNATURE).encode()):
        raise _forbidden(f"it is not signed by {name!r}")
    if producer.tenant == EVERY_TENANT:
        return
    if isinstance(event, GenerationBegins) or event.tenant != producer.tenant:
        raise _forbidden(f"{name!r} may not speak for the tenant {event.tenant!r}")


def _only(headers: Headers, wanted: str) -> str:
    """The header of that name; empty where there is none, or more than one."""
    found = [value or b"" for name, value in headers if name == wanted]
    return found[0].decode("utf-8", "replace") if len(found) == 1 else ""


def _forbidden(reason: str) -> ForbiddenTenant:
    return ForbiddenTenant(
        f"the event is refused: {reason}", hint="sign it as docs/security.md shows; SENSORIUM_PRODUCERS says who may"
    )
