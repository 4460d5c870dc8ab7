"""The cases of the fault suite, each in a full form, which the figures are of, and a short one for every test run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.faults import scenarios
from tests.faults.journal import Journal, journal
from tests.faults.oracle import Row
from tests.faults.plant import STAGES
from tests.faults.scenarios import Faults, Line


@dataclass(frozen=True)
class Size:
    """How much is published."""

    documents: int
    updates: int
    deletes: int
    questions: int

    def journal(self) -> Journal:
        """What is published."""
        return journal(self.documents, updates=self.updates, deletes=self.deletes, questions=self.questions)


FULL = Size(1000, 300, 100, 100)
SMALL = Size(300, 90, 30, 30)
ASKING = Size(400, 120, 40, 200)
SHORT = Size(60, 18, 6, 6)


@dataclass(frozen=True)
class Case:
    """One kind of fault."""

    name: str
    faults: Faults
    size: Size
    over_s: float
    env: Mapping[str, str] = field(default_factory=dict)

    async def run(self, folder: Path, quiet: Mapping[Size, list[Row]]) -> Line:
        """The line of the table; ``quiet`` holds the rows of quiet runs."""
        published = self.size.journal()
        rows = quiet[self.size]
        return await scenarios.run(
            self.name, published, rows, folder, self.faults, over_s=self.over_s, env=dict(self.env)
        )


POINTS = ("consumed", "effect", "sent", "published", "acked")
EACH_POINT = [
    f"{stage}:{point}:{place + nth}" for stage in STAGES for place, point in enumerate(POINTS) for nth in (1, 2, 3)
]
"""Every point of every stage three times, at different events: a number counts passages since the process began."""
SOME_POINTS = [f"{stage}:{POINTS[number % len(POINTS)]}:{1 + number % 2}" for number, stage in enumerate(STAGES)]

POINT_FAULTS, POINT_ENV = scenarios.armed(EACH_POINT)
SHORT_POINT_FAULTS, SHORT_POINT_ENV = scenarios.armed(SOME_POINTS)

CASES = (
    Case("kill -9, any stage", scenarios.kills(56, each=5), FULL, 150.0),
    Case("each fault point, three times", POINT_FAULTS, ASKING, 150.0, POINT_ENV),
    Case("Kafka killed, back after 3 s", scenarios.outages("kafka", 5, away_s=3.0, between_s=12.0), SMALL, 75.0),
    Case("store killed, back after 3 s", scenarios.outages("store", 5, away_s=3.0, between_s=8.0), SMALL, 60.0),
)

SHORT_CASES = (
    replace(CASES[0], faults=scenarios.kills(7, each=1), size=SHORT, over_s=15.0),
    replace(
        CASES[1], name="some fault points", faults=SHORT_POINT_FAULTS, size=SHORT, over_s=15.0, env=SHORT_POINT_ENV
    ),
    replace(CASES[2], faults=scenarios.outages("kafka", 1, away_s=2.0, between_s=5.0), size=SHORT, over_s=10.0),
    replace(CASES[3], faults=scenarios.outages("store", 2, away_s=2.0, between_s=4.0), size=SHORT, over_s=12.0),
)
