"""Start a decoder process.

In: its bounds. Out: the process, the worker's end of the socket between them, and what it writes to standard error.
Raises ``OSError`` where the system does not allow another process.
"""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from workers.sandbox.bounds import Bounds
from workers.sandbox.child import Start
from workers.sandbox.wire import REQUEST

_ENVIRONMENT: Final = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "2",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONUTF8": "1",
}
"""All that it gets of the environment: secrets stay with the worker."""
STARTER: Final = ThreadPoolExecutor(1, thread_name_prefix="decoders")
"""To be started in. It lives as long as the worker: a parent-death signal comes with the end of the *thread*."""


@dataclass(frozen=True, slots=True)
class Started:
    """A process that runs."""

    process: subprocess.Popen[bytes]
    connection: socket.socket
    stderr: IO[bytes]


def started(bounds: Bounds, packages: tuple[str, ...]) -> Started:
    """A new process; its first answer says whether it is confined."""
    ours, theirs = socket.socketpair()
    stderr = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the process
    path = os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path if entry)
    try:
        process = subprocess.Popen(  # noqa: S603  # this interpreter, with words of ours
            [sys.executable, "-P", "-c", f"from workers.sandbox.child import main; main({theirs.fileno()})"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            pass_fds=[theirs.fileno()],
            env={**_ENVIRONMENT, "PYTHONPATH": path},
            cwd="/",
            start_new_session=True,
        )
    except OSError:
        ours.close()
        stderr.close()
        raise
    finally:
        theirs.close()
    body = pickle.dumps(Start(os.getpid(), bounds.memory_mib, packages))
    ours.sendall(REQUEST.pack(len(body)) + body)
    ours.setblocking(False)
    return Started(process, ours, stderr)
