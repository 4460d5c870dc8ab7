"""The README's snippets run: Python and shell blocks, in order, against a running system."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from streams.settings import Settings
from tests.readme_map import ROOT

pytestmark = [pytest.mark.e2e, pytest.mark.models, pytest.mark.timeout(300)]

SNIPPETS = re.findall(r"^```(sh|python)\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)


def test_there_are_snippets_of_both_kinds() -> None:
    assert {kind for kind, _ in SNIPPETS} == {"sh", "python"}


async def test_snippets_run_as_they_stand(running_system: Settings) -> None:
    """In the order of the page: what is asked for has been published above (and, by other tests, from a live feed)."""
    printed = [await asyncio.to_thread(run, kind, text, running_system) for kind, text in SNIPPETS]
    everything = "".join("".join(printed).split())  # tables wrap
    for expected in ("ninetydays", "cat.jpg", "shows:daisy", "alarm-clock.ogg", "22:00", "late{"):
        assert expected in everything


def run(kind: str, text: str, settings: Settings) -> str:
    command = ["sh", "-e", "-c", text] if kind == "sh" else [sys.executable, "-c", text]
    env = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "SENSORIUM_DATA_DIR": str(settings.data_dir),
    }
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
    return done.stdout
