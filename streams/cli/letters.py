"""``dead-letters``: what the stages refused, and giving it back to them."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from streams.cli.common import ExitCode, errors, moment, output, print_json, settings
from streams.cli.render import harmless

if TYPE_CHECKING:
    from schemas.letters import DeadLetter

app = typer.Typer(help="What the stages refused: list, show, replay.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="One JSON object a line, the original bytes as base64.")]
Stage = Annotated[str, typer.Option(help="Only of this stage.")]
Error = Annotated[str, typer.Option(help="Only this kind of error, such as InvalidMedia.")]
Tenant = Annotated[str, typer.Option(help="Only of this tenant.")]
Document = Annotated[str, typer.Option("--document", "--about", help="Only about this document or query.")]
Since = Annotated[str, typer.Option(help="Only since then: 5m, 2h, 1d, or an ISO time.")]
All = Annotated[bool, typer.Option("--all", help="Those that were replayed, too.")]


def register(parent: typer.Typer) -> None:
    """Add the commands."""
    parent.add_typer(app, name="dead-letters")


async def _read(
    stage: str, error: str, tenant: str, about: str, since: str, *, replayed: bool
) -> tuple[str, list[DeadLetter]]:
    """Where Kafka is, and the letters."""
    from streams.letterbox import LetterFilter, read_letters
    from streams.runtime import resolve

    since_ms = moment(since, time.time_ns() // 1_000_000)
    kafka = resolve(settings(), needs_store=False).kafka  # a stage that has stopped is no reason to wait
    chosen = LetterFilter(stage=stage, error=error, tenant=tenant, about=about, since_ms=since_ms)
    return kafka, await read_letters(kafka, chosen, replayed=replayed)


@app.command("list")
def list_(
    stage: Stage = "",
    error: Error = "",
    tenant: Tenant = "",
    document: Document = "",
    since: Since = "",
    all_: All = False,
    as_json: Json = False,
) -> int:
    """Show the dead letters that were not replayed, oldest first."""
    _, letters = asyncio.run(_read(stage, error, tenant, document, since, replayed=all_))
    if as_json:
        for letter in letters:
            print_json(letter.model_dump())
        return 0
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("when", "stage", "tenant", "about", "error", "reason"):
        table.add_column(name, overflow="fold")
    for letter in letters:
        when = datetime.fromtimestamp(letter.failed_ms / 1000).astimezone().strftime("%m-%d %H:%M:%S")
        table.add_row(when, *map(_plain, (letter.stage, letter.tenant, letter.about, letter.error, letter.reason)))
    output.print(table) if letters else errors.print("no dead letters")
    return 0


@app.command()
def show(
    about: Annotated[str, typer.Argument(help="A document id or a query id, with or without its tenant/.")],
    as_json: Json = False,
) -> int:
    """Show the dead letters about one document or query, whole."""
    _, letters = asyncio.run(_read("", "", "", about, "", replayed=True))
    for letter in letters:
        if as_json:
            print_json(letter.model_dump())
            continue
        output.print(f"[bold]{_plain(letter.about)}[/] {letter.stage} {letter.error}: {_plain(letter.reason)}")
        if letter.hint:
            output.print(f"hint: {_plain(letter.hint)}")
        output.print(f"{letter.topic} partition {letter.partition} offset {letter.offset}, attempts {letter.attempts}")
        for name, value in letter.original_headers:
            output.print(f"  {_plain(name)}: {_plain((value or b'').decode(errors='replace'))}")
        output.print(f"  {len(letter.original_value or b'')} bytes" if letter.is_whole else "  too many bytes to keep")
    if not letters:
        errors.print(f"no dead letters about {_plain(about)}")
    return 0 if letters else ExitCode.FAILED


@app.command()
def replay(
    stage: Stage = "",
    error: Error = "",
    tenant: Tenant = "",
    document: Document = "",
    since: Since = "",
    all_: All = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be replayed.")] = False,
) -> int:
    """Give the original records back to the stages that refused them, byte for byte.

    Each goes to the topic and the partition that it came from. What was replayed before is left out without --all.
    """
    from streams.letterbox import replay_letters

    kafka, letters = asyncio.run(_read(stage, error, tenant, document, since, replayed=all_))
    left_out = []
    if not dry_run and letters:
        left_out = asyncio.run(replay_letters(kafka, letters))
    for letter in left_out:
        place = f"{letter.topic}, partition {letter.partition}, offset {letter.offset}"
        errors.print(f"{_plain(letter.about)} is not replayed: its bytes were too many to keep; they lie at {place}")
    ways = Counter((letter.topic, letter.stage) for letter in letters if letter not in left_out)
    done = "would be replayed" if dry_run else "replayed"
    for (topic, by), count in sorted(ways.items()):
        output.print(f"{count} {done} to {topic}, through {by}")
    if not letters:
        errors.print("no dead letters to replay")
    return ExitCode.FAILED if left_out else 0


@app.command()
def resume(stage: Annotated[str, typer.Option(help="The stage that stopped itself.")]) -> int:
    """Let a stage that stopped because it refused too much start again. Mend the cause first."""
    from streams.runtime import forget_stopped, stopped_stages

    chosen = settings()
    if stage not in [stopped.stage for stopped in stopped_stages(chosen.data_dir)]:
        errors.print(f"{_plain(stage)} has not stopped itself on {chosen.data_dir}")
        return ExitCode.FAILED
    forget_stopped(chosen.data_dir, stage)
    output.print(f"{stage} may start again: start its worker, or `sensorium up`")
    return 0


def _plain(text: str) -> str:
    """``text`` as it is: neither markup nor control characters of a document reach the terminal."""
    return escape(harmless(text))
