"""``sensorium up`` with a real broker and a real store; its workers are processes without models."""

from __future__ import annotations

import ast
import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
from pydantic import SecretStr

from streams import runtime, supervisor
from streams.admin import topic_sizes
from streams.child import Child, ChildFailed
from streams.environment import to_environment
from streams.generations import Generation, Group, write_generations
from streams.restarts import RestartPolicy
from streams.runtime import DataDirInUse, NotRunning, is_alive
from streams.settings import Settings
from streams.supervisor import BROKER, STORE, Broker, Supervisor
from streams.topics import TOPICS
from tests.conftest import needs_kafka
from workers.limits import Limits

IDLE_WORKER = Path(__file__).with_name("idle_worker.py")
GROUPS: tuple[Group, ...] = (("extract",), ("embed", "index"))
FAST = RestartPolicy(quick_s=30, most_quick=3, first_pause_s=0.01, longest_pause_s=0.05)

pytestmark = pytest.mark.e2e


def command(mode: str, group: Group) -> list[str]:
    return [sys.executable, str(IDLE_WORKER), mode, *group]


class Running:
    """A supervisor in this process, and what it has told."""

    def __init__(self, settings: Settings, *, broker: Broker = "tansu", mode: str = "ready") -> None:
        self.settings = settings
        self.told: list[tuple[str, dict[str, object]]] = []
        self.stop = asyncio.Event()
        self.supervisor = Supervisor(
            settings,
            broker=broker,
            groups=GROUPS,
            on_event=lambda event, /, **facts: self.told.append((event, facts)),
            command=partial(command, mode),
            policy=FAST,
        )

    @property
    def events(self) -> list[str]:
        return [event for event, _ in self.told]

    @property
    def pids(self) -> dict[str, int]:
        found = runtime.running(self.settings.data_dir)
        assert found
        return found.pids

    async def until(self, is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not is_so():
                await asyncio.sleep(0.02)


@asynccontextmanager
async def running(settings: Settings, *, broker: Broker = "tansu", mode: str = "ready") -> AsyncIterator[Running]:
    run = Running(settings, broker=broker, mode=mode)
    task = asyncio.create_task(run.supervisor.run(run.stop))
    try:
        await run.until(lambda: "up.ready" in run.events or task.done())
        yield run
    finally:
        run.stop.set()
        await asyncio.wait_for(task, 60)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    return Settings(data_dir=tmp_path / "data")


@pytest.mark.parametrize("broker", ["tansu", pytest.param("kafka", marks=needs_kafka)])
async def test_all_parts_run_say_where_and_leave_nothing_behind(settings: Settings, broker: Broker) -> None:
    waiting = asyncio.create_task(runtime.wait_ready(settings))
    async with running(settings, broker=broker) as up:
        addresses = await waiting
        assert addresses.ready
        assert addresses == runtime.resolve(settings) == runtime.running(settings.data_dir)
        assert (await topic_sizes(addresses.kafka)).keys() == {topic.name for topic in TOPICS}
        pids = up.pids
        assert pids.keys() == {"extract", "embed-index", BROKER, STORE}
        assert all(is_alive(pid) for pid in pids.values())
        assert {stage for worker in runtime.workers(settings.data_dir) for stage in worker.stages} == {
            "extract",
            "embed",
            "index",
        }
    assert up.events[-3:] == ["up.ready", "up.stopping", "up.stopped"]
    assert not [pid for pid in pids.values() if is_alive(pid)]
    assert not list(runtime.workers(settings.data_dir))
    with pytest.raises(NotRunning, match="nothing runs") as nothing:
        runtime.resolve(settings)
    assert "sensorium up" in nothing.value.hint


async def test_workers_are_told_the_settings_and_the_addresses(settings: Settings) -> None:
    chosen = settings.model_copy(update={"threads": 3, "metrics_port": 9900, "limits": Limits(max_pages=7)})
    async with running(chosen) as up:
        addresses, pids = runtime.resolve(chosen), up.pids
        told = ast.literal_eval((settings.data_dir / f"{pids['embed-index']}.told").read_text())
    assert told["SENSORIUM_KAFKA"] == addresses.kafka
    assert told["SENSORIUM_MILVUS"] == addresses.milvus
    assert told["SENSORIUM_BLOBS"] == addresses.blobs == (settings.data_dir / "blobs").as_uri()
    assert told["SENSORIUM_METRICS_PORT"] == "9901"
    assert told["OMP_NUM_THREADS"] == told["SENSORIUM_THREADS"] == "3"
    assert '"max_pages": 7' in told["SENSORIUM_LIMITS"]


async def test_generations_come_and_go_while_it_runs(settings: Settings) -> None:
    second = Generation(name="second", settings={"SENSORIUM_PROFILE": "fake"})
    async with running(settings) as up:
        before = up.pids
        write_generations(settings, [Generation(name="first"), second])
        await up.until(lambda: {"extract@second", "embed-index@second"} <= up.pids.keys())
        told = settings.data_dir / f"{up.pids['extract@second']}.told"
        await up.until(told.exists)
        pids = up.pids
        assert {name: pids[name] for name in before} == before
        variables = ast.literal_eval(told.read_text())
        assert (variables["SENSORIUM_GENERATION"], variables["SENSORIUM_PROFILE"]) == ("second", "fake")
        write_generations(settings, [second])
        await up.until(lambda: not is_alive(pids["extract@second"]) and not is_alive(before["extract"]))
        await up.until(lambda: up.pids["extract"] != before["extract"])
        told = settings.data_dir / f"{up.pids['extract']}.told"
        await up.until(told.exists)
        assert ast.literal_eval(told.read_text())["SENSORIUM_GENERATION"] == "second"


async def test_a_generation_that_cannot_run_brings_nothing_else_down(settings: Settings) -> None:
    write_generations(settings, [Generation(name="first"), Generation(name="second")])
    async with running(settings, mode="first") as up:
        await up.until(lambda: up.events.count("generation.failed") == 2)
        failed = [facts["generation"] for event, facts in up.told if event == "generation.failed"]
        assert failed == ["second", "second"]
        assert runtime.resolve(settings).ready


def test_settings_survive_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(
        data_dir=tmp_path,
        media_roots=("s3://a", "file:///b c"),
        milvus_token=SecretStr("root:x"),
        ocr=False,
        batch_wait_ms=3,
        profile="fake",
        limits=Limits(max_seconds=2.5),
    )
    for name, value in to_environment(settings).items():
        monkeypatch.setenv(name, value)
    assert Settings() == settings


async def test_a_worker_that_crashes_starts_again(settings: Settings) -> None:
    async with running(settings, mode="once") as up:
        ended = [facts for event, facts in up.told if event == "process.ended"]
        assert {(facts["name"], facts["code"]) for facts in ended} == {("worker extract", 7), ("worker embed-index", 7)}
        assert all(facts["last_words"] == "no luck" for facts in ended)
        before = up.pids["extract"]
        os.kill(before, signal.SIGKILL)
        await up.until(lambda: up.events.count("up.ready") == 2)
        assert "up.not_ready" in up.events
        assert up.pids["extract"] != before


async def test_a_worker_that_keeps_crashing_ends_everything_loudly(settings: Settings) -> None:
    up = Running(settings, mode="crash")
    with pytest.raises(ChildFailed, match=r"worker .* keeps ending \(7\): no luck") as failed:
        await asyncio.wait_for(up.supervisor.run(up.stop), 60)
    assert str(settings.data_dir / "logs") in failed.value.hint
    assert not [child for child in up.supervisor._children.values() if child.returncode is None]
    assert runtime.running(settings.data_dir) is None


async def test_a_worker_that_was_ready_starts_again_however_often_it_dies(settings: Settings) -> None:
    async with running(settings) as up:
        for deaths in range(1, FAST.most_quick + 3):
            os.kill(up.pids["extract"], signal.SIGKILL)
            await up.until(lambda: up.events.count("up.ready") == deaths + 1)  # noqa: B023


async def test_a_stage_that_stopped_itself_stays_so_while_the_others_go_on(settings: Settings) -> None:
    up = Running(settings, mode="refuses")
    task = asyncio.create_task(up.supervisor.run(up.stop))
    await up.until(lambda: "stage.stopped" in up.events)
    await up.until(lambda: {stage for worker in runtime.workers(settings.data_dir) for stage in worker.stages} != set())
    await asyncio.sleep(0.5)  # many pauses between restarts
    assert up.events.count("process.ended") == 1
    [told] = [facts for event, facts in up.told if event == "stage.stopped"]
    assert told == {"stage": "extract", "reason": "too much", "hint": "look"}
    assert [stopped.stage for stopped in runtime.stopped_stages(settings.data_dir)] == ["extract"]
    assert "up.ready" not in up.events
    assert not task.done()
    up.stop.set()
    assert await asyncio.wait_for(task, 60) == 0


async def test_a_broker_that_dies_starts_again_and_its_loss_is_told(settings: Settings) -> None:
    async with running(settings) as up:
        before = up.pids
        os.kill(before[BROKER], signal.SIGKILL)
        await up.until(lambda: up.events.count("up.ready") == 2)
        assert "broker.topics_lost" in up.events
        after = up.pids
        assert all(before[name] != after[name] for name in (BROKER, "extract", "embed-index"))
        assert before[STORE] == after[STORE]
        assert (await topic_sizes(runtime.resolve(settings).kafka)).keys() == {topic.name for topic in TOPICS}


@pytest.mark.parametrize("broker", [pytest.param("kafka", marks=needs_kafka)])
async def test_a_kafka_that_dies_starts_again_and_its_workers_stay(settings: Settings, broker: Broker) -> None:
    async with running(settings, broker=broker) as up:
        before = up.pids
        os.kill(before[BROKER], signal.SIGKILL)
        await up.until(lambda: up.events.count("up.ready") == 2)
        after = up.pids
        assert before[BROKER] != after[BROKER]
        assert all(before[name] == after[name] for name in ("extract", "embed-index"))
        assert "broker.topics_lost" not in up.events


async def test_a_store_that_dies_starts_again_on_its_port(settings: Settings) -> None:
    async with running(settings) as up:
        before = up.pids
        os.kill(before[STORE], signal.SIGKILL)
        await up.until(lambda: up.events.count("up.ready") == 2)
        after = up.pids
        assert before[STORE] != after[STORE]
        assert before["extract"] == after["extract"]


async def test_servers_that_the_settings_name_are_used_and_not_started(
    settings: Settings, broker: str, milvus_uri: str
) -> None:
    async with running(settings.model_copy(update={"kafka": broker, "milvus": milvus_uri})) as up:
        assert up.pids.keys() == {"extract", "embed-index"}
        assert runtime.resolve(settings).kafka == broker


async def test_a_data_folder_has_one_supervisor(settings: Settings) -> None:
    async with running(settings):
        other = Running(settings)
        with pytest.raises(DataDirInUse, match=f"in use by process {os.getpid()}"):
            await other.supervisor.run(other.stop)
        assert runtime.resolve(settings).ready


async def test_stopping_while_everything_starts_leaves_nothing(settings: Settings) -> None:
    up = Running(settings)
    task = asyncio.create_task(up.supervisor.run(up.stop))
    await up.until(lambda: bool(up.supervisor._children))
    up.stop.set()
    assert await asyncio.wait_for(task, 60) == 0
    assert not [child for child in up.supervisor._children.values() if child.returncode is None]


async def test_workers_that_do_not_end_can_be_killed(settings: Settings) -> None:
    patient = settings.model_copy(update={"drain_timeout_s": 60.0})
    async with running(patient, mode="stubborn") as up:
        pids = up.pids
        up.stop.set()
        await up.until(lambda: "up.stopping" in up.events)
        await asyncio.sleep(0.2)
        assert is_alive(pids["extract"])
        up.supervisor.kill()
        await _gone(pids.values())


UP = """
import asyncio, sys
from functools import partial
from pathlib import Path
from streams import supervisor
from streams.settings import Settings
from tests.streams.test_supervisor import GROUPS, command
supervisor.Supervisor.__init__.__kwdefaults__["command"] = partial(command, "ready")
sys.exit(asyncio.run(supervisor.up(Settings(data_dir=Path(sys.argv[1])), groups=GROUPS)))
"""


@pytest.fixture
async def process(settings: Settings) -> AsyncIterator[Child]:
    """A process that runs ``up``, ready."""
    child = Child.start("up", [sys.executable, "-c", UP, str(settings.data_dir)], log=settings.data_dir / "up.log")
    try:
        async with asyncio.timeout(30):
            while runtime.running(settings.data_dir) is None:
                assert child.returncode is None, child.last_words()
                await asyncio.sleep(0.02)
        await runtime.wait_ready(settings)
        yield child
    finally:
        await child.stop()


async def _gone(pids: Iterable[int]) -> None:
    async with asyncio.timeout(30):
        while any(is_alive(pid) for pid in pids):
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_up_with_0_and_all_its_children(
    settings: Settings, process: Child, number: signal.Signals
) -> None:
    addresses = runtime.resolve(settings)
    os.kill(process.pid, number)
    assert await asyncio.wait_for(process.wait(), 30) == 0
    assert not [pid for pid in addresses.pids.values() if is_alive(pid)]


async def test_children_die_with_a_killed_up_and_the_next_one_starts(settings: Settings, process: Child) -> None:
    pids = runtime.resolve(settings).pids
    os.kill(process.pid, signal.SIGKILL)
    await process.wait()
    with pytest.raises(NotRunning):
        runtime.resolve(settings)
    async with running(settings) as up:
        assert not set(up.pids.values()) & set(pids.values())
        await _gone(pids.values())


async def test_up_refuses_stages_that_do_not_exist(settings: Settings) -> None:
    with pytest.raises(ValueError, match="no stages: dream"):
        await supervisor.up(settings, groups=(("dream",),))


def test_the_same_group_twice_gets_names_of_its_own() -> None:
    assert supervisor._names((("extract",), ("embed", "index"), ("extract",))) == [
        "extract",
        "embed-index",
        "extract-2",
    ]


def test_pauses_double_up_to_a_bound_and_are_spread() -> None:
    policy = RestartPolicy(first_pause_s=0.2, longest_pause_s=3.0)
    for quick_ends, longest in enumerate((0.2, 0.4, 0.8, 1.6, 3.0, 3.0), start=1):
        pauses = [policy.pause_s(quick_ends) for _ in range(50)]
        assert longest / 2 <= min(pauses) < max(pauses) <= longest


async def test_explicit_addresses_win_and_waiting_ends(settings: Settings) -> None:
    named = settings.model_copy(update={"kafka": "k:9092", "milvus": "http://m:19530", "blobs": "s3://b"})
    addresses = await runtime.wait_ready(named, 1.0)
    assert (addresses.kafka, addresses.milvus, addresses.blobs) == ("k:9092", "http://m:19530", "s3://b")
    only_kafka = settings.model_copy(update={"kafka": "k:9092"})
    assert runtime.resolve(only_kafka, needs_store=False).kafka == "k:9092"
    with pytest.raises(NotRunning, match="nothing runs"):
        runtime.resolve(only_kafka)
    with pytest.raises(NotRunning):
        await runtime.wait_ready(settings, 0.1)
