"""How long work says that it gets on, so that a long film may take long while a short one that hangs may not."""

from __future__ import annotations

from collections.abc import Callable

_listeners: list[Callable[[], None]] = []


def beat() -> None:
    """A part of the work is done. Cheap: it may be called for each packet of a film."""
    for listener in _listeners:
        listener()


def on_beat(listener: Callable[[], None]) -> None:
    """Call ``listener`` at each beat; a decoder process does, nobody else listens."""
    _listeners.append(listener)
