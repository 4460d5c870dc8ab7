"""Fault points: places between consume, effect, publish and commit at which a test lets a worker die. For tests only.

``SENSORIUM_FAULTS`` is a comma list of ``stage:point:nth``: a process of that stage kills itself with SIGKILL, so that
nothing is tidied up, when it passes that point of its shell for the nth time (from 1) since its start.

============== ========================================================================================
``consumed``   a batch is decoded; its stage has not begun
``effect``     the stage has yielded its first output (``index``: the rows are written); nothing is sent
``sent``       all outputs are handed to the producer; their deliveries are not awaited
``published``  every delivery is durable; nothing is acknowledged
``acked``      the batch is acknowledged to Faust; its offsets are not committed
============== ========================================================================================

A passage is a batch, or an attempt at one. A batch that yields nothing does not pass ``effect``. Each entry fires once
for each data folder: ``<data_dir>/faults/stage-point-nth`` remembers it, so that the process that starts again passes;
``fired`` lists what has. So ``embed:effect:1,embed:effect:2`` kills ``embed`` twice, the second time at the second
passage of the process that was started again.

Raises ``ValueError`` for entries that cannot be read.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args

Point = Literal["consumed", "effect", "sent", "published", "acked"]
POINTS: tuple[Point, ...] = get_args(Point)

Reach = Callable[[Point], None]
"""Told by the shell that it passes a point."""


def nowhere(point: Point) -> None:
    """No fault is armed."""


def parse(text: str) -> list[tuple[str, Point, int]]:
    """The entries of ``SENSORIUM_FAULTS``. Raises ``ValueError``."""
    entries = []
    for entry in filter(None, (part.strip() for part in text.split(","))):
        stage, _, rest = entry.partition(":")
        point, _, nth = rest.partition(":")
        if point not in POINTS or not nth.isdecimal() or int(nth) < 1:
            raise ValueError(f"{entry!r} is no fault: stage:point:nth, points are {', '.join(POINTS)}")
        entries.append((stage, point, int(nth)))
    return entries


def armed(text: str, stage: str, data_dir: Path) -> Reach:
    """What the shell of ``stage`` tells its points to; ``nowhere`` where ``text`` names none of them."""
    mine = {(point, nth) for name, point, nth in parse(text) if name == stage}
    return _Armed(stage, mine, _folder(data_dir)).reach if mine else nowhere


def fired(data_dir: Path) -> set[str]:
    """The faults that have fired on a data folder, as ``stage:point:nth``."""
    return {path.name.replace("-", ":") for path in _folder(data_dir).glob("*-*-*")}


def _folder(data_dir: Path) -> Path:
    return data_dir / "faults"


class _Armed:
    def __init__(self, stage: str, faults: set[tuple[Point, int]], folder: Path) -> None:
        self._stage = stage
        self._faults = faults
        self._folder = folder
        self._passed: Counter[Point] = Counter()
        folder.mkdir(parents=True, exist_ok=True)

    def reach(self, point: Point) -> None:
        self._passed[point] += 1
        nth = self._passed[point]
        if (point, nth) not in self._faults:
            return
        try:
            (self._folder / f"{self._stage}-{point}-{nth}").touch(exist_ok=False)
        except FileExistsError:
            return
        os.kill(os.getpid(), signal.SIGKILL)
