"""Who runs where on this machine: small files under ``<data_dir>/run`` that ``up`` and the workers write.

Addresses that the settings name win over those that ``up`` wrote. Raises ``NotRunning`` where neither is there.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from streams.settings import Settings
from workers.errors import SensoriumError

POLL_S = 0.1


class NotRunning(SensoriumError):
    """Nothing answers where the settings, or the data folder, say that it should."""


class Addresses(BaseModel):
    """Where the parts of a system answer."""

    model_config = ConfigDict(frozen=True)

    kafka: str
    milvus: str
    blobs: str
    pid: int = 0
    ready: bool = False


class WorkerState(BaseModel):
    """What a worker process says of itself."""

    model_config = ConfigDict(frozen=True)

    pid: int
    stages: tuple[str, ...]
    state: Literal["starting", "ready", "stopping"]
    since_ms: int


def run_dir(data_dir: Path) -> Path:
    """The folder of addresses and states; it is made where it is missing."""
    folder = data_dir / "run"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_atomically(path: Path, text: str) -> None:
    """Readers see the old text or the new one, never half of it."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(text)
    draft.replace(path)


def write_addresses(data_dir: Path, addresses: Addresses) -> None:
    """Say where everything answers."""
    write_atomically(run_dir(data_dir) / "addresses.json", addresses.model_dump_json(indent=2))


def forget_addresses(data_dir: Path) -> None:
    """Say that nothing runs any more."""
    (run_dir(data_dir) / "addresses.json").unlink(missing_ok=True)


def running(data_dir: Path) -> Addresses | None:
    """What ``up`` wrote, where it still runs."""
    path = data_dir / "run" / "addresses.json"
    try:
        addresses = Addresses.model_validate_json(path.read_text())
    except (FileNotFoundError, ValueError):
        return None
    return addresses if is_alive(addresses.pid) else None


def blob_root(settings: Settings) -> str:
    """The URI of the blob store."""
    return settings.blobs or (settings.data_dir.absolute() / "blobs").as_uri()


def resolve(settings: Settings) -> Addresses:
    """Where Kafka, Milvus and the blobs are. Raises ``NotRunning``."""
    found = running(settings.data_dir)
    kafka = settings.kafka or (found.kafka if found else "")
    milvus = settings.milvus or (found.milvus if found else "")
    if not kafka or not milvus:
        raise NotRunning(
            f"nothing runs on {settings.data_dir}",
            hint="start it with `sensorium up`, or set SENSORIUM_KAFKA and SENSORIUM_MILVUS",
        )
    ready = bool(found and found.ready) or bool(settings.kafka)
    return Addresses(kafka=kafka, milvus=milvus, blobs=blob_root(settings), pid=found.pid if found else 0, ready=ready)


async def wait_ready(settings: Settings, timeout_s: float = 60.0) -> Addresses:
    """Wait until ``up`` says that all stages are ready. Raises ``NotRunning`` after ``timeout_s``.

    Workers on other machines are not waited for: their topics keep what is published.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            addresses = resolve(settings)
        except NotRunning:
            if time.monotonic() > deadline or not _is_starting(settings.data_dir):
                raise
        else:
            if addresses.ready:
                return addresses
            if time.monotonic() > deadline:
                raise NotRunning(
                    f"the workers of {settings.data_dir} were not ready after {timeout_s:.0f} s",
                    hint="`sensorium status` shows which stage is missing; its log is in <data_dir>/logs",
                )
        await asyncio.sleep(POLL_S)


def _is_starting(data_dir: Path) -> bool:
    """Whether ``up`` runs but has not said yet where."""
    try:
        return is_alive(int((data_dir / "run" / "up.pid").read_text()))
    except (FileNotFoundError, ValueError):
        return False


def write_worker(data_dir: Path, state: WorkerState) -> None:
    """Say how this worker process is."""
    write_atomically(run_dir(data_dir) / f"worker-{state.pid}.json", state.model_dump_json())


def forget_worker(data_dir: Path, pid: int) -> None:
    """Say that a worker process has ended."""
    (run_dir(data_dir) / f"worker-{pid}.json").unlink(missing_ok=True)


def workers(data_dir: Path) -> Iterator[WorkerState]:
    """The worker processes that run on this data folder."""
    for path in sorted((data_dir / "run").glob("worker-*.json")):
        try:
            state = WorkerState.model_validate_json(path.read_text())
        except (FileNotFoundError, ValueError):
            continue
        if is_alive(state.pid):
            yield state


def is_alive(pid: int) -> bool:
    """Whether a process of this id exists and is no zombie."""
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"
