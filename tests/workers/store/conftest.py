"""A real milvus-lite server for the whole run, and stores in collections of their own."""

from __future__ import annotations

import itertools
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.workers.made import DIMENSION
from workers.store.vectors import MilvusStore

_numbers = itertools.count()


@pytest.fixture(scope="session")
def milvus_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a milvus-lite server in a process of its own."""
    with serve(tmp_path_factory.mktemp("milvus")) as uri:
        yield uri


class serve:  # noqa: N801 # reads as a verb
    """A milvus-lite server on ``folder`` for as long as the block runs."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        command = [sys.executable, "-m", "workers.store.lite", str(folder), "--port", str(port)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        return f"http://{line.split()[-1]}"

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=20)
        assert self.process.stdout is not None
        self.process.stdout.close()


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
async def store(milvus_uri: str) -> AsyncIterator[MilvusStore]:
    """An empty store."""
    name = f"test{next(_numbers)}"
    store = MilvusStore(milvus_uri, collection=name, dimension=DIMENSION, fingerprint="g1")
    await store.start()
    yield store
    await store.stop()
