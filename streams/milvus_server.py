"""milvus-lite in server mode, on loopback: one process for one data folder, started by ``sensorium up``."""

from __future__ import annotations

import sys
from pathlib import Path

from streams.child import Child, free_port

START_TIMEOUT_S = 60.0


async def start_milvus(data_dir: Path, *, port: int = 0) -> tuple[Child, str]:
    """Start the store on ``<data_dir>/milvus``; the child and its URI."""
    port = port or free_port()
    folder = data_dir / "milvus"
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "workers.store.lite", str(folder), "--port", str(port)]
    child = await Child.start("the store", command, log=data_dir / "logs" / "milvus.log")
    await child.listening(port, START_TIMEOUT_S)
    return child, f"http://127.0.0.1:{port}"
