from __future__ import annotations

import pytest

from workers.feed.clock import WallClock
from workers.feed.playlist import newest_began_s

NOON = 1_800_000_000.0


def test_the_burst_at_the_beginning_puts_nothing_into_the_future() -> None:
    wall = WallClock()
    for n in range(60):  # six seconds of the past at once, then the pace of real time
        wall.see(n / 10, NOON)
    for n in range(60, 120):
        wall.see(n / 10, NOON + (n - 59) / 10)

    assert wall.wall_ms(5.9) <= NOON * 1000
    assert wall.wall_ms(11.9) <= (NOON + 6) * 1000


def test_one_late_packet_does_not_matter() -> None:
    wall = WallClock()
    wall.see(0, NOON)
    wall.see(1, NOON + 4)

    assert wall.wall_ms(1) == (NOON + 1) * 1000


def test_a_slow_sender_is_followed() -> None:
    wall = WallClock()
    for n in range(3600):
        wall.see(n * 0.999, NOON + n)  # one second in a thousand is lost

    assert wall.wall_ms(3599 * 0.999) / 1000 == pytest.approx(NOON + 3599, abs=0.1)


@pytest.mark.parametrize("claimed_s", [0.0, NOON - 100 + 3600, NOON - 100 - 3600])
def test_a_sender_that_is_hours_or_years_off_is_not_believed(claimed_s: float) -> None:
    wall = WallClock()
    wall.see(100, NOON)

    assert not wall.believe(claimed_s, "rtcp")
    assert wall.origin == "arrival"
    assert wall.wall_ms(100) == NOON * 1000


def test_the_senders_clock_is_better_than_the_moment_of_arrival() -> None:
    wall = WallClock()
    wall.see(100, NOON)

    assert wall.believe(NOON - 100 - 1.5, "rtcp")
    assert wall.origin == "rtcp"
    assert wall.wall_ms(100) == (NOON - 1.5) * 1000


PLAYLIST = """#EXTM3U
#EXT-X-TARGETDURATION:4
#EXT-X-MEDIA-SEQUENCE:17
#EXT-X-PROGRAM-DATE-TIME:2026-11-24T10:00:00.500Z
#EXTINF:4.000,
a.ts
#EXTINF:3.500,
b.ts
#EXTINF:4.000,
c.ts
"""


def test_a_playlist_says_when_its_newest_segment_began() -> None:
    assert newest_began_s(PLAYLIST) == pytest.approx(1795514400.5 + 7.5)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<html>not found</html>",
        "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nlow.m3u8\n",
        PLAYLIST.replace("#EXT-X-PROGRAM-DATE-TIME:2026-11-24T10:00:00.500Z\n", ""),
        PLAYLIST.replace("4.000", "four"),
    ],
)
def test_a_playlist_that_does_not_say(text: str) -> None:
    assert newest_began_s(text) is None


def test_a_tag_for_each_segment() -> None:
    text = "#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:3\n#EXTINF:2,\n#EXT-X-PROGRAM-DATE-TIME:2026-11-24T10:00:00+00:00\na.ts\n"
    assert newest_began_s(text) == 1795514400.0
