"""What every model on the wire shares: frozen, typed, tolerant of fields of a later version.

Bytes are bytes in Python and URL-safe base64 in JSON.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

DEFAULT_TENANT = "default"


class Value(BaseModel):
    """A frozen value inside an event. Fields that a later version added are kept and passed on (``extra="allow"``)."""

    model_config = ConfigDict(frozen=True, extra="allow", ser_json_bytes="base64", val_json_bytes="base64")


class Hop(Value):
    """One stage that an event passed, and when it left it."""

    stage: str
    at_ms: int = Field(description="wall clock, milliseconds since the epoch")


class Trace(Value):
    """Where an event comes from: the W3C trace and the hops behind it, so that freshness is measured, not guessed."""

    traceparent: str = ""
    received_ms: int = Field(0, description="when the first event of this trace was written to Kafka")
    hops: tuple[Hop, ...] = ()

    @property
    def trace_id(self) -> str:
        """The id that all events of this trace share; empty where there is no trace."""
        fields = self.traceparent.split("-")
        return fields[1] if len(fields) == 4 else ""

    def after(self, stage: str, at_ms: int) -> Trace:
        """This trace with one more hop."""
        return self.model_copy(update={"hops": (*self.hops, Hop(stage=stage, at_ms=at_ms))})


class Event(BaseModel):
    """One event. Fields that a later version added are kept and passed on (``extra="allow"``)."""

    model_config = ConfigDict(frozen=True, extra="allow", ser_json_bytes="base64", val_json_bytes="base64")

    ce_type: ClassVar[str]
    """The CloudEvents ``type``; ends with the version of the contract."""

    tenant: str = DEFAULT_TENANT
    trace: Trace = Trace()

    @property
    def key(self) -> str:
        """The Kafka key: events of one key stay in order."""
        raise NotImplementedError

    @property
    def subject(self) -> str:
        """The CloudEvents ``subject``: the document or the query that the event is about."""
        raise NotImplementedError
