"""Live streams on loopback for tests: media made with PyAV, and a server that plays a file at the pace of real time."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np

RATE = 16_000
FPS = 10


def make_media(
    path: Path, *, seconds: float, gop_s: float = 1.0, video: str = "libx264", audio: str = "aac", frames_b: int = 2
) -> Path:
    """A film of a growing bar and a rising tone. An empty codec name leaves that track out."""
    with av.open(str(path), "w") as out:
        picture: Any = None
        sound: Any = None
        if video:
            options = {"x264-params": f"keyint={round(gop_s * FPS)}:min-keyint={round(gop_s * FPS)}:scenecut=0"}
            picture = out.add_stream(
                video, rate=FPS, width=96, height=64, options=options if video == "libx264" else {}
            )
            picture.codec_context.gop_size = round(gop_s * FPS)
            picture.codec_context.max_b_frames = frames_b if video == "libx264" else 0
            picture.codec_context.thread_count = 1
            picture.pix_fmt = "yuvj420p" if video == "mjpeg" else "yuv420p"
        if audio:
            sound = out.add_stream(audio, rate=RATE, layout="mono")
        for second in range(round(seconds)):
            if picture is not None:
                _draw(out, picture, second)
            if sound is not None:
                _play(out, sound, second)
        for stream in (picture, sound):
            if stream is not None:
                out.mux(stream.encode(None))
    return path


def _draw(out: Any, stream: Any, second: int) -> None:
    for n in range(second * FPS, (second + 1) * FPS):
        pixels = np.zeros((64, 96, 3), np.uint8)
        pixels[:, : 1 + n % 96] = (255, 255 - n % 256, n % 256)
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        frame.pts, frame.time_base = n, Fraction(1, FPS)
        out.mux(stream.encode(frame))


def _play(out: Any, stream: Any, second: int) -> None:
    t = np.arange(second * RATE, (second + 1) * RATE) / RATE
    wave = (np.sin(2 * np.pi * (300 + 20 * t) * t) * 8000).astype(np.int16)
    frame = av.AudioFrame.from_ndarray(wave[None, :], format="s16", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = RATE, second * RATE, Fraction(1, RATE)
    for piece in av.AudioResampler(stream.codec_context.format, "mono", RATE).resample(frame):
        out.mux(stream.encode(piece))


class LiveServer:
    """MPEG-TS over HTTP: every listener hears the file from its beginning, at the pace of real time, for ever.

    ``pace`` makes it faster for tests that do not look at wall-clock time. ``stop`` and ``start`` may follow each
    other: the port stays the same.
    """

    def __init__(self, path: Path, *, pace: float = 1.0) -> None:
        self._path = path
        self._pace = pace
        self.port = 0
        self.listened_s: list[float] = []
        """Wall clock at which each listener heard the first frame."""
        self._stopped = threading.Event()
        self._silent = threading.Event()
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}/live.ts"

    def start(self) -> None:
        self._stopped = threading.Event()
        listening = socket.create_server(("127.0.0.1", self.port))
        self.port = listening.getsockname()[1]
        self._sockets = [listening]
        self._spawn(self._accept, listening, self._stopped)

    def stop(self) -> None:
        self._stopped.set()
        for each in list(self._sockets):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)  # wakes a thread that waits in accept or send
            each.close()
        for thread in self._threads:
            thread.join(5)
        self._threads = []

    def fall_silent(self) -> None:
        """Stay connected, and send nothing any more."""
        self._silent.set()

    def __enter__(self) -> LiveServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _spawn(self, target: Any, *args: Any) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _accept(self, listening: socket.socket, stopped: threading.Event) -> None:
        while not stopped.is_set():
            try:
                client, _ = listening.accept()
            except OSError:
                return
            self._sockets.append(client)
            self._spawn(self._serve, client, stopped)

    def _serve(self, client: socket.socket, stopped: threading.Event) -> None:
        try:
            client.recv(65536)
            client.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: video/mp2t\r\nConnection: close\r\n\r\n")
            play(self._path, _Pipe(client), stopped, pace=self._pace, silent=self._silent, listened=self.listened_s)
        except OSError:  # the listener hung up, or the server was stopped
            pass
        finally:
            client.close()


class _Pipe:
    """A socket that PyAV can write to."""

    def __init__(self, client: socket.socket) -> None:
        self._client = client

    def write(self, data: bytes) -> int:
        self._client.sendall(data)
        return len(data)


def play(
    path: Path,
    target: Any,
    stopped: threading.Event,
    *,
    pace: float = 1.0,
    silent: threading.Event | None = None,
    listened: list[float] | None = None,
    format: str = "mpegts",  # noqa: A002 - PyAV's word
    options: dict[str, str] | None = None,
) -> None:
    """Remux ``path`` to ``target`` again and again, no packet before its time, until ``stopped``."""
    began, offset_s = time.monotonic(), 0.0
    if listened is not None:
        listened.append(time.time())
    out = av.open(target, "w", format=format, options=options or {"flush_packets": "1"})
    out.flags |= cast(int, av.container.Flags.flush_packets.value)
    streams: dict[int, Any] = {}
    while not stopped.is_set():
        end_s = 0.0
        with av.open(str(path)) as source:
            if not streams:
                streams = {s.index: out.add_stream_from_template(s, opaque=True) for s in source.streams}
            for packet in source.demux():
                if packet.dts is None or packet.pts is None:
                    continue
                at_s = offset_s + float(packet.dts * packet.time_base)
                end_s = max(end_s, float((packet.pts + (packet.duration or 0)) * packet.time_base))
                stopped.wait(max(0.0, began + at_s / pace - time.monotonic()))
                while silent is not None and silent.is_set() and not stopped.is_set():
                    stopped.wait(0.1)
                if stopped.is_set():
                    break
                shift = round(offset_s / packet.time_base)
                packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                packet.stream = streams[packet.stream_index]
                out.mux(packet)
        offset_s += end_s
