"""``publish``, ``feed`` and ``delete``."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from streams.cli.common import ExitCode, errors, output, print_json, settings

if TYPE_CHECKING:
    from streams.client import Client
    from streams.progress import Progress, Published
    from workers.feed.events import FeedEvent

Source = Annotated[str, typer.Option(help="Where the media comes from: a desk, a camera, a programme.")]
Tenant = Annotated[str, typer.Option(help="Whose documents.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]

PUBLISH_CONCURRENCY = 8
STEPS = 4
"""stored, extracted, embedded, searchable"""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(publish)
    app.command()(feed)
    app.command()(delete)


def publish(
    paths: Annotated[list[Path], typer.Argument(help="Files and folders.", exists=True)],
    source: Source = "files",
    tenant: Tenant = "default",
    wait: Annotated[bool, typer.Option("--wait", help="Wait until everything is searchable.")] = False,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on: publish what appears and changes, delete what is removed.")
    ] = False,
    as_json: Json = False,
    timeout: Annotated[float, typer.Option(help="With --wait: seconds without progress before giving up.")] = 600.0,
) -> int:
    """Publish files and folders; what is published again is a new version of the same document.

    With --wait the exit code is 1 where documents were refused, and they are named with the reason.

    Examples:
      sensorium publish talk.mp4 slides/ --source studio --wait

      sensorium publish --follow incoming --source desk
    """
    if follow:
        return asyncio.run(_follow(paths, source, tenant, as_json=as_json))
    return asyncio.run(_publish(paths, source, tenant, wait=wait, as_json=as_json, timeout_s=timeout))


async def _publish(paths: list[Path], source: str, tenant: str, *, wait: bool, as_json: bool, timeout_s: float) -> int:
    from streams.client import Client
    from streams.follow import visible_files

    files = list(visible_files(paths))
    if not files:
        errors.print("nothing to publish")
        return 0
    async with Client(settings()) as client:
        with _bar(len(files) * (STEPS if wait else 1)) as advance:
            published = await _send_all(client, files, source, tenant, advance)
            if as_json and not wait:
                for item in published:
                    print_json({"step": "stored", **item.model_dump()})
            refused = await _wait(client, published, timeout_s, advance, as_json=as_json) if wait else []
    for step in refused:
        errors.print(f"[bold red]error:[/] {escape(step.published.name)}: {escape(step.reason)}")
        if step.hint:
            errors.print(f"[bold]hint:[/] {escape(step.hint)}")
    if not as_json:
        done = "searchable" if wait else "published"
        output.print(f"{len(published) - len(refused)} of {len(files)} documents are {done}")
    return ExitCode.FAILED if refused else 0


async def _send_all(client: Client, files: list[Path], source: str, tenant: str, advance: Any) -> list[Published]:
    gate = asyncio.Semaphore(PUBLISH_CONCURRENCY)

    async def send(file: Path) -> Published:
        async with gate:
            published = await client.publish(file, source=source, tenant=tenant)
            advance(1, file.name)
            return published

    return list(await asyncio.gather(*(send(file) for file in files)))


async def _wait(
    client: Client, published: list[Published], timeout_s: float, advance: Any, *, as_json: bool
) -> list[Progress]:
    from streams.progress import Step

    refused = []
    taken = dict.fromkeys((item.trace_id for item in published), 1)
    async for step in client.progress(published, timeout_s):
        if as_json:
            print_json(step.model_dump(exclude={"published"}) | step.published.model_dump())
        if step.step is Step.STORED:
            continue  # the bar knows already
        trace_id = step.published.trace_id
        left = STEPS - taken[trace_id] if step.step.is_end else 1
        taken[trace_id] += left
        advance(left, f"{Path(step.published.name).name} {step.step.value}")
        if step.failed:
            refused.append(step)
    return refused


class _bar:  # noqa: N801  # used like a function
    """A progress bar on standard error, where that is a terminal."""

    def __init__(self, total: int) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
        self._progress = Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal)
        self._task = self._progress.add_task("", total=total)

    def __enter__(self) -> Any:
        self._progress.start()
        return lambda steps, text: self._progress.update(self._task, advance=steps, description=escape(text))

    def __exit__(self, *_: object) -> None:
        self._progress.stop()


async def _follow(paths: list[Path], source: str, tenant: str, *, as_json: bool) -> int:
    from streams.client import Client
    from streams.follow import Follower

    if not all(path.is_dir() for path in paths):
        raise typer.BadParameter("--follow wants folders")
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)

    def tell(what: str, item: Published) -> None:
        if as_json:
            print_json({"step": what, **item.model_dump()})
        else:
            output.print(f"{what} {escape(item.name)}")

    async with Client(settings()) as client, asyncio.TaskGroup() as group:
        for path in paths:
            follower = Follower(client, path, source=source, tenant=tenant, on_change=tell)
            group.create_task(follower.run(stop))
    return 0


def feed(
    uri: Annotated[str, typer.Argument(help="RTSP, HLS, MPEG-TS, a device, or a file at the pace of real time.")],
    source: Source = "",
    tenant: Tenant = "default",
    segment_seconds: Annotated[float, typer.Option(help="How long one document is.")] = 6.0,
    overlap: Annotated[float, typer.Option(help="How much of the one before it repeats, seconds.")] = 2.0,
    duration: Annotated[float | None, typer.Option(help="Stop after so many seconds.")] = None,
    loop: Annotated[bool, typer.Option("--loop", help="Play a file again and again.")] = False,
    as_json: Json = False,
) -> int:
    """Feed a live stream as a series of documents of a few seconds, with wall-clock times; it reconnects by itself.

    Ctrl-C ends it cleanly: what is recorded is published first.
    """
    from streams.client import Client
    from streams.feed import run_feed

    def tell(event: FeedEvent) -> None:
        if as_json:
            print_json(event)
        else:
            errors.print(escape(str(event)))

    async def run() -> int:
        async with Client(settings()) as client:
            report = await run_feed(
                client,
                uri,
                source=source,
                tenant=tenant,
                segment_s=segment_seconds,
                overlap_s=overlap,
                duration_s=duration,
                on_event=tell,
                loop=loop,
            )
        if as_json:
            print_json({"event": "report", **{name: getattr(report, name) for name in report.__slots__}})
        else:
            output.print(f"{report.published} segments published, {report.dropped} dropped, {report.gaps} gaps")
        return 0

    return asyncio.run(run())


def delete(
    document_ids: Annotated[
        list[str] | None, typer.Argument(help="Document ids, or the paths that were published.")
    ] = None,
    source: Annotated[str, typer.Option(help="All documents of this source.")] = "",
    everything: Annotated[bool, typer.Option("--everything", help="All documents of the tenant.")] = False,
    tenant: Tenant = "default",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before many documents are deleted.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until they are gone.")] = False,
) -> int:
    """Delete documents with all their versions: by id, by source, or all that a tenant has.

    By source and by tenant it deletes whatever has been published by now, what is still on its way as well.
    """
    from streams.client import Client, document_id_of

    if [bool(document_ids), bool(source), everything].count(True) != 1:
        raise typer.BadParameter("name documents, or a --source, or --everything")
    named = [document_id_of(name) if Path(name).exists() else name for name in document_ids or ()]
    what = f"{len(named)} documents" if named else f"all documents of {f'source {source}' if source else tenant}"
    if not named and not yes:
        typer.confirm(f"Delete {what}?", abort=True)

    async def run() -> int:
        async with Client(settings()) as client:
            deleted = [await client.delete(document_id, tenant=tenant) for document_id in named]
            if not named:
                deleted.append(await client.delete_all(source, tenant=tenant))
            refused = await client.searchable(deleted) if wait else []
        output.print(f"{what} {'are' if wait else 'will be'} deleted")
        return ExitCode.FAILED if refused else 0

    return asyncio.run(run())
