"""``dead-letters``: what the stages refused, and giving it back to them."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from streams.cli.common import ExitCode, errors, output, print_json, settings

if TYPE_CHECKING:
    from schemas.letters import DeadLetter

app = typer.Typer(help="What the stages refused: list, show, replay.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="One JSON object a line, the original bytes as base64.")]
Stage = Annotated[str, typer.Option(help="Only of this stage.")]
About = Annotated[str, typer.Option(help="Only about this document or query.")]


def register(parent: typer.Typer) -> None:
    """Add the commands."""
    parent.add_typer(app, name="dead-letters")


async def _read(stage: str, about: str) -> list[DeadLetter]:
    from streams.letterbox import read_letters
    from streams.runtime import wait_ready

    addresses = await wait_ready(settings())
    letters = await read_letters(addresses.kafka)
    return [x for x in letters if (not stage or x.stage == stage) and (not about or x.about == about)]


@app.command("list")
def list_(stage: Stage = "", about: About = "", as_json: Json = False) -> int:
    """Show all dead letters, oldest first."""
    letters = asyncio.run(_read(stage, about))
    if as_json:
        for letter in letters:
            print_json(letter.model_dump())
        return 0
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("when", "stage", "about", "error", "reason"):
        table.add_column(name, overflow="fold")
    for letter in letters:
        when = datetime.fromtimestamp(letter.failed_ms / 1000).astimezone().strftime("%H:%M:%S")
        table.add_row(when, letter.stage, escape(letter.about), letter.error, escape(letter.reason))
    output.print(table) if letters else errors.print("no dead letters")
    return 0


@app.command()
def show(about: Annotated[str, typer.Argument(help="A document id or a query id.")], as_json: Json = False) -> int:
    """Show the dead letters about one document or query, whole."""
    letters = asyncio.run(_read("", about))
    for letter in letters:
        if as_json:
            print_json(letter.model_dump())
            continue
        output.print(f"[bold]{escape(letter.about)}[/] {letter.stage} {letter.error}: {escape(letter.reason)}")
        output.print(f"hint: {escape(letter.hint)}" if letter.hint else "", end="\n" if letter.hint else "")
        output.print(f"{letter.topic} partition {letter.partition} offset {letter.offset}, attempts {letter.attempts}")
        for name, value in letter.original_headers:
            output.print(f"  {escape(name)}: {escape(value.decode(errors='replace'))}")
        output.print(f"  {len(letter.original_value or b'')} bytes")
    return 0 if letters else ExitCode.FAILED


@app.command()
def replay(
    stage: Stage = "",
    about: About = "",
    dry_run: Annotated[bool, typer.Option(help="Only say what would be replayed.")] = False,
) -> int:
    """Give the original records back to the topics that they came from, byte for byte."""
    from streams.letterbox import replay_letters
    from streams.runtime import resolve

    letters = asyncio.run(_read(stage, about))
    if not dry_run:
        asyncio.run(replay_letters(resolve(settings()).kafka, letters))
    output.print(f"{len(letters)} {'would be ' if dry_run else ''}replayed")
    return 0
