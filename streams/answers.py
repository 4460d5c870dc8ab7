"""An answer stream put together: in order, each event once, superseded attempts dropped.

Kafka delivers at least once, and a generation that starts again after a crash begins a new, higher attempt. A consumer
that follows these rules sees one answer: the highest attempt counts; within it events go by ``seq``, from 0, without
gaps; what was seen is dropped; after a terminal event nothing follows.
"""

from __future__ import annotations

from schemas.answers import TERMINAL, StreamEvent


class AnswerAssembler:
    """Takes events as they come and gives those that may be shown, in order."""

    def __init__(self) -> None:
        self._attempt = 0
        self._next = 0
        self._waiting: dict[int, StreamEvent] = {}
        self.finished = False

    @property
    def attempt(self) -> int:
        """The attempt that counts; 0: nothing was heard yet."""
        return self._attempt

    @property
    def lacks_only_what_is_lost(self) -> bool:
        """Whether the end has come while something before it has not: the topic may not hold it any more."""
        return any(isinstance(event, TERMINAL) for event in self._waiting.values())

    def take(self, event: StreamEvent) -> list[StreamEvent]:
        """The events that ``event`` makes ready. An ``AnswerStarted`` of a new attempt replaces what was shown."""
        if self.finished or event.attempt < self._attempt:
            return []
        if event.attempt > self._attempt:
            self._attempt, self._next, self._waiting = event.attempt, 0, {}
        if event.seq >= self._next:
            self._waiting.setdefault(event.seq, event)
        return self._ready()

    def give_up_the_gap(self) -> list[StreamEvent]:
        """What there is in spite of a gap, in order. The terminal event repeats the whole answer."""
        ready = []
        while self._waiting:
            self._next = min(self._waiting)
            ready += self._ready()
        return ready

    def _ready(self) -> list[StreamEvent]:
        ready = []
        while (following := self._waiting.pop(self._next, None)) is not None:
            ready.append(following)
            self._next += 1
            if isinstance(following, TERMINAL):
                self.finished = True
                self._waiting.clear()
        return ready
