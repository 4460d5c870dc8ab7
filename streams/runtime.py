"""Who runs where on this machine: small files under ``<data_dir>/run`` that ``up`` and the workers write.

``addresses.json`` is what ``up`` says, ``worker-<pid>.json`` what a worker process says of itself, and ``lock`` is held
as long as ``up`` or one of its children lives, so that a file which a crash left behind is never believed.
``stopped-<stage>.json`` is there for a stage that stopped itself because it refused too much.

Addresses that the settings name win over those that ``up`` wrote. Raises ``NotRunning`` where neither is there.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas.generations import FIRST
from streams.security import kafka_address
from streams.settings import Settings
from workers.errors import SensoriumError

POLL_S = 0.1
GRACE_S = 2.0
"""How long a command waits for an ``up`` that was started together with it."""
LOCK_PATIENCE_S = 30.0
"""How long ``up`` waits for the processes of an earlier ``up`` that was killed: they still drain."""


class NotRunning(SensoriumError):
    """Nothing answers where the settings, or the data folder, say that it should."""


class DataDirInUse(SensoriumError):
    """Another ``up`` runs on the data folder."""


class Addresses(BaseModel):
    """Where the parts of a system answer."""

    model_config = ConfigDict(frozen=True)

    kafka: str
    milvus: str
    blobs: str
    pid: int = 0
    pids: dict[str, int] = Field({}, description="its children: the broker, the store, the workers")
    started_ms: int = 0
    ready: bool = Field(False, description="topics exist, and every stage has a worker that is ready")


class WorkerState(BaseModel):
    """What a worker process says of itself."""

    model_config = ConfigDict(frozen=True)

    pid: int
    stages: tuple[str, ...]
    generation: str = FIRST
    state: Literal["starting", "ready", "stopping"]
    since_ms: int
    waits_for: dict[str, str] = Field({}, description="by stage: the part that is away, and why")


class StoppedStage(BaseModel):
    """A stage that stopped itself because it refused too much. It stays so until somebody has looked."""

    model_config = ConfigDict(frozen=True)

    stage: str
    reason: str
    hint: str
    at_ms: int


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


@asynccontextmanager
async def exclusive(data_dir: Path) -> AsyncIterator[int]:
    """The data folder for this process and its children; the descriptor that holds it, for them to inherit.

    Raises ``DataDirInUse``, after a while where only children of an earlier ``up`` are left.
    """
    descriptor = os.open(run_dir(data_dir) / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + LOCK_PATIENCE_S
    try:
        while not _try_lock(descriptor, fcntl.LOCK_EX):
            if found := running(data_dir):
                hint = "use it, stop it, or choose another --data-dir"
                raise DataDirInUse(f"{data_dir} is in use by process {found.pid}", hint=hint)
            if time.monotonic() > deadline:
                left = " ".join(str(pid) for pid in (_read(data_dir) or _NOBODY).pids.values() if is_alive(pid))
                raise DataDirInUse(f"processes of an earlier run still use {data_dir}", hint=f"end them: kill {left}")
            await asyncio.sleep(POLL_S)
        yield descriptor
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_locked(data_dir: Path) -> bool:
    try:
        descriptor = os.open(data_dir / "run" / "lock", os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        return not _try_lock(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


_NOBODY = Addresses(kafka="", milvus="", blobs="")


def write_addresses(data_dir: Path, addresses: Addresses) -> None:
    """Say where everything answers."""
    write_atomically(run_dir(data_dir) / "addresses.json", addresses.model_dump_json(indent=2))


def forget_addresses(data_dir: Path) -> None:
    """Say that nothing runs any more."""
    (run_dir(data_dir) / "addresses.json").unlink(missing_ok=True)


def _read(data_dir: Path) -> Addresses | None:
    try:
        return Addresses.model_validate_json((data_dir / "run" / "addresses.json").read_text())
    except (FileNotFoundError, ValueError):
        return None


def running(data_dir: Path) -> Addresses | None:
    """What ``up`` wrote, where it still runs."""
    found = _read(data_dir)
    return found if found and is_alive(found.pid) and _is_locked(data_dir) else None


def blob_root(settings: Settings) -> str:
    """The URI of the blob store."""
    return settings.blobs or (settings.data_dir.absolute() / "blobs").as_uri()


def resolve(settings: Settings, *, needs_store: bool = True) -> Addresses:
    """Where Kafka, Milvus and the blobs are. Raises ``NotRunning``.

    Who only publishes and asks needs no store: its address may then be empty.
    """
    found = running(settings.data_dir)
    kafka = settings.kafka or (found.kafka if found else "")
    milvus = settings.milvus or (found.milvus if found else "")
    if not kafka or (needs_store and not milvus):
        names = "SENSORIUM_KAFKA and SENSORIUM_MILVUS" if needs_store else "SENSORIUM_KAFKA"
        raise NotRunning(f"nothing runs on {settings.data_dir}", hint=f"start it with `sensorium up`, or set {names}")
    here = found or _NOBODY
    return here.model_copy(
        update={
            "kafka": kafka_address(kafka, settings),
            "milvus": milvus,
            "blobs": settings.blobs or here.blobs or blob_root(settings),
            # Workers on other machines are not waited for: their topics keep what is published.
            "ready": here.ready or kafka != here.kafka,
        }
    )


async def wait_ready(settings: Settings, timeout_s: float = 60.0, *, grace_s: float = GRACE_S) -> Addresses:
    """Wait until ``up`` says that everything is ready. Raises ``NotRunning`` where it is not after ``timeout_s``.

    Within ``grace_s`` an ``up`` may still have to come.
    """
    started = time.monotonic()
    while True:
        waited = time.monotonic() - started
        try:
            addresses = resolve(settings, needs_store=False)
        except NotRunning:
            if waited > min(grace_s, timeout_s):
                raise
        else:
            if addresses.ready:
                return addresses
            if waited > timeout_s:
                raise NotRunning(
                    f"the workers of {settings.data_dir} were not ready after {timeout_s:.0f} s",
                    hint=f"`sensorium status` shows which is missing; the logs are in {settings.data_dir / 'logs'}",
                )
        await asyncio.sleep(POLL_S)


def write_worker(data_dir: Path, state: WorkerState) -> None:
    """Say how this worker process is."""
    write_atomically(run_dir(data_dir) / f"worker-{state.pid}.json", state.model_dump_json())


def forget_worker(data_dir: Path, pid: int) -> None:
    """Say that a worker process has ended."""
    (run_dir(data_dir) / f"worker-{pid}.json").unlink(missing_ok=True)


def forget_workers(data_dir: Path) -> None:
    """Say that no worker process runs."""
    for path in (data_dir / "run").glob("worker-*.json"):
        path.unlink(missing_ok=True)


def workers(data_dir: Path) -> Iterator[WorkerState]:
    """The worker processes that run on this data folder."""
    for path in sorted((data_dir / "run").glob("worker-*.json")):
        try:
            state = WorkerState.model_validate_json(path.read_text())
        except (FileNotFoundError, ValueError):
            continue
        if is_alive(state.pid):
            yield state


def write_stopped(data_dir: Path, stopped: StoppedStage) -> None:
    """Say that a stage has stopped itself."""
    write_atomically(run_dir(data_dir) / f"stopped-{stopped.stage}.json", stopped.model_dump_json(indent=2))


def stopped_stages(data_dir: Path) -> list[StoppedStage]:
    """The stages that have stopped themselves."""
    found = []
    for path in sorted((data_dir / "run").glob("stopped-*.json")):
        with suppress(FileNotFoundError, ValueError):
            found.append(StoppedStage.model_validate_json(path.read_text()))
    return found


def forget_stopped(data_dir: Path, stage: str = "*") -> None:
    """Somebody has looked: the stage, or each, may start again."""
    for path in (data_dir / "run").glob(f"stopped-{stage}.json"):
        path.unlink(missing_ok=True)


def is_alive(pid: int) -> bool:
    """Whether a process of this id exists and is no zombie."""
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except PermissionError:  # another user's process
        return True
    except ProcessLookupError:
        return False
    except FileNotFoundError:  # it has just ended, or this system has no /proc
        return not Path("/proc/self").exists()
