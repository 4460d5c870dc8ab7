"""Systems that several end-to-end tests share: they take seconds to start."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from streams.settings import Settings
from tests.e2e.system import running


@pytest.fixture(scope="session")
def running_system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """``sensorium up`` as a user starts it: the embedded broker, the local profile."""
    with running(tmp_path_factory.mktemp("system") / "data") as settings:
        yield settings


@pytest.fixture(scope="session")
def need() -> Callable[[str, str], str]:
    """The path of a system tool. Where it is missing the test is skipped; in continuous integration it fails."""

    def find(tool: str, hint: str) -> str:
        path = shutil.which(tool)
        if path is None:
            (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{tool} is not installed; {hint}")
        return path

    return find


@pytest.fixture
def samples() -> Path:
    """The sample media of the repository."""
    return Path(__file__).parents[2] / "samples"
