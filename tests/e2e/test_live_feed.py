"""A live stream is fed while questions about it are asked; its server is stopped and started again in the middle.

Two minutes with ``SENSORIUM_FULL=1``, else a good minute.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path

import av
import pytest

from schemas.answers import AnswerFailed, AnswerFinished
from schemas.queries import Evidence
from streams.client import AskOptions, Client
from streams.feed import run_feed
from streams.settings import Settings
from tests.workers.feed.live import LiveServer
from workers.feed.events import FeedEvent

pytestmark = [pytest.mark.e2e, pytest.mark.models, pytest.mark.timeout(600)]

FEED_S = 120.0 if os.environ.get("SENSORIUM_FULL") == "1" else 80.0
AWAY_S = 4.0
PATIENCE_S = 60.0
PROGRAMME = Path(__file__).parents[2] / "samples" / "programme.mp4"
SPOKEN_S = 13.4
"""Where "He might even have been made amiable himself" begins in the programme (samples/README.md)."""
QUESTION = "Who might even have been made amiable?"
WORD = "amiable"
NEAR_MS = 4000


@pytest.fixture
def server() -> Iterator[LiveServer]:
    with LiveServer(PROGRAMME) as running:
        yield running


def spoken_ms(server: LiveServer) -> list[float]:
    """Wall clock at which the words were spoken, once a round of the programme, up to now."""
    with av.open(str(PROGRAMME)) as film:
        round_s = float(film.duration or 0) / av.time_base
    now_s = time.time()
    return [
        (began_s + n * round_s + SPOKEN_S) * 1000
        for began_s in server.listened_s
        for n in range(round(FEED_S / round_s) + 1)
        if began_s + n * round_s + SPOKEN_S < now_s
    ]


async def hear(client: Client, *, since_ms: int, patience_s: float) -> Evidence:
    """Ask until the answer cites the words. Fails when they are not found in ``patience_s``."""
    options = AskOptions(sources=("studio",), since_ms=since_ms)
    deadline_s = time.monotonic() + patience_s
    while time.monotonic() < deadline_s:
        async for event in client.ask(QUESTION, options):
            assert not isinstance(event, AnswerFailed), event.reason
            if isinstance(event, AnswerFinished):
                cited = [evidence for evidence in event.citations if WORD in evidence.text.lower()]
                if cited:
                    return cited[0]
        await asyncio.sleep(1)
    pytest.fail(f"the words were not found within {patience_s:g} s")


def assert_right_moment(found: Evidence, server: LiveServer) -> None:
    assert min(abs(found.event_time_ms - moment_ms) for moment_ms in spoken_ms(server)) < NEAR_MS
    assert f"127.0.0.1:{server.port}/live.ts#t=clock:20" in found.source_uri


async def test_words_spoken_seconds_ago_are_found_by_their_wall_clock_time(
    running_system: Settings, server: LiveServer
) -> None:
    told: list[FeedEvent] = []
    began_ms = round(time.time() * 1000)
    async with Client(running_system) as client:
        feeding = asyncio.create_task(
            run_feed(client, server.uri, source="studio", duration_s=FEED_S, on_event=told.append)
        )
        first = await hear(client, since_ms=began_ms, patience_s=FEED_S / 2)
        assert not feeding.done(), "the answer comes while the feed runs"
        assert_right_moment(first, server)
        print(f"answered {time.time() - first.event_time_ms / 1000:.1f} s after the words were spoken")

        await asyncio.to_thread(server.stop)
        await asyncio.sleep(AWAY_S)
        server.start()
        restarted_ms = round(time.time() * 1000)
        second = await hear(client, since_ms=restarted_ms, patience_s=PATIENCE_S)
        assert_right_moment(second, server)
        assert second.document_id.rpartition("-")[0] != first.document_id.rpartition("-")[0], "a new epoch"
        report = await feeding

    assert report.connections == 2
    assert [event.kind for event in told if event.kind in {"connected", "gap"}] == ["connected", "connected", "gap"]
    assert report.gap_ms >= AWAY_S * 1000
    assert report.dropped == 0
    assert report.published >= (FEED_S - AWAY_S - 10) / 6
