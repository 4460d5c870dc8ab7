"""The command line: help, usage errors, exit codes, JSON lines; without a running system."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer
from rich.console import Console

from schemas.answers import Hit
from schemas.media import Modality
from streams.cli.common import moment
from streams.cli.render import clock, harmless, hit_table, place
from streams.runtime import StoppedStage, stopped_stages, write_stopped

NOW_MS = 1_800_000_000_000


def sensorium(*arguments: str, stdin: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    """Run the program as a user does."""
    return subprocess.run(
        [sys.executable, "-m", "streams", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "COLUMNS": "100", **env},
    )


def test_help_is_quick_and_shows_every_command() -> None:
    started = time.perf_counter()
    done = sensorium("--help")
    assert done.returncode == 0
    assert time.perf_counter() - started < 5.0, "a heavy import has crept into the command line"
    for command in ("up", "worker", "publish", "feed", "ask", "search", "delete", "status", "dead-letters", "bench"):
        assert f" {command} " in done.stdout


def test_the_command_line_imports_nothing_heavy() -> None:
    code = "import sys, streams.cli; print([n for n in ('torch', 'faust', 'pymilvus', 'aiokafka') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "arguments",
    [
        ("ask", "x", "--since", "yesterday-ish"),
        ("ask", "x", "--modality", "smell"),
        ("search", "x", "--stage", "generate"),
        ("worker", "--stage", "nonsense"),
        ("up", "--broker", "rabbit"),
        ("publish", "no-such-file.txt"),
        ("delete",),
        ("delete", "some.txt", "--source", "desk"),
        ("delete", "--source", "desk", "--everything"),
        ("no-such-command",),
    ],
)
def test_wrong_usage_exits_with_2_and_no_traceback(arguments: tuple[str, ...]) -> None:
    done = sensorium(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert "Error" in done.stderr


def test_nothing_running_exits_with_3_and_says_what_to_type(tmp_path: Path) -> None:
    done = sensorium("--data-dir", str(tmp_path), "ask", "anything?")
    assert done.returncode == 3
    assert "error: nothing runs on" in done.stderr
    assert "hint: start it with `sensorium up`" in done.stderr
    assert done.stdout == ""


def test_a_wrong_setting_is_named(tmp_path: Path) -> None:
    done = sensorium("status", SENSORIUM_BATCH_SIZE="many", SENSORIUM_DATA_DIR=str(tmp_path))
    assert done.returncode == 2
    assert "SENSORIUM_BATCH_SIZE" in done.stderr


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ("5m", NOW_MS - 300_000),
        ("1.5h", NOW_MS - 5_400_000),
        ("2026-11-23T10:00:00Z", 1_795_428_000_000),
        ("2026-11-23T10:00:00", 1_795_428_000_000),
    ],
)
def test_moments(text: str, expected: int | None) -> None:
    assert moment(text, NOW_MS) == expected


def test_a_moment_that_is_none_is_refused() -> None:
    with pytest.raises(typer.BadParameter, match="neither a span"):
        moment("soon", NOW_MS)


def picture(**fields: object) -> Hit:
    """A hit in a page of a document."""
    given: dict[str, object] = {
        "rank": 1,
        "score": 0.5,
        "chunk_id": "c",
        "document_id": "d",
        "version": 1,
        "source": "s",
        "source_uri": "u",
        "modality": Modality.IMAGE,
        "content_type": "image/png",
        "text": "t",
        "event_time_ms": 0,
        "page": 3,
        "box": (0.1, 0.2, 0.3, 0.4),
        **fields,
    }
    return Hit.model_validate(given)


def printed(*hits: Hit, width: int) -> str:
    console = Console(width=width, file=io.StringIO())
    console.print(hit_table(hits))
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def test_names_are_never_cut_in_two() -> None:
    hit = picture(source_uri="file:///archive/2026/programme%20one.mp4", text="very many words " * 20)
    assert "programme one.mp4" in printed(hit, width=80)


def test_a_document_without_an_address_is_named_by_its_id() -> None:
    assert "document-7" in printed(picture(source_uri="", document_id="document-7"), width=80)


def test_documents_cannot_steer_the_terminal() -> None:
    assert harmless("red \x1b[31malert\x07\x9b2J\nand\ttabs") == "red [31malert2J\nand\ttabs"
    assert "\x1b" not in printed(picture(text="\x1b]0;owned\x07", source_uri="x\x1b[2J.png"), width=200)


def test_places_are_readable() -> None:
    hit = picture()
    assert place(hit) == "page 3, box 0.10 0.20 0.30 0.40"
    assert clock(83_500) == "1:23.5"
    assert json.loads(hit.model_dump_json())["box"] == [0.1, 0.2, 0.3, 0.4]


def test_dead_letters_are_filtered_replayed_and_a_stopped_stage_may_go_on(tmp_path: Path) -> None:
    shown = sensorium("dead-letters", "replay", "--help").stdout
    for option in ("--stage", "--error", "--tenant", "--document", "--since", "--all", "--dry-run"):
        assert option in shown
    done = sensorium("--data-dir", str(tmp_path), "dead-letters", "resume", "--stage", "embed")
    assert (done.returncode, "has not stopped" in done.stderr) == (1, True)
    write_stopped(tmp_path, StoppedStage(stage="embed", reason="too much", hint="look", at_ms=1))
    done = sensorium("--data-dir", str(tmp_path), "dead-letters", "resume", "--stage", "embed")
    assert (done.returncode, "embed may start again" in done.stdout) == (0, True)
    assert stopped_stages(tmp_path) == []
    done = sensorium("--data-dir", str(tmp_path), "dead-letters", "list", "--since", "5m")
    assert done.returncode == 3
    assert "nothing runs" in done.stderr
