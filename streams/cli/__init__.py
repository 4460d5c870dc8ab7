"""The command line. Results go to standard output, everything else to standard error; imports wait for their command.

Exit codes: 0 good · 1 some things failed · 2 wrong usage · 3 nothing runs or answers · 4 no answer in time.
"""

from __future__ import annotations

import sys
from typing import NoReturn

import typer

from streams.cli import ask, documents, letters, reindex, system
from streams.cli.common import STATE, ExitCode, fail
from workers.errors import InvalidEvent, SensoriumError

HELP = """Ask questions of live media: text, images, audio and video that travel as Kafka events.

Start everything on this machine with `sensorium up`, then in a second terminal:

  sensorium publish talk.mp4 slides/ --source studio --wait

  sensorium ask "What was said about the ferry?"

Exit codes: 0 good · 1 some things failed · 2 wrong usage · 3 nothing runs or answers · 4 no answer in time.
"""


def _exit(code: int | None, **_: object) -> None:
    """What a command returns is the exit code."""
    raise typer.Exit(code or 0)


app = typer.Typer(
    help=HELP, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, result_callback=_exit
)
for module in (system, documents, ask, letters, reindex):
    module.register(app)


@app.callback()
def _options(
    data_dir: str = typer.Option("", "--data-dir", help="Folder of this machine's state; default .sensorium."),
    verbose: bool = typer.Option(False, "-v", "--verbose", help="Tracebacks and debug logs."),
) -> None:
    STATE.data_dir, STATE.verbose = data_dir, verbose


def main() -> NoReturn:
    """Run the program."""
    try:
        app()
    except (SensoriumError, BaseExceptionGroup, BrokenPipeError, KeyboardInterrupt) as error:
        sys.exit(_end(error))
    raise AssertionError("Typer ends the process")


def _end(error: BaseException) -> int:
    """What is said of an error, and the exit code."""
    if isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        return _end(error.exceptions[0])
    if isinstance(error, BrokenPipeError):
        sys.stderr.close()  # whoever read us has gone; nothing more is said
        return ExitCode.FAILED
    if isinstance(error, KeyboardInterrupt):
        return 130
    if STATE.verbose or not isinstance(error, SensoriumError):
        raise error
    return fail(error, ExitCode.FAILED if isinstance(error, InvalidEvent) else None)
