"""Any Kafka producer can publish: kcat sends a picture as raw bytes, and it is found seconds later.

On Apache Kafka: librdkafka, which kcat is built on, cannot read the embedded broker's answer to its first request.
"""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from streams import runtime
from streams.client import AskOptions, Client
from streams.settings import Settings
from tests.e2e.system import running

pytestmark = [pytest.mark.e2e, pytest.mark.models, pytest.mark.kafka]

FOUND_S = 30.0


async def test_kcat_publishes_a_png(tmp_path: Path, need: Callable[[str, str], str], samples: Path) -> None:
    kcat = need("kcat", "sudo apt-get install kcat")
    need("java", "sudo apt-get install default-jre-headless")
    with running(tmp_path / "data", "--broker", "kafka") as settings:
        await publish_and_find(settings, kcat, samples)


async def publish_and_find(settings: Settings, kcat: str, samples: Path) -> None:
    broker = runtime.resolve(settings).kafka
    page = samples / "scanned-page.png"
    command = [kcat, "-P", "-b", broker, "-t", "media.received.v1", "-k", "kcat-page", "-H", "content-type=image/png"]
    started = time.monotonic()
    sent = await asyncio.to_thread(subprocess.run, [*command, str(page)], capture_output=True, check=False)
    assert sent.returncode == 0, sent.stderr
    async with Client(settings) as client:
        options = AskOptions(document_ids=("kcat-page",))
        while not (hits := await client.search("markers of the coins", options)):
            assert time.monotonic() - started < FOUND_S
            await asyncio.sleep(0.5)
    assert "markers" in hits[0].text
    assert hits[0].content_type == "image/png"
