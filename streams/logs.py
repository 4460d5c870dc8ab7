"""structlog: pretty on a terminal, JSON lines otherwise; the libraries' own logging goes the same way."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from typing import Any

import structlog

from schemas.base import Event
from schemas.media import DocumentEvent
from schemas.queries import QueryEvent

IDS_ON_A_LINE = 3
NOISY = (
    "faust",
    "mode",
    "aiokafka",
    "pymilvus",
    "httpx",
    "rapidocr",
    "RapidOCR",
    "faster_whisper",
    "PIL",
)


def _is_no_service(record: logging.LogRecord) -> bool:
    """Faust tells each of its services that starts and stops, by the name of whoever made the app."""
    return record.levelno > logging.INFO or not str(record.msg).startswith("[^")


def configure(*, level: str = "info", fmt: str = "auto", **context: Any) -> None:
    """Set logging up for this process, on standard error; ``context`` stands on each line."""
    pretty = fmt == "pretty" or (fmt == "auto" and sys.stderr.isatty())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    renderer: list[Any] = (
        [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
        if pretty
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    handler.addFilter(_is_no_service)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.ERROR)
    structlog.contextvars.bind_contextvars(**context)


def event_ids(events: Iterable[Event]) -> dict[str, str]:
    """What a log line names: documents, queries and traces, the first few of them."""
    ids: dict[str, list[str]] = {}
    for event in events:
        if isinstance(event, DocumentEvent):
            ids.setdefault("document_id", []).append(event.document_id)
        elif isinstance(event, QueryEvent):
            ids.setdefault("query_id", []).append(event.query_id)
        ids.setdefault("trace_id", []).append(event.trace.traceparent[3:35])
    return {name: _few(values) for name, values in ids.items()}


def _few(values: list[str]) -> str:
    rest = len(values) - IDS_ON_A_LINE
    return " ".join(values[:IDS_ON_A_LINE]) + (f" +{rest}" if rest > 0 else "")
