"""The errors that decide an event's fate.

::

    SensoriumError
    ├── InvalidEvent        the event itself is at fault: dead letter, go on with the next
    │   ├── InvalidMedia    its bytes cannot be read as what they claim to be
    │   ├── LimitExceeded   it is larger than a limit of the settings
    │   └── ForbiddenUri    it points outside the configured roots
    ├── TransientError      a part that we need is away: back off and try the same event again
    └── StoreMismatch       the store was made by another version: nothing can be done before somebody has looked at it

Anything else is a fault of ours: the event is tried a few times, alone, and then becomes a dead letter.
"""

from __future__ import annotations


class SensoriumError(Exception):
    """What happened, to which thing; ``hint`` says what to do."""

    def __init__(self, reason: str, *, hint: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint


class InvalidEvent(SensoriumError):
    """The event cannot be processed, now or ever."""


class InvalidMedia(InvalidEvent):
    """Bytes that cannot be read as what they claim to be."""


class LimitExceeded(InvalidEvent):
    """Media beyond a limit of the settings; the hint names the setting."""


class ForbiddenUri(InvalidEvent):
    """A claim check that points outside the configured roots."""


class StoreMismatch(SensoriumError):
    """A collection that lacks fields that this version writes."""


class AccessDenied(SensoriumError):
    """A server answers, and does not let us in: it will not tomorrow either."""


class TransientError(SensoriumError):
    """A part that the stage needs is away; the same event is tried again later."""
