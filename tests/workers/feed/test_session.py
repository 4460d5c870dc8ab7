"""One connection: the pace, the breaks in the time line, the ends."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from tests.workers.feed.live import LiveServer, make_media
from tests.workers.feed.packets import packet
from workers.errors import InvalidMedia
from workers.feed import source
from workers.feed.epoch import Carry
from workers.feed.events import FeedEvent
from workers.feed.packets import Segment
from workers.feed.reader import Ended, Reader
from workers.feed.session import Session
from workers.feed.source import FeedLost, Source


class Run:
    """A session with what it gave and told."""

    def __init__(self, uri: str, carry: Carry | None = None) -> None:
        self.segments: list[Segment] = []
        self.told: list[FeedEvent] = []
        self.stop = threading.Event()
        self.session = Session(
            uri,
            carry or Carry(),
            length_s=2,
            overlap_s=0.5,
            emit=self.segments.append,
            tell=self.told.append,
            stop=self.stop,
        )


def test_a_recording_is_played_at_the_pace_of_real_time_and_ends(tmp_path: Path) -> None:
    run = Run(str(make_media(tmp_path / "film.ts", seconds=4, gop_s=0.5)))
    began_s = time.time()

    assert run.session.run() == "ended"
    assert time.time() - began_s == pytest.approx(4, abs=0.8)
    assert [event.kind for event in run.told] == ["connected"]
    assert run.told[0].details["tracks"] == "video (h264) and audio (aac)"
    assert run.segments[-1].end_ms == pytest.approx(time.time() * 1000, abs=800)


def test_time_stamps_that_jump_back_begin_a_new_epoch(tmp_path: Path) -> None:
    once = make_media(tmp_path / "film.ts", seconds=2, gop_s=0.5).read_bytes()
    twice = tmp_path / "twice.ts"
    twice.write_bytes(once + once)
    run = Run(str(twice))
    run.session.run()

    epochs = list(dict.fromkeys(segment.epoch_ms for segment in run.segments))
    assert len(epochs) == 2
    assert next(s.sequence for s in run.segments if s.epoch_ms == epochs[1]) == 0
    starts = [segment.start_ms for segment in run.segments]
    assert starts == sorted(set(starts))


def test_a_stop_gives_what_was_not_cut_yet(tmp_path: Path) -> None:
    path = make_media(tmp_path / "film.ts", seconds=10, gop_s=0.5)
    with LiveServer(path) as server:
        run = Run(server.uri)
        threading.Timer(2.5, run.stop.set).start()
        assert run.session.run() == "stopped"
        stopped_ms = time.time() * 1000

    assert run.segments[-1].end_ms - run.segments[-1].start_ms < 2600
    assert run.segments[-1].end_ms == pytest.approx(stopped_ms, abs=1000)


def test_a_server_that_goes_away_and_one_that_was_never_there(tmp_path: Path) -> None:
    server = LiveServer(make_media(tmp_path / "film.ts", seconds=10, gop_s=0.5))
    server.start()
    run = Run(server.uri)
    threading.Timer(2.0, server.stop).start()
    with pytest.raises(FeedLost):
        run.session.run()
    assert run.segments, "what came before the loss is given"

    with pytest.raises(FeedLost, match="refused"):
        Run(server.uri).session.run()


def test_a_broadcast_that_came_to_its_end_is_not_played_again(tmp_path: Path) -> None:
    run = Run(str(make_media(tmp_path / "film.ts", seconds=2)), Carry(was_live=True))

    assert run.session.run() == "ended"
    assert run.segments == []


def test_a_server_that_falls_silent_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "READ_TIMEOUT_S", 1.0)
    with LiveServer(make_media(tmp_path / "film.ts", seconds=10, gop_s=0.5)) as server:
        threading.Timer(2.0, server.fall_silent).start()
        with pytest.raises(FeedLost, match="nothing came for 1 s"):
            Run(server.uri).session.run()


@pytest.mark.parametrize("name", ["missing.mp4", "text.mp4", "script.mp4"])
def test_what_can_be_no_feed(tmp_path: Path, name: str) -> None:
    (tmp_path / "text.mp4").write_text("not a film")
    make_media(tmp_path / "film.ts", seconds=1)
    (tmp_path / "script.mp4").write_text("ffconcat version 1.0\nfile film.ts\n")
    with pytest.raises(InvalidMedia, match=name):
        Source.open(str(tmp_path / name))


def test_a_reader_that_nobody_empties_leaves_packets_out_up_to_a_key_frame() -> None:
    skipped: list[int] = []
    reader = Reader("unused", skipped=skipped.append, max_bytes=100)
    sent = [packet("video", n / 10, 0.1, is_key=n % 5 == 0, size=30) for n in range(20)]
    for n, each in enumerate(sent):
        reader._put(each, resumes=each.is_key)
        if n == 7:  # three fit; then it is emptied, in the middle of a group of pictures
            assert [reader.get(0) for _ in range(3)] == sent[:3]
            assert reader.get(0) is None

    assert skipped == [7]
    assert reader.get(0) is sent[10]


def test_a_fault_in_the_reading_thread_comes_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> Source:
        raise ZeroDivisionError

    monkeypatch.setattr(Source, "open", fail)
    reader = Reader("unused", skipped=lambda _: None)
    reader.start()
    with pytest.raises(ZeroDivisionError):
        reader.source(5)
    reader.stop()


def test_the_end_comes_after_the_last_packet(tmp_path: Path) -> None:
    reader = Reader(str(make_media(tmp_path / "film.ts", seconds=1)), skipped=lambda _: None)
    reader.start()
    count = 0
    with pytest.raises(Ended):
        while True:
            count += reader.get() is not None
    reader.stop()

    assert count >= 20
