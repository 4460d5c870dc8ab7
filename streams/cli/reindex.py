"""``reindex``: another index generation beside the one in use, compared with it, switched to, rolled back, dropped."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from schemas.base import DEFAULT_TENANT
from streams.cli.common import output, print_json, settings
from streams.cli.render import harmless

if TYPE_CHECKING:
    from streams.compare import Comparison
    from streams.reindex import GenerationState, Switched

app = typer.Typer(
    help="Build a new index generation (other models, other chunking) beside the one in use, and switch to it.",
    no_args_is_help=True,
)

Json = Annotated[bool, typer.Option("--json", help="JSON objects, one a line.")]
Name = Annotated[str, typer.Argument(help="The generation: lower-case letters and digits.")]


def register(parent: typer.Typer) -> None:
    """Add the commands."""
    parent.add_typer(app, name="reindex")


@app.command()
def start(
    name: Name,
    change: Annotated[
        list[str] | None,
        typer.Option("--set", help="A setting in which it differs, such as LIMITS__PASSAGE_TOKENS=120. Repeatable."),
    ] = None,
) -> int:
    """Have `sensorium up` build a new generation from everything that was published, and keep it up to date.

    Without `up`, start its workers yourself: SENSORIUM_GENERATION=NAME sensorium worker --stage extract ...
    """
    from streams.reindex import Reindexing

    Reindexing(settings()).start(name, change or [])
    output.print(f"{name} is being built: `sensorium reindex status` shows how far it is")
    return 0


@app.command()
def status(as_json: Json = False) -> int:
    """Show the generations: which is in use, what each holds, what is missing, how far its stages are."""
    from streams.reindex import Reindexing

    states = asyncio.run(Reindexing(settings()).states())
    if as_json:
        for state in states:
            print_json(state.model_dump())
        return 0
    output.print(_table(states))
    return 0


def _table(states: list[GenerationState]) -> Table:
    stages = list(states[0].lag) if states else []
    columns = ("generation", "in use", "documents", "missing", "chunks", *(f"{stage} lag" for stage in stages))
    table = Table(*columns, "settings", box=None, pad_edge=False, header_style="dim")
    for state in states:
        numbers = [state.documents, state.missing, state.chunks, *state.lag.values()]
        changes = " ".join(f"{name}={value}" for name, value in state.settings.items())
        table.add_row(state.name, "yes" if state.in_use else "", *map(str, numbers), escape(changes))
    return table


@app.command()
def compare(
    name: Name,
    queries: Annotated[
        Path | None, typer.Option(help="Questions, one a line: words, or JSON as search --batch reads it.")
    ] = None,
    last: Annotated[int, typer.Option(help="Without --queries: so many of the questions that were asked last.")] = 20,
    tenant: Annotated[str, typer.Option(help="Whose documents.")] = DEFAULT_TENANT,
    as_json: Json = False,
) -> int:
    """Ask the generation in use and NAME the same questions, and show how much of what they find is the same."""
    found = asyncio.run(_compare(name, queries, last, tenant))
    if as_json:
        print_json(found.model_dump())
        return 0
    table = Table("question", "overlap", "same first", found.before, found.after, box=None, header_style="dim")
    for one in found.questions:
        times = f"{one.before_s:.2f} s", f"{one.after_s:.2f} s"
        table.add_row(escape(harmless(one.question)), f"{one.overlap:.2f}", "yes" if one.same_first else "no", *times)
    output.print(table)
    output.print(
        f"\n{len(found.questions)} questions: overlap of the first ten documents {found.overlap:.2f}, same first "
        f"{found.same_first:.2f}, median {found.before_p50_s:.2f} s and {found.after_p50_s:.2f} s"
    )
    return 0


async def _compare(name: str, queries: Path | None, last: int, tenant: str) -> Comparison:
    from streams.client import Client
    from streams.compare import compare, from_file, recent
    from streams.reindex import Reindexing
    from streams.runtime import resolve

    chosen = settings()
    before = await Reindexing(chosen).before(name)
    asked = from_file(queries) if queries else await recent(resolve(chosen).kafka, tenant, last)
    async with Client(chosen) as client:
        return await compare(client, asked, before, name, tenant=tenant)


@app.command()
def switch(
    name: Name,
    force: Annotated[bool, typer.Option("--force", help="Also where it has not caught up.")] = False,
    as_json: Json = False,
) -> int:
    """Let NAME answer from now on. No question is lost or answered twice; the other goes on being built."""
    from streams.reindex import Reindexing

    _tell(asyncio.run(Reindexing(settings()).switch(name, force=force)), as_json=as_json)
    return 0


@app.command()
def rollback(as_json: Json = False) -> int:
    """Let the generation answer again that did before the last switch."""
    from streams.reindex import Reindexing

    _tell(asyncio.run(Reindexing(settings()).rollback()), as_json=as_json)
    return 0


@app.command()
def drop(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> int:
    """Remove a generation that is not in use: its workers, its rows, its topics. What was published stays."""
    from streams.reindex import Reindexing

    if not yes:
        typer.confirm(f"drop the generation {name} and all its rows?", abort=True)
    asyncio.run(Reindexing(settings()).drop(name))
    output.print(f"{name} is gone")
    return 0


def _tell(switched: Switched, *, as_json: bool) -> None:
    if as_json:
        print_json(switched.model_dump())
    else:
        output.print(f"{switched.generation} answers now, {switched.before} did until now ({switched.seconds:.2f} s)")
