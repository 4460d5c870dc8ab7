"""``up``, ``worker``, ``status``, ``demo`` and ``bench``."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer
from rich.markup import escape
from rich.table import Table

from streams.cli.common import output, print_json, settings

if TYPE_CHECKING:
    from streams.status import Status

STAGE_NAMES = ("extract", "embed", "index", "retrieve", "rerank", "refine", "generate")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (up, worker, status, demo, bench):
        app.command()(command)


def up(
    broker: Annotated[
        str, typer.Option(help="tansu: in memory, nothing to install. kafka: Apache Kafka on disk; needs Java.")
    ] = "tansu",
    workers: Annotated[bool, typer.Option(help="Run all stages; without, only the broker and the store.")] = True,
) -> int:
    """Run broker, store and all workers on this machine, in the foreground. Ctrl-C drains and stops."""
    if broker not in ("tansu", "kafka"):
        raise typer.BadParameter(f"{broker!r} is neither tansu nor kafka", param_hint="--broker")
    from streams.logs import configure
    from streams.supervisor import GROUPS
    from streams.supervisor import up as run

    chosen = settings()
    configure(level=chosen.log_level, fmt=chosen.log_format)
    kind = cast("Literal['tansu', 'kafka']", broker)
    return asyncio.run(run(chosen, broker=kind, groups=GROUPS if workers else ()))


def worker(
    stage: Annotated[list[str] | None, typer.Option(help=f"One of {', '.join(STAGE_NAMES)}. Repeatable.")] = None,
) -> int:
    """Run stages in this process against the Kafka and the Milvus of the settings; all stages unless some are named.

    Start as many as there are partitions: workers of the same stage share them. SIGTERM drains and commits.
    """
    unknown = set(stage or ()) - set(STAGE_NAMES)
    if unknown:
        raise typer.BadParameter(f"no stage is called {', '.join(sorted(unknown))}", param_hint="--stage")
    from streams.logs import configure
    from streams.worker import run_worker

    chosen = settings()
    configure(level=chosen.log_level, fmt=chosen.log_format)
    return run_worker(chosen, stage or ())


def status(as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False) -> int:
    """Show topics, lag by stage, workers, rows and freshness."""
    from streams.status import read_status

    found = asyncio.run(read_status(settings()))
    if as_json:
        print_json(found.model_dump())
    else:
        _print(found)
    return 0


def _print(found: Status) -> None:
    where = found.addresses
    output.print(f"Kafka {where.kafka}   Milvus {where.milvus}   blobs {where.blobs}")
    fresh = found.freshness
    freshness = f"p50 {fresh.p50_ms / 1000:.2f} s, p95 {fresh.p95_ms / 1000:.2f} s" if fresh else "nothing indexed yet"
    output.print(
        f"{found.rows} rows   freshness (published → searchable): {freshness}   generation {found.generation}\n"
    )
    stages = Table("stage", "lag", "workers", box=None, pad_edge=False, header_style="dim")
    for name, lag in found.lag.items():
        states = [f"{worker.pid} {worker.state}" for worker in found.workers if name in worker.stages]
        is_stopped = any(stopped.stage == name for stopped in found.stopped)
        stages.add_row(name, str(lag), ", ".join(states) or ("stopped" if is_stopped else "none on this machine"))
    output.print(stages)
    _print_trouble(found)
    topics = Table("topic", "records", box=None, pad_edge=False, header_style="dim")
    for name, size in found.topics.items():
        topics.add_row(name, str(size))
    output.print()
    output.print(topics)


def _print_trouble(found: Status) -> None:
    for worker in found.workers:
        for stage, reason in worker.waits_for.items():
            output.print(f"[yellow]{stage} waits:[/] {escape(reason)}")
    for stopped in found.stopped:
        output.print(f"[bold red]{stopped.stage} has stopped:[/] {escape(stopped.reason)}\n{escape(stopped.hint)}")


def demo() -> int:
    """Start a system of its own, publish the sample media, ask about them, and print the answers."""
    from streams.demo import run_demo

    return asyncio.run(run_demo(settings()))


def bench(
    only: Annotated[list[str] | None, typer.Option(help="Only this measurement. Repeatable.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Smaller runs: a look, not a figure to quote.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> int:
    """Measure this machine: throughput over the bare encoders, freshness, search, overhead, memory."""
    from streams.bench import run_bench

    return asyncio.run(run_bench(settings(), tuple(only or ()), quick=quick, as_json=as_json))
