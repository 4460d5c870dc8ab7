"""Any Kafka producer can publish: kcat sends a photo as raw bytes, and it is found seconds later."""

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

pytestmark = [pytest.mark.e2e, pytest.mark.models]

FOUND_S = 30.0


async def test_kcat_publishes_a_png(running_system: Settings, need: Callable[[str, str], str], samples: Path) -> None:
    kcat = need("kcat", "sudo apt-get install kcat")
    broker = runtime.resolve(running_system).kafka
    page = samples / "scanned-page.png"
    command = [kcat, "-P", "-b", broker, "-t", "media.received.v1", "-k", "kcat-page", "-H", "content-type=image/png"]
    started = time.monotonic()
    sent = await asyncio.to_thread(subprocess.run, [*command, str(page)], capture_output=True, check=False)
    assert sent.returncode == 0, sent.stderr
    async with Client(running_system) as client:
        options = AskOptions(document_ids=("kcat-page",))
        while not (hits := await client.search("markers of the coins", options)):
            assert time.monotonic() - started < FOUND_S
            await asyncio.sleep(0.5)
    assert "markers" in hits[0].text
    assert hits[0].content_type == "image/png"
