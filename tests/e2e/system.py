"""A running system for end-to-end tests: ``sensorium up``, or each stage in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from streams import runtime
from streams.settings import Settings
from streams.stages import STAGES

START_S = 120.0
STOP_S = 60.0
SAMPLES = Path(__file__).parents[2] / "samples"


@contextmanager
def process(
    arguments: Sequence[str], log: Path, env: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """``python -m streams …`` as a child, ended by its own id with SIGTERM."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        child = subprocess.Popen(
            [sys.executable, "-m", "streams", *arguments],
            stdout=file,
            stderr=file,
            env={**os.environ, "OMP_NUM_THREADS": "2", **(env or {})},
        )
    try:
        yield child
    finally:
        if child.poll() is None:
            child.send_signal(signal.SIGTERM)
        try:
            child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


@contextmanager
def running(data_dir: Path, *options: str, env: dict[str, str] | None = None) -> Iterator[Settings]:
    """``sensorium up`` on ``data_dir`` until the block ends; yields once it says that it is ready."""
    settings = Settings(data_dir=data_dir)
    with process(["--data-dir", str(data_dir), "up", *options], data_dir / "logs" / "up.log", env) as child:
        wait_until(lambda: _is_ready(data_dir, child), f"`up` on {data_dir}")
        yield settings


def _is_ready(data_dir: Path, child: subprocess.Popen[bytes]) -> bool:
    assert child.poll() is None, (data_dir / "logs" / "up.log").read_text()[-2000:]
    found = runtime.running(data_dir)
    return found is not None and found.ready


@contextmanager
def separate_stages(data_dir: Path, broker: str, *, twice: str) -> Iterator[Settings]:
    """Every stage in a process of its own, the stage ``twice`` in two; broker and store by ``up --no-workers``."""
    with running(data_dir, "--broker", broker, "--no-workers") as settings:
        found = runtime.running(data_dir)
        assert found is not None
        env = {
            "SENSORIUM_KAFKA": found.kafka,
            "SENSORIUM_MILVUS": found.milvus,
            "SENSORIUM_BLOBS": found.blobs,
            "SENSORIUM_DATA_DIR": str(data_dir),
        }
        workers = [*STAGES, twice]
        with _all([(["worker", "--stage", s], data_dir / "logs" / f"{n}-{s}.log", env) for n, s in enumerate(workers)]):
            wait_until(lambda: _ready_workers(data_dir) == sorted(workers), f"the workers on {data_dir}")
            yield settings


def _ready_workers(data_dir: Path) -> list[str]:
    return sorted(stage for w in runtime.workers(data_dir) if w.state == "ready" for stage in w.stages)


@contextmanager
def _all(commands: Sequence[tuple[Sequence[str], Path, dict[str, str]]]) -> Iterator[None]:
    if not commands:
        yield
        return
    (arguments, log, env), *rest = commands
    with process(arguments, log, env), _all(rest):
        yield


def wait_until(condition: object, what: str, timeout_s: float = START_S) -> None:
    """Poll ``condition`` until it is true; fails with ``what`` otherwise."""
    assert callable(condition)
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not after {timeout_s:.0f} s"
        time.sleep(0.1)
