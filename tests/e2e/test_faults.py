"""The fault suite in its short form; the full one is ``make faults``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.apart import SHORT_APART, Apart
from tests.faults.cases import SHORT, SHORT_CASES, Case, Size
from tests.faults.oracle import Row
from tests.faults.scenarios import quiet_run

pytestmark = [pytest.mark.e2e, pytest.mark.kafka, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory, need: Callable[[str, str], str]) -> dict[Size, list[Row]]:
    """What a run without faults gives."""
    need("java", "sudo apt-get install default-jre-headless")
    return {SHORT: asyncio.run(quiet_run(SHORT.journal(), tmp_path_factory.mktemp("quiet")))}


GOING_ON = [check for check in SHORT_APART if "reindex" in check.name or "poison" in check.name]


@pytest.mark.parametrize("check", GOING_ON, ids=lambda check: check.name)
async def test_healthy_events_and_questions_go_on(check: Apart, tmp_path: Path, quiet: object) -> None:
    line = await check.run(tmp_path)
    assert line.injected >= 3
    assert line.verdict.is_clean, line


@pytest.mark.parametrize("case", SHORT_CASES, ids=lambda case: case.name)
async def test_nothing_is_lost_or_doubled(case: Case, tmp_path: Path, quiet: dict[Size, list[Row]]) -> None:
    line = await case.run(tmp_path, quiet)
    assert line.injected > 0
    assert line.verdict.is_clean, line
