"""A whole feed against servers on loopback: pace, loss, slowness, secrets, ends. The client is a fake."""

from __future__ import annotations

import asyncio
import functools
import http.server
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import pytest

from streams import feed
from streams.feed import FeedReport, run_feed
from tests.workers.feed.live import LiveServer, make_media, play
from workers.errors import InvalidEvent, InvalidMedia, SensoriumError, TransientError
from workers.feed.events import FeedEvent


class Client:
    """Keeps what is published. ``answers`` are awaited, or raised, one a call."""

    def __init__(self, *answers: float | Exception) -> None:
        self.documents: list[dict[str, Any]] = []
        self._answers = list(answers)

    async def publish(self, data: bytes, **fields: Any) -> None:
        answer = self._answers.pop(0) if self._answers else 0.0
        if isinstance(answer, Exception):
            raise answer
        await asyncio.sleep(answer)
        self.documents.append({"data": data, **fields})

    def starts_s(self) -> list[float]:
        return [document["event_time_ms"] / 1000 for document in self.documents]


class Told(list[FeedEvent]):
    def of(self, kind: str) -> list[FeedEvent]:
        return [event for event in self if event.kind == kind]


async def run(client: Client, uri: str, told: Told | None = None, **more: Any) -> FeedReport:
    listener = (told if told is not None else Told()).append
    return await run_feed(
        client, uri, **{"source": "lobby", "segment_s": 1.5, "overlap_s": 0.5, "on_event": listener, **more}
    )


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_media(tmp_path_factory.mktemp("film") / "film.ts", seconds=12, gop_s=0.5)


@pytest.fixture
def server(film: Path) -> Iterator[LiveServer]:
    with LiveServer(film) as running:
        yield running


async def test_a_file_is_fed_at_the_pace_of_real_time(tmp_path: Path) -> None:
    client, told = Client(), Told()
    began_s = time.time()
    report = await run(client, str(make_media(tmp_path / "talk.mp4", seconds=4, gop_s=0.5)), told)

    assert time.time() - began_s == pytest.approx(4, abs=0.8)
    assert report.published == len(client.documents) == 4
    assert [told[0].kind, told[-1].kind] == ["connected", "ended"]
    assert told[-1].details["reason"] == "ended"
    first = client.documents[0]
    assert first["event_time_ms"] == first["version"] == pytest.approx(began_s * 1000, abs=800)
    assert first["content_type"] == "video/mp4"
    assert (first["source"], first["tenant"]) == ("lobby", "default")
    assert first["source_uri"].startswith(f"{tmp_path}/talk.mp4#t=clock:20")
    assert first["source_uri"].endswith("&clock=arrival")
    ids = [document["document_id"] for document in client.documents]
    assert [name.rpartition("-")[2] for name in ids] == ["00000", "00001", "00002", "00003"]
    assert len({name.rpartition("-")[0] for name in ids}) == 1


async def test_sound_alone(tmp_path: Path) -> None:
    client = Client()
    path = make_media(tmp_path / "talk.wav", seconds=3, video="", audio="pcm_s16le")
    await run(client, str(path), source="")

    assert {document["content_type"] for document in client.documents} == {"audio/mp4"}
    assert {document["source"] for document in client.documents} == {"talk.wav"}


async def test_a_stopped_server_is_waited_for_and_the_gap_is_told(server: LiveServer) -> None:
    client, told = Client(), Told()

    async def interrupt() -> None:
        await asyncio.sleep(2.5)
        await asyncio.to_thread(server.stop)
        await asyncio.sleep(1)
        server.start()

    interruption = asyncio.create_task(interrupt())
    report = await run(client, server.uri, told, duration_s=7.5)
    await interruption

    assert report.connections == len(told.of("connected")) == 2
    assert told.of("disconnected")
    assert report.gaps == 1
    gap = told.of("gap")[0].details
    assert 900 < int(gap["to_ms"]) - int(gap["from_ms"]) == report.gap_ms < 6000

    epochs = list(dict.fromkeys(d["document_id"].rpartition("-")[0] for d in client.documents))
    assert len(epochs) == 2
    starts_s = client.starts_s()
    assert starts_s == sorted(set(starts_s))
    firsts = [d["event_time_ms"] / 1000 for d in client.documents if d["document_id"].endswith("-00000")]
    assert firsts == pytest.approx(server.listened_s, abs=0.6)


async def test_a_slow_client_costs_the_oldest_segments(server: LiveServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "QUEUE_SEGMENTS", 2)
    client, told = Client(4.5), Told()
    report = await run(client, server.uri, told, duration_s=5)

    dropped = told.of("dropped")
    assert report.dropped == len(dropped) >= 1
    assert "does not keep up" in dropped[0].text
    published = {document["document_id"] for document in client.documents}
    assert report.published == len(published)
    assert not published & {event.details["document_id"] for event in dropped}
    assert client.starts_s()[-1] > max(int(event.details["event_time_ms"]) / 1000 for event in dropped)


async def test_a_broker_that_is_away_is_tried_again_and_a_refusal_is_told(server: LiveServer) -> None:
    client = Client(TransientError("the broker is away"), 0, InvalidEvent("too large"))
    told = Told()
    report = await run(client, server.uri, told, duration_s=4.4)

    assert [event.details["reason"] for event in told.of("dropped")] == ["too large"]
    assert report.dropped == 1
    assert [d["document_id"].rpartition("-")[2] for d in client.documents][:2] == ["00000", "00002"]


