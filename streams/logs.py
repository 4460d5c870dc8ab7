"""structlog: pretty on a terminal, JSON lines otherwise; the libraries' own logging goes the same way."""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog

NOISY = (
    "streams.app",  # by this name Faust tells each of its services that starts
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
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.ERROR)
    structlog.contextvars.bind_contextvars(**context)
