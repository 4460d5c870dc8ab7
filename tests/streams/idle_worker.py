"""A worker process without models: it says that it is ready, and ends on SIGTERM.

``python idle_worker.py MODE STAGE…``; modes: ``ready``; ``stubborn`` ignores SIGTERM; ``crash`` ends at once with 7;
``once`` crashes the first time only, which a file in the data folder remembers; ``first`` crashes in every generation
but the first; ``refuses`` stops itself if it is ``extract``.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from streams.restarts import STOPPED
from streams.runtime import StoppedStage, WorkerState, write_stopped, write_worker


def main(mode: str, *stages: str) -> None:
    data_dir = Path(os.environ["SENSORIUM_DATA_DIR"])
    has_crashed = data_dir / f"{stages[0]}-has-crashed"
    if mode == "crash" or (mode == "once" and not has_crashed.exists()):
        has_crashed.touch()
        print("no luck", flush=True)
        sys.exit(7)
    if mode == "first" and os.environ["SENSORIUM_GENERATION"] != "first":
        sys.exit(7)
    if mode == "refuses" and "extract" in stages:
        write_stopped(data_dir, StoppedStage(stage="extract", reason="too much", hint="look", at_ms=1))
        sys.exit(STOPPED)
    told = {name: value for name, value in os.environ.items() if name.startswith(("SENSORIUM_", "OMP_"))}
    (data_dir / f"{os.getpid()}.told").write_text(repr(told))
    signal.signal(signal.SIGTERM, signal.SIG_IGN if mode == "stubborn" else lambda *_: sys.exit(0))
    now_ms = time.time_ns() // 1_000_000
    generation = os.environ["SENSORIUM_GENERATION"]
    state = WorkerState(pid=os.getpid(), stages=stages, generation=generation, state="ready", since_ms=now_ms)
    write_worker(data_dir, state)
    while True:
        signal.pause()


if __name__ == "__main__":
    main(*sys.argv[1:])