async def test_a_fault_of_the_client_ends_the_feed(server: LiveServer) -> None:
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(run(Client(ZeroDivisionError()), server.uri), 10)


async def test_no_secret_leaves_the_feed(server: LiveServer, capfd: pytest.CaptureFixture[str]) -> None:
    client, told = Client(), Told()
    uri = server.uri.replace("//", "//admin:hunter2@") + "?token=hunter2"
    interruption = asyncio.get_running_loop().call_later(2, lambda: threading.Thread(target=server.stop).start())
    await run(client, uri, told, duration_s=4, source="")
    interruption.cancel()

    assert told.of("disconnected")
    seen = json.dumps([[event.text, dict(event.details)] for event in told])
    seen += json.dumps([{k: v for k, v in d.items() if k != "data"} for d in client.documents])
    seen += "".join(capfd.readouterr())
    assert client.documents
    assert "***@127.0.0.1" in seen
    assert "hunter2" not in seen
    assert not any(b"hunter2" in document["data"] for document in client.documents)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_it_cleanly_with_what_is_there(server: LiveServer, number: signal.Signals) -> None:
    client, told = Client(), Told()
    asyncio.get_running_loop().call_later(2.4, os.kill, os.getpid(), number)
    began_s = time.monotonic()
    report = await run(client, server.uri, told)

    assert time.monotonic() - began_s < 4
    assert told[-1].details["reason"] == "stopped"
    assert report.published == len(client.documents) >= 1
    last = told.of("published")[-1].details
    assert int(last["event_time_ms"]) + int(last["duration_ms"]) == pytest.approx(time.time() * 1000, abs=1200)


async def test_a_wait_for_the_next_connection_is_cut_short(server: LiveServer) -> None:
    server.stop()
    began_s = time.monotonic()
    report = await run(Client(), server.uri, duration_s=1.5)

    assert time.monotonic() - began_s < 2.5
    assert report.published == 0


async def test_a_server_that_comes_later_is_waited_for(server: LiveServer) -> None:
    server.stop()
    client = Client()
    asyncio.get_running_loop().call_later(0.4, server.start)
    report = await run(client, server.uri, duration_s=4)

    assert report.connections == 1
    assert client.documents


async def test_a_recording_can_be_played_again_and_again(tmp_path: Path) -> None:
    client = Client()
    path = make_media(tmp_path / "talk.mp4", seconds=1, gop_s=0.5)
    report = await run(client, str(path), loop=True, duration_s=2.6)

    assert report.connections == 3
    assert len({d["document_id"].rpartition("-")[0] for d in client.documents}) == 3


async def test_what_can_be_no_feed_and_what_makes_no_sense(tmp_path: Path) -> None:
    with pytest.raises(InvalidMedia, match=r"missing\.mp4: No such file"):
        await run(Client(), str(tmp_path / "missing.mp4"))
    with pytest.raises(InvalidMedia, match="Protocol not found"):
        await run(Client(), "nosuch://admin:hunter2@host")
    with pytest.raises(InvalidMedia, match="without gdigrab devices"):
        await run(Client(), "gdigrab://desktop")
    with pytest.raises(SensoriumError, match="does not fit"):
        await run(Client(), "udp://127.0.0.1:1", overlap_s=2)


@contextmanager
def playing(path: Path, target: str, **more: Any) -> Iterator[None]:
    """``path`` played to ``target`` by a thread."""
    stopped = threading.Event()
    thread = threading.Thread(target=play, args=(path, target, stopped), kwargs=more)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join(5)


async def test_udp(film: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    client = Client()
    with playing(film, f"udp://127.0.0.1:{port}?pkt_size=1316"):
        await run(client, f"udp://127.0.0.1:{port}", duration_s=3)

    assert client.documents


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's word
        pass


async def test_hls_tells_its_own_time(tmp_path: Path, film: Path) -> None:
    options = {"hls_time": "1", "hls_list_size": "4", "hls_flags": "program_date_time+delete_segments"}
    client, told = Client(), Told()
    handler = functools.partial(Quiet, directory=str(tmp_path))
    with (
        playing(film, str(tmp_path / "live.m3u8"), format="hls", options=options),
        http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as web,
    ):
        serving = threading.Thread(target=web.serve_forever)
        serving.start()
        await asyncio.sleep(3)
        began_s = time.time()
        await run(client, f"http://127.0.0.1:{web.server_port}/live.m3u8", told, duration_s=4.5)
        web.shutdown()
        serving.join(5)

    assert len(client.documents) >= 2
    assert {event.details["clock"] for event in told.of("published")} == {"program-date-time"}
    assert client.starts_s()[0] == pytest.approx(began_s, abs=3), "the newest segment is at most some seconds old"
    assert client.starts_s()[-1] < time.time()


async def test_documents_can_be_played(server: LiveServer, tmp_path: Path) -> None:
    client = Client()
    await run(client, server.uri, duration_s=3)

    for n, document in enumerate(client.documents):
        path = tmp_path / f"{n}.mp4"
        path.write_bytes(document["data"])
        with av.open(str(path)) as file:
            assert sum(1 for _ in file.decode(video=0)) >= 5
            assert file.metadata["comment"] == "wall clock: arrival"
