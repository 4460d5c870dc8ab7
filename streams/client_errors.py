"""What a client's request can end in, beside what the parts that it talks to raise.

``NotRunning`` (``streams/runtime.py``) and ``TransientError`` mean that nothing answers; ``InvalidEvent`` that an event
cannot be sent, now or ever.
"""

from __future__ import annotations

from workers.errors import SensoriumError


class UsageError(SensoriumError, ValueError):
    """The caller asked for something that cannot be right."""


class NoAnswer(SensoriumError, TimeoutError):
    """Nothing was heard for too long; the reason names the stage that is silent."""


class QueryFailed(SensoriumError):
    """A search ended in ``AnswerFailed``."""
