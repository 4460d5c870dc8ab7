"""Prometheus metrics: every name once.

They count in each worker process; ``SENSORIUM_METRICS_PORT`` serves them on loopback.
"""

from __future__ import annotations

from prometheus_client import Counter, Histogram, start_http_server

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)

_EVENTS_IN = Counter("sensorium_events_received", "Events that a stage has finished with", ["stage"])
_EVENTS_OUT = Counter("sensorium_events_sent", "Events that a stage has sent", ["stage", "event"])
_DEAD = Counter("sensorium_events_dead_lettered", "Events that a stage has refused", ["stage", "error"])
_RETRIED = Counter("sensorium_events_retried", "Events tried again after a transient error", ["stage"])
_BATCH_SECONDS = Histogram("sensorium_batch_seconds", "Seconds from a batch to its acks", ["stage"], buckets=SECONDS)
_AGE_SECONDS = Histogram(
    "sensorium_age_seconds",
    "Seconds from the first event of a trace to this stage's output",
    ["stage"],
    buckets=SECONDS,
)


def serve(port: int) -> None:
    """Serve the metrics on loopback."""
    start_http_server(port, addr="127.0.0.1")


def batch_done(stage: str, events: int, seconds: float) -> None:
    """A batch is acknowledged."""
    _EVENTS_IN.labels(stage).inc(events)
    _BATCH_SECONDS.labels(stage).observe(seconds)


def sent(stage: str, event: str, *, age_ms: int) -> None:
    """An event was sent; ``age_ms`` is counted from the first event of its trace."""
    _EVENTS_OUT.labels(stage, event).inc()
    _AGE_SECONDS.labels(stage).observe(max(0, age_ms) / 1000)


def dead_lettered(stage: str, error: str) -> None:
    """An event was refused."""
    _DEAD.labels(stage, error).inc()


def retried(stage: str, events: int) -> None:
    """Events are tried again."""
    _RETRIED.labels(stage).inc(events)
