"""``python -m streams.healthcheck``: exit code 0 where a worker process of this data folder is ready, 1 otherwise.

For containers: the file that a worker writes about itself says ready once its models are loaded and its consumers have
joined their groups.
"""

from __future__ import annotations

from streams.runtime import workers
from streams.settings import Settings


def is_healthy(settings: Settings) -> bool:
    """Whether there is a worker, and all are ready."""
    states = [worker.state for worker in workers(settings.data_dir)]
    return bool(states) and set(states) == {"ready"}


if __name__ == "__main__":
    raise SystemExit(0 if is_healthy(Settings()) else 1)
