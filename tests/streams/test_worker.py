"""Worker processes on a real broker: readiness, several stages in one, draining, crashes, restarts."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest

from schemas.letters import DeadLetter
from schemas.queries import QueryAsked, QueryRefined
from streams.admin import topic_sizes
from streams.child import Child
from streams.faultpoints import fired
from streams.publisher import Publisher
from streams.restarts import STOPPED
from streams.runtime import forget_stopped, stopped_stages
from streams.topics import ANSWERS_STREAMED, CHUNKS_EMBEDDED, CHUNKS_INDEXED, DEAD_LETTERS
from tests.streams.brokers import committed, publish, read, until_read
from tests.streams.processes import Start, child_command, ended, environment, log_of, state, until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(90)]


async def test_two_stages_in_one_process(start: Start, bootstrap: str, publisher: Publisher, tmp_path: Path) -> None:
    began = time.monotonic()
    child = await start("embed", "index")
    assert time.monotonic() - began < 15
    await publish(publisher, "d0", "d1")
    indexed = await read(bootstrap, CHUNKS_INDEXED, 2)
    assert sorted(event.subject for event in indexed) == ["d0", "d1"]
    assert all([hop.stage for hop in event.trace.hops] == ["embed", "index"] for event in indexed)
    assert len({event.trace.traceparent[3:35] for event in indexed}) == 2
    os.kill(child.pid, signal.SIGTERM)
    assert await ended(child) == 0
    assert state(tmp_path, child.pid) == "unknown"
    assert await committed(bootstrap, "embed") == 2
    assert await committed(bootstrap, "index") == 2


async def test_sigterm_finishes_what_is_in_flight_and_commits_it(
    start: Start, bootstrap: str, publisher: Publisher, tmp_path: Path
) -> None:
    child = await start("embed", EMBED_SECONDS="1.5")
    await publish(publisher, *[f"d{number}" for number in range(30)])
    await asyncio.sleep(0.7)  # the first batch is in flight
    os.kill(child.pid, signal.SIGTERM)
    await until(lambda: state(tmp_path, child.pid) == "stopping")
    assert await ended(child) == 0
    done = await committed(bootstrap, "embed")
    assert 1 <= done <= 4  # one batch
    assert len(await read(bootstrap, CHUNKS_EMBEDDED, done)) == done
    assert not list((tmp_path / "run").glob("worker-*.json"))


async def test_fault_costs_its_event_a_dead_letter_and_the_log_names_it(
    start: Start, bootstrap: str, publisher: Publisher
) -> None:
    child = await start("embed")
    await publish(publisher, "d0", "fault", "d1")
    [letter] = await read(bootstrap, DEAD_LETTERS, 1)
    assert isinstance(letter, DeadLetter)
    assert (letter.about, letter.error, letter.attempts) == ("fault", "Poisonous", 3)
    assert "ZeroDivisionError" in letter.reason
    await until_read(bootstrap, CHUNKS_EMBEDDED, {"d0", "d1"})
    os.kill(child.pid, signal.SIGTERM)
    assert await ended(child) == 0
    assert await committed(bootstrap, "embed") == 3
    lines = [line for line in log_of(child) if line["event"] == "batch.failed"]
    assert (lines[-1]["stage"], lines[-1]["document_id"], lines[-1]["level"]) == ("embed", "fault", "error")
    assert lines[-1]["trace_id"]
    assert "ZeroDivisionError" in lines[-1]["exception"]


async def test_event_that_kills_its_process_again_and_again_is_a_dead_letter_and_harms_no_other(
    start: Start, bootstrap: str, publisher: Publisher, tmp_path: Path
) -> None:
    await publish(publisher, *[f"d{number}" for number in range(4)], "killer", *[f"e{number}" for number in range(4)])
    deaths = 0
    while True:
        child = await start("embed", until_state="starting", SENSORIUM_DEATHS="2")
        await until(lambda: child.returncode is not None or state(tmp_path, child.pid) == "ready")  # noqa: B023
        letters = asyncio.create_task(read(bootstrap, DEAD_LETTERS, 1))
        await until(lambda: child.returncode is not None or letters.done())  # noqa: B023
        if letters.done():
            break
        letters.cancel()
        await asyncio.gather(letters, return_exceptions=True)
        assert await ended(child) == -signal.SIGSEGV
        deaths += 1
    assert deaths == 3  # in a batch, and twice alone
    [letter] = await letters
    assert isinstance(letter, DeadLetter)
    assert (letter.about, letter.attempts) == ("killer", 2)
    assert "2 worker processes died" in letter.reason
    await until_read(bootstrap, CHUNKS_EMBEDDED, {f"{name}{number}" for name in "de" for number in range(4)})
    os.kill(child.pid, signal.SIGTERM)
    assert await ended(child) == 0
    assert await committed(bootstrap, "embed") == 9
    assert not list((tmp_path / "attempts" / "embed").iterdir())


async def test_stage_that_refuses_too_much_stops_loudly_and_stays_stopped(
    start: Start, bootstrap: str, publisher: Publisher, tmp_path: Path
) -> None:
    child = await start("embed", SENSORIUM_DEAD_LETTER_CAP="5")
    await publish(publisher, *[f"refused{number}" for number in range(20)])
    assert await ended(child) == STOPPED
    assert len(await read(bootstrap, DEAD_LETTERS, 5)) == 5
    [line] = [line for line in log_of(child) if line["event"] == "stage.stopped"]
    assert (line["level"], line["stage"]) == ("error", "embed")
    assert "refused 5 of its last" in line["reason"]
    assert "dead-letters replay --stage embed" in line["hint"]
    [stopped] = stopped_stages(tmp_path)
    assert stopped.stage == "embed"

    again = Child.start(
        "again", child_command("embed"), log=tmp_path / "again.log", env=environment(tmp_path, bootstrap)
    )
    assert await ended(again) == STOPPED  # a foreign supervisor may start it as often as it likes
    assert "dead-letters resume --stage embed" in again.log.read_text()
    assert await committed(bootstrap, "embed") <= 5
    forget_stopped(tmp_path)
    await start("embed", SENSORIUM_DEAD_LETTER_CAP="0")
    assert len(await read(bootstrap, DEAD_LETTERS, 20)) == 20


async def test_work_of_many_session_timeouts_does_not_cost_the_partitions(
    start: Start, bootstrap: str, publisher: Publisher, tmp_path: Path
) -> None:
    child = await start("embed", EMBED_SECONDS="13")  # a session is 6 s; the stage blocks the event loop all the while
    await publish(publisher, "block")
    [done] = await read(bootstrap, CHUNKS_EMBEDDED, 1, within_s=40)
    os.kill(child.pid, signal.SIGTERM)
    assert await ended(child) == 0
    assert done.subject == "block"
    assert await committed(bootstrap, "embed") == 1
    joined = [line for line in log_of(child) if line["event"] == "partitions.assigned"]
    assert len(joined) == 1


async def test_killed_worker_loses_nothing(start: Start, bootstrap: str, publisher: Publisher) -> None:
    child = await start("embed", EMBED_SECONDS="60")
    await publish(publisher, "d0", "d1", "d2")
    await asyncio.sleep(0.5)
    os.kill(child.pid, signal.SIGKILL)
    await ended(child)
    second = await start("embed")
    done = await read(bootstrap, CHUNKS_EMBEDDED, 3)
    assert sorted(event.subject for event in done) == ["d0", "d1", "d2"]
    os.kill(second.pid, signal.SIGTERM)
    assert await ended(second) == 0
    assert await committed(bootstrap, "embed") == 3


@pytest.mark.parametrize("kafka", ["away", "there"])
async def test_sigterm_while_it_starts_ends_it(start: Start, bootstrap: str, tmp_path: Path, kafka: str) -> None:
    address = bootstrap if kafka == "there" else "127.0.0.1:1"
    child = await start("embed", until_state="starting", SENSORIUM_KAFKA=address)
    await asyncio.sleep(0.5)
    os.kill(child.pid, signal.SIGTERM)
    assert await asyncio.wait_for(child.wait(), 10) == 0


async def test_work_that_cannot_be_drained_in_time_is_left_for_the_next_worker(
    start: Start, bootstrap: str, publisher: Publisher
) -> None:
    child = await start("embed", EMBED_SECONDS="60", SENSORIUM_DRAIN_TIMEOUT_S="0.5")
    await publish(publisher, "d0")
    await asyncio.sleep(0.5)
    os.kill(child.pid, signal.SIGTERM)
    assert await asyncio.wait_for(child.wait(), 10) == 0
    assert await committed(bootstrap, "embed") == 0


async def test_query_is_answered_once_whatever_dies_between_answer_and_commit(
    start: Start, bootstrap: str, publisher: Publisher, tmp_path: Path
) -> None:
    queries = [
        QueryRefined(query_id=f"q{number}", asked=QueryAsked(query_id=f"q{number}"), evidence=()) for number in range(8)
    ]
    for query in queries:
        await publisher.publish(query)
    faults = "generate:published:1,generate:acked:1,generate:published:3,generate:acked:2"
    for _ in range(4):
        child = await start("generate", until_state="starting", SENSORIUM_FAULTS=faults)
        assert await ended(child) == -signal.SIGKILL
    assert len(fired(tmp_path)) == 4
    child = await start("generate", SENSORIUM_FAULTS=faults)
    for query in queries:  # a stage before it has died, too, and sends them again
        await publisher.publish(query)
    async with asyncio.timeout(30):
        while await committed(bootstrap, "generate") < 16:
            await asyncio.sleep(0.2)
    os.kill(child.pid, signal.SIGTERM)
    assert await ended(child) == 0
    answered = [event.subject for event in await read(bootstrap, ANSWERS_STREAMED, 8)]
    assert sorted(answered) == [query.query_id for query in queries]
    assert (await topic_sizes(bootstrap))[ANSWERS_STREAMED.name] == 8
