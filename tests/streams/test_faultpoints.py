"""Fault points: what is armed, where it kills, and that it does so once."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from streams.faultpoints import armed, fired, nowhere, parse

PASSES = """
import sys
from pathlib import Path
from streams.faultpoints import armed
reach = armed(sys.argv[1], "embed", Path(sys.argv[2]))
for number in (1, 2, 3):
    reach("consumed")
    reach("acked")
    print(number, flush=True)
"""


def passes(faults: str, data_dir: Path) -> tuple[int, int]:
    """The exit code of a process that passes three times, and how often it got through."""
    done = subprocess.run(
        [sys.executable, "-c", PASSES, faults, str(data_dir)], capture_output=True, check=False, timeout=30
    )
    return done.returncode, len(done.stdout.split())


def test_kills_at_the_nth_passage_once_for_each_entry(tmp_path: Path) -> None:
    faults = "embed:acked:2, index:consumed:1,embed:consumed:1"
    assert passes(faults, tmp_path) == (-signal.SIGKILL, 0)
    assert fired(tmp_path) == {"embed:consumed:1"}
    assert passes(faults, tmp_path) == (-signal.SIGKILL, 1)
    assert passes(faults, tmp_path) == (0, 3)
    assert fired(tmp_path) == {"embed:consumed:1", "embed:acked:2"}


def test_nothing_is_armed_by_default_or_for_another_stage(tmp_path: Path) -> None:
    assert armed("", "embed", tmp_path) is nowhere
    assert armed("index:effect:1", "embed", tmp_path) is nowhere
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["embed", "embed:effect", "embed:lunch:1", "embed:effect:0", "embed:effect:x"])
def test_entries_that_cannot_be_read(text: str) -> None:
    with pytest.raises(ValueError, match="stage:point:nth"):
        parse(text)
