"""What the commands share: settings, errors, times, JSON lines."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from pydantic import ValidationError
from pydantic_core import to_json
from rich.console import Console

from workers.errors import SensoriumError

if TYPE_CHECKING:
    from streams.settings import Settings


class ExitCode(IntEnum):
    """What the exit code means."""

    FAILED = 1
    USAGE = 2
    NOT_RUNNING = 3
    TIMEOUT = 4


@dataclass
class State:
    """The options that stand before the command."""

    data_dir: str = ""
    verbose: bool = False


STATE = State()
errors = Console(stderr=True, highlight=False)
output = Console(highlight=False)

_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|d)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def settings(**changes: Any) -> Settings:
    """The settings, with the options of the command line over them."""
    from streams.logs import configure
    from streams.settings import Settings

    configure(level="debug" if STATE.verbose else "warning")  # standard output is for results
    if STATE.data_dir:
        changes["data_dir"] = Path(STATE.data_dir)
    try:
        return Settings(**changes)
    except ValidationError as error:
        complaint = error.errors(include_url=False)[0]
        name = "__".join(str(part) for part in complaint["loc"]).upper()
        raise typer.BadParameter(f"the setting SENSORIUM_{name}: {complaint['msg']}") from error


def fail(error: SensoriumError, code: ExitCode | None = None) -> int:
    """Say what happened and what to do; the exit code."""
    errors.print(f"[bold red]error:[/] {_plain(error.reason)}")
    if error.hint:
        errors.print(f"[bold]hint:[/] {_plain(error.hint)}")
    return code or _code(error)


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def _code(error: SensoriumError) -> ExitCode:
    name = type(error).__name__
    if name == "UsageError":
        return ExitCode.USAGE
    if name in ("NotRunning", "TransientError", "ChildFailed"):
        return ExitCode.NOT_RUNNING
    return ExitCode.TIMEOUT if name == "NoAnswer" else ExitCode.FAILED


def moment(text: str, now_ms: int) -> int | None:
    """``5m``, ``2h`` (ago) or an ISO time as milliseconds since the epoch; ``None`` for nothing."""
    if not text:
        return None
    if span := _SPAN.fullmatch(text.strip()):
        return now_ms - int(float(span[1]) * _SECONDS[span[2]] * 1000)
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is neither a span such as 5m or 2h nor an ISO time") from error
    return int((parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp() * 1000)


def print_json(value: Any) -> None:
    """One JSON object on one line of standard output."""
    sys.stdout.write(to_json(value, bytes_mode="base64").decode() + "\n")
    sys.stdout.flush()
