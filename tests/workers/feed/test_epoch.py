"""Real packets of small films through cutting, encoding anew and muxing: what comes out can be played."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import pytest

from tests.workers.feed.live import make_media
from workers.feed.epoch import Carry, Epoch
from workers.feed.events import FeedEvent
from workers.feed.packets import ClockOrigin, Segment
from workers.feed.source import Source

NOON = 1_800_000_000.0


class Told(list[FeedEvent]):
    def kinds(self) -> list[str]:
        return [event.kind for event in self]


def run(
    path: Path,
    *,
    carry: Carry | None = None,
    began_s: float = NOON,
    sender: Callable[[], tuple[float, ClockOrigin] | None] = lambda: None,
) -> tuple[list[Segment], Told]:
    """All segments of ``path``, as if its packets had come at the pace of real time from ``began_s`` on."""
    told = Told()
    now = [began_s]
    source = Source.open(str(path), clock=lambda: now[0])
    epoch = Epoch(source.tracks, carry or Carry(), length_s=6, overlap_s=2, tell=told.append, sender_clock=sender)
    segments: list[Segment] = []
    for packet in source.packets():
        now[0] = began_s + packet.start_s
        segments += epoch.add(packet)
    segments += epoch.finish()
    source.close()
    return segments, told


def decoded(segment: Segment) -> dict[str, list[Any]]:
    """Times of the frames by kind of track, seconds on the file's time line; decodes every frame."""
    times: dict[str, list[Any]] = {}
    with av.open(io.BytesIO(segment.data), "r", options={"format_whitelist": "mov,mp4"}) as file:
        for frame in file.decode():
            kind = "video" if isinstance(frame, av.VideoFrame) else "audio"
            times.setdefault(kind, []).append(float(frame.time or 0))
    return times


def codecs(segment: Segment) -> list[str]:
    with av.open(io.BytesIO(segment.data)) as file:
        return [stream.codec_context.name for stream in file.streams]


@pytest.mark.parametrize("suffix", ["mp4", "ts", "mkv"])
def test_a_stream_is_copied_into_files_that_begin_with_zero(tmp_path: Path, suffix: str) -> None:
    segments, told = run(make_media(tmp_path / f"film.{suffix}", seconds=14))

    assert [(s.sequence, s.content_type) for s in segments] == [(n, "video/mp4") for n in range(len(segments))]
    assert len(segments) == 3
    assert told.kinds() == []
    assert codecs(segments[0]) == ["h264", "aac"]
    for segment in segments:
        times = decoded(segment)
        assert times["video"][0] == pytest.approx(0, abs=0.001)
        assert times["audio"][0] == pytest.approx(0, abs=0.07)
        assert times["video"] == sorted(times["video"])
        length_s = (segment.end_ms - segment.start_ms) / 1000
        assert times["video"][-1] == pytest.approx(length_s, abs=0.4)
        assert times["audio"][-1] == pytest.approx(length_s, abs=0.2)


def test_event_times_lie_on_the_wall_clock(tmp_path: Path) -> None:
    segments, _ = run(make_media(tmp_path / "film.ts", seconds=14))

    # MPEG-TS begins at 1.4 s or so; "now" was began_s plus the time stamp, so the relation is exact.
    starts = [segment.start_ms / 1000 - NOON for segment in segments]
    assert starts == pytest.approx([starts[0] + n * 4 for n in range(3)], abs=0.01)
    assert {segment.epoch_ms for segment in segments} == {segments[0].start_ms}
    assert {segment.clock for segment in segments} == {"arrival"}


def test_a_film_with_rare_key_frames_is_encoded_anew_without_losing_a_second(tmp_path: Path) -> None:
    segments, told = run(make_media(tmp_path / "film.ts", seconds=24, gop_s=20))

    assert told.kinds() == ["recoded"]
    assert "key frame" in told[0].text
    ends = [segment.end_ms for segment in segments]
    assert all(after.start_ms <= end - 2000 for after, end in zip(segments[1:], ends, strict=False))
    assert ends[-1] - segments[0].start_ms == pytest.approx(24_000, abs=300)
    for segment in segments:
        times = decoded(segment)
        assert times["video"][0] == pytest.approx(0, abs=0.001)
        assert len(times["audio"]) > 20


@pytest.mark.parametrize(
    ("suffix", "video", "audio", "found"),
    [
        ("avi", "mjpeg", "pcm_s16le", ["h264", "flac"]),
        ("avi", "mpeg4", "pcm_alaw", ["mpeg4", "flac"]),
        ("avi", "rawvideo", "", ["h264"]),
        ("wav", "", "pcm_s16le", ["flac"]),
        ("ogg", "", "libopus", ["opus"]),
        ("flac", "", "flac", ["flac"]),
        ("mp3", "", "libmp3lame", ["mp3"]),
    ],
)
def test_what_mp4_does_not_hold_is_encoded_anew(
    tmp_path: Path, suffix: str, video: str, audio: str, found: list[str]
) -> None:
    segments, _ = run(make_media(tmp_path / f"media.{suffix}", seconds=13, video=video, audio=audio))

    assert len(segments) >= 3
    assert [name.removesuffix("float") for name in codecs(segments[0])] == found
    assert segments[0].content_type == ("video/mp4" if video else "audio/mp4")
    for segment in segments:
        for times in decoded(segment).values():
            assert times[0] == pytest.approx(0, abs=0.15)
    assert segments[-1].end_ms - segments[0].start_ms == pytest.approx(13_000, abs=300)


def test_sound_alone_says_so_in_its_first_bytes(tmp_path: Path) -> None:
    segments, _ = run(make_media(tmp_path / "tone.flac", seconds=7, video="", audio="flac"))

    assert segments[0].data[4:12] == b"ftypM4A "


def test_wall_time_never_runs_backwards_over_epochs(tmp_path: Path) -> None:
    path, carry = make_media(tmp_path / "film.ts", seconds=8), Carry()
    before, _ = run(path, carry=carry)
    after, _ = run(path, carry=carry, began_s=NOON - 60)  # this machine's clock was set back

    starts = [segment.start_ms for segment in [*before, *after]]
    assert starts == sorted(set(starts))
    assert after[0].epoch_ms != before[0].epoch_ms


def test_what_is_missing_between_two_epochs_is_told(tmp_path: Path) -> None:
    path, carry = make_media(tmp_path / "film.ts", seconds=8), Carry()
    before, _ = run(path, carry=carry)
    after, told = run(path, carry=carry, began_s=NOON + 20)

    assert told.kinds() == ["gap"]
    assert told[0].details == {"from_ms": before[-1].end_ms, "to_ms": after[0].start_ms}
    assert told[0].text == "nothing was received for 12.0 s"


def test_the_senders_clock_wins_and_what_it_gave_before_is_left_out(tmp_path: Path) -> None:
    path, carry = make_media(tmp_path / "film.mkv", seconds=14), Carry()
    claim: tuple[float, ClockOrigin] = (NOON - 3.0, "program-date-time")
    before, _ = run(path, carry=carry, sender=lambda: claim)
    again, told = run(path, carry=carry, began_s=NOON + 4, sender=lambda: claim)

    assert before[0].start_ms == pytest.approx((NOON - 3) * 1000, abs=1)
    assert {segment.clock for segment in before} == {"program-date-time"}
    assert again == []
    assert told.kinds() == []


def test_copying_costs_next_to_nothing(tmp_path: Path) -> None:
    path = make_media(tmp_path / "film.ts", seconds=30)
    began_s = time.process_time()
    run(path)

    assert time.process_time() - began_s < 3.0  # a tenth of one core, with room for a busy machine
