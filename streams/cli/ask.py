"""``ask`` and ``search``: one question, or many as JSON lines."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli.common import ExitCode, errors, fail, moment, output, print_json, settings

if TYPE_CHECKING:
    from schemas.answers import Hit, StreamEvent
    from streams.client import AskOptions, Client

BATCH_CONCURRENCY = 4

Question = Annotated[str, typer.Argument(help="The question, in words.")]
Image = Annotated[Path | None, typer.Option(help="A picture as (a part of) the question.", dir_okay=False)]
Audio = Annotated[Path | None, typer.Option(help="A sound as (a part of) the question.", dir_okay=False)]
Video = Annotated[Path | None, typer.Option(help="A video as (a part of) the question.", dir_okay=False)]
Modalities = Annotated[
    list[str] | None, typer.Option("--modality", help="Only this kind: text, image, audio or video. Repeatable.")
]
Sources = Annotated[list[str] | None, typer.Option("--source", help="Only from this source. Repeatable.")]
Since = Annotated[str, typer.Option(help="Only what happened since: 5m, 2h (ago), or an ISO time.")]
Until = Annotated[str, typer.Option(help="Only what happened before: 5m, 2h (ago), or an ISO time.")]
Tenant = Annotated[str, typer.Option(help="Whose documents.")]
Limit = Annotated[int, typer.Option(min=1, max=200, help="How many hits, or pieces of evidence.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]
Batch = Annotated[
    str,
    typer.Option(
        help='Many questions as JSON lines from a file, "-" for standard input: '
        '{"id", "question", "image", "audio", "video", "modality"}; the id comes back on every line.'
    ),
]
Timeout = Annotated[float, typer.Option(help="Seconds of silence after which an answer is given up.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(ask)
    app.command()(search)


def ask(
    question: Question = "",
    image: Image = None,
    audio: Audio = None,
    video: Video = None,
    modality: Modalities = None,
    source: Sources = None,
    since: Since = "",
    until: Until = "",
    tenant: Tenant = "default",
    limit: Limit = 6,
    as_json: Json = False,
    batch: Batch = "",
    timeout: Timeout = 120.0,
) -> int:
    r"""Ask, and read the answer as it is written, with its evidence.

    Examples:
      sensorium ask "When does the night shift begin?"

      sensorium ask "What was said about the ferry?" --since 5m --source harbour

      sensorium ask --image photo.jpg "Where is this shown?"
    """
    options = _options(image, audio, video, modality, source, since, until, tenant, limit)

    async def one(client: Client, words: str, options: AskOptions, tag: dict[str, Any]) -> bool:
        return await _show_answer(client.ask(words, options, timeout_s=timeout), tag, as_json=as_json or bool(batch))

    return asyncio.run(_many(batch, options, one) if batch else _single(question, options, one))


def search(
    question: Question = "",
    image: Image = None,
    audio: Audio = None,
    video: Video = None,
    modality: Modalities = None,
    source: Sources = None,
    since: Since = "",
    until: Until = "",
    tenant: Tenant = "default",
    limit: Limit = 10,
    stage: Annotated[str, typer.Option(help="Stop after this stage: retrieve, rerank or refine.")] = "refine",
    as_json: Json = False,
    batch: Batch = "",
    timeout: Timeout = 120.0,
) -> int:
    """Search: ranked chunks, without an answer."""
    from schemas.queries import QueryStage

    if stage not in ("retrieve", "rerank", "refine"):
        raise typer.BadParameter(f"{stage!r} is not one of retrieve, rerank, refine", param_hint="--stage")
    options = _options(image, audio, video, modality, source, since, until, tenant, limit)

    async def one(client: Client, words: str, options: AskOptions, tag: dict[str, Any]) -> bool:
        hits = await client.search(words, options, stage=QueryStage(stage), timeout_s=timeout)
        _show_hits(hits, tag, as_json=as_json or bool(batch))
        return True

    return asyncio.run(_many(batch, options, one) if batch else _single(question, options, one))


One = Callable[["Client", str, "AskOptions", dict[str, Any]], Awaitable[bool]]


async def _single(question: str, options: AskOptions, one: One) -> int:
    from streams.client import Client

    async with Client(settings()) as client:
        return 0 if await one(client, question, options, {}) else ExitCode.FAILED


async def _many(source: str, options: AskOptions, one: One) -> int:
    """Several questions at a time; a line that cannot be asked gives an error line and the exit code 1."""
    from streams.client import Client
    from workers.errors import SensoriumError

    gate = asyncio.Semaphore(BATCH_CONCURRENCY)

    async with Client(settings()) as client:

        async def run(line: str) -> bool:
            async with gate:
                tag: dict[str, Any] = {"id": None}
                try:
                    words, its_options, tag = _parsed(line, options)
                    return await one(client, words, its_options, tag)
                except (SensoriumError, ValueError) as error:
                    hint = error.hint if isinstance(error, SensoriumError) else "one JSON object a line"
                    print_json({**tag, "event": "Error", "error": str(error), "hint": hint})
                    return False

        lines = await asyncio.to_thread(_lines, source)
        good = await asyncio.gather(*(run(line) for line in lines if line.strip()))
    return 0 if all(good) else ExitCode.FAILED


def _lines(source: str) -> list[str]:
    if source == "-":
        return sys.stdin.read().splitlines()
    try:
        return Path(source).read_text().splitlines()
    except OSError as error:
        raise typer.BadParameter(f"{source} cannot be read: {error.strerror}", param_hint="--batch") from error


def _parsed(line: str, options: AskOptions) -> tuple[str, AskOptions, dict[str, Any]]:
    """One line of a batch. Raises ``ValueError`` for a line that is no question."""
    found = json.loads(line)
    if not isinstance(found, dict):
        raise ValueError("the line is no JSON object")  # noqa: TRY004  # the value is wrong, not a type of ours
    unknown = found.keys() - {"id", "question", "image", "audio", "video", "modality"}
    if unknown:
        raise ValueError(f"unknown fields: {', '.join(sorted(unknown))}")
    kinds = found.get("modality") or ()
    changes: dict[str, Any] = {name: found[name] for name in ("image", "audio", "video") if found.get(name)}
    if kinds:
        changes["modalities"] = (kinds,) if isinstance(kinds, str) else tuple(kinds)
    its_options = type(options).model_validate({**options.model_dump(), **changes})
    return str(found.get("question") or ""), its_options, {"id": found.get("id")}


async def _show_answer(events: AsyncIterator[StreamEvent], tag: dict[str, Any], *, as_json: bool) -> bool:
    from schemas.answers import AnswerFailed
    from streams.cli.render import AnswerPrinter

    printer = AnswerPrinter(output)
    good = True
    async for event in events:
        if as_json:
            print_json({**tag, "event": type(event).__name__, **event.model_dump()})
            good = not isinstance(event, AnswerFailed)
        else:
            good = printer.show(event)
    return good


def _show_hits(hits: list[Hit], tag: dict[str, Any], *, as_json: bool) -> None:
    from streams.cli.render import hit_table

    if as_json:
        for hit in hits:
            print_json({**tag, **hit.model_dump()})
    elif hits:
        output.print(hit_table(hits))
    else:
        errors.print("nothing found")


def _options(
    image: Path | None,
    audio: Path | None,
    video: Path | None,
    modality: list[str] | None,
    source: list[str] | None,
    since: str,
    until: str,
    tenant: str,
    limit: int,
) -> AskOptions:
    from pydantic import ValidationError

    from streams.client import AskOptions

    now = time.time_ns() // 1_000_000
    try:
        return AskOptions(
            image=image,
            audio=audio,
            video=video,
            modalities=tuple(modality or ()),
            sources=tuple(source or ()),
            since_ms=moment(since, now),
            until_ms=moment(until, now),
            tenant=tenant,
            limit=limit,
        )
    except ValidationError as error:
        raise typer.BadParameter(error.errors(include_url=False)[0]["msg"], param_hint="--modality") from error


__all__ = ["ask", "fail", "register", "search"]
