"""milvus-lite in server mode, on loopback: one process for one data folder, started by ``sensorium up``.

It is ``workers/store/lite.py``, which makes milvus-lite's writes safe. Raises ``ChildFailed``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from streams.child import Child, ChildFailed, free_ports

START_TIMEOUT_S = 60.0


async def start_milvus(data_dir: Path, *, port: int = 0, keep_open: Sequence[int] = ()) -> tuple[Child, str]:
    """Start the store on ``<data_dir>/milvus``; the child and its URI."""
    (port,) = (port,) if port else free_ports(1)
    folder = data_dir / "milvus"
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "workers.store.lite", str(folder), "--port", str(port)]
    log = data_dir / "logs" / "milvus.log"
    try:
        child = await Child.serve(
            "the store", command, port=port, timeout_s=START_TIMEOUT_S, log=log, keep_open=keep_open
        )
    except ChildFailed as error:
        if "DataDirLockedError" in error.reason:
            raise ChildFailed(
                f"another process has opened the store in {folder}", hint="stop it, or choose another --data-dir"
            ) from error
        raise
    return child, f"http://127.0.0.1:{port}"
