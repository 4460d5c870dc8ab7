"""Packets of imagined streams."""

from __future__ import annotations

from fractions import Fraction

from workers.feed.packets import Kind, Packet

BASE = Fraction(1, 1000)


def packet(kind: Kind, start_s: float, duration_s: float, *, is_key: bool = True, size: int = 10) -> Packet:
    pts = round(start_s * 1000)
    return Packet(kind, pts, pts, round(duration_s * 1000), BASE, is_key, b"x" * size, start_s)


def film(seconds: float, *, keys_s: tuple[float, ...], fps: int = 10, start_s: float = 0.0) -> list[Packet]:
    """Pictures with key frames at ``keys_s``, and sound in packets of 20 ms, in the order of a stream."""
    keys = {round(key * fps) for key in keys_s}
    pictures = [packet("video", start_s + n / fps, 1 / fps, is_key=n in keys) for n in range(round(seconds * fps))]
    sounds = [packet("audio", start_s + n * 0.02, 0.02) for n in range(round(seconds * 50))]
    return sorted(pictures + sounds, key=lambda p: p.dts)
