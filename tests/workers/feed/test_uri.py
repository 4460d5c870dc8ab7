from __future__ import annotations

import pytest

from workers.feed.uri import device, masked, scheme, slug, source_name


@pytest.mark.parametrize(
    ("uri", "safe"),
    [
        ("rtsp://admin:hunter2@cam.lan:554/lobby", "rtsp://***@cam.lan:554/lobby"),
        ("rtsp://admin@cam.lan/lobby", "rtsp://***@cam.lan/lobby"),
        ("rtsp://admin:p@ss@cam.lan/lobby", "rtsp://***@cam.lan/lobby"),
        ("rtsp://admin:hun/ter2@cam.lan/lobby", "rtsp://***@cam.lan/lobby"),
        ("http://cam/live.m3u8?token=hunter2&size=hd", "http://cam/live.m3u8?token=***&size=hd"),
        ("http://cam/live.m3u8?user=a&pwd=hunter2", "http://cam/live.m3u8?user=***&pwd=***"),
        ("http://cam/@channel/live.m3u8", "http://cam/@channel/live.m3u8"),
        ("http://[::1]:8000/@channel", "http://[::1]:8000/@channel"),
        ("udp://239.0.0.1:1234", "udp://239.0.0.1:1234"),
        ("/media/a@b.ts", "/media/a@b.ts"),
    ],
)
def test_no_secret_is_left(uri: str, safe: str) -> None:
    assert masked(uri) == safe
    assert "hunter2" not in source_name(uri)


def test_sources_have_names_and_slugs() -> None:
    assert source_name("rtsp://u:p@cam.lan/lobby") == "cam.lan/lobby"
    assert source_name("/media/talk.mp4") == "talk.mp4"
    assert source_name("udp://@:1234") == ":1234"
    assert slug("lobby") == "lobby"
    assert slug("cam.lan/lobby") != slug("cam-lan/lobby")
    assert slug("カメラ").startswith("feed-")


def test_devices_are_told_from_addresses_and_paths() -> None:
    assert device("v4l2:///dev/video0") == ("v4l2", "/dev/video0")
    assert device("/dev/video1") == ("v4l2", "/dev/video1")
    assert device("alsa://default") == ("alsa", "default")
    assert device("rtsp://cam/lobby") is None
    assert scheme("concat:a|b") == ""
    assert scheme("C:/film.mp4") == ""
    assert scheme("HTTP://cam") == "http"
