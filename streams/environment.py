"""The environment of a worker process: the settings of the one who starts it, and the bounds of its threads."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr

from streams.runtime import Addresses
from streams.settings import Settings

PREFIX = "SENSORIUM_"
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def to_environment(settings: Settings) -> dict[str, str]:
    """The variables that make ``Settings()`` equal to ``settings`` in another process; what is default is left out."""
    chosen = settings.model_fields_set
    plain = {name: _revealed(getattr(settings, name)) for name in settings.model_dump(include=chosen)}
    return {
        f"{PREFIX}{name.upper()}": value if isinstance(value, str) else json.dumps(value)
        for name, value in plain.items()
    }


def _revealed(value: Any) -> Any:
    """``value`` as JSON has it, its secrets in the clear: for the environment of a child process, nothing else."""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, BaseModel):
        return {name: _revealed(each) for name, each in value}
    if isinstance(value, Mapping):
        return {name: _revealed(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_revealed(each) for each in value]
    return str(value) if isinstance(value, Path) else value


def worker_environment(settings: Settings, addresses: Addresses, number: int) -> Mapping[str, str]:
    """What the ``number``-th worker process (from 0) is told. Each gets a metrics port of its own."""
    threads = str(settings.threads or min(4, os.cpu_count() or 1))
    told = {
        "data_dir": settings.data_dir.absolute(),
        "kafka": addresses.kafka,
        "milvus": addresses.milvus,
        "blobs": addresses.blobs,
        "metrics_port": settings.metrics_port + number if settings.metrics_port else 0,
    }
    return {
        **to_environment(settings.model_copy(update=told)),
        **dict.fromkeys(THREAD_VARIABLES, threads),
        "OMP_WAIT_POLICY": "PASSIVE",  # threads that spin while they wait take the cores from the other workers
        "TOKENIZERS_PARALLELISM": "false",
    }
