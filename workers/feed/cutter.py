"""Where a stream is cut: overlapping segments that begin at key frames, without touching a single frame.

In: packets of one unbroken time line, in the order of the stream. Out: ``Cut``s. A segment is ``length_s`` long; the
next one begins at the last key frame that is at least ``overlap_s`` before the end of this one, so whatever is not
longer than the overlap lies whole in one of them. Where no key frame is there yet, the segment grows until one is, up
to ``stretch`` times its length. Raises ``KeyFramesTooSparse`` beyond that, or when the packets outgrow ``max_bytes``.
"""

from __future__ import annotations

from workers.feed.packets import Cut, Kind, Packet

SLACK_S = 1.0
"""How far one track may lag behind the other before a segment is closed without it."""

GRACE_S = 0.15
"""With pictures a segment may be a little longer where that lets the next one begin a whole key frame later: at 29.97
frames a second the key frame of the fourth second comes at 4.004 s, and waiting for it halves what is done twice.
"""
WORTH_S = 0.15
"""Less than this at the end of a stream is no segment of its own: no word is so short."""


class KeyFramesTooSparse(Exception):
    """The stream cannot be cut as it is; ``Cutter.packets`` holds what was not cut yet."""


class Cutter:
    """Cuts one time line. ``kinds`` are its tracks; pictures lead where there are any."""

    def __init__(
        self,
        kinds: frozenset[Kind],
        *,
        length_s: float,
        overlap_s: float,
        stretch: float = 1.5,
        max_bytes: int = 32 * 1024 * 1024,
    ) -> None:
        self.packets: list[Packet] = []
        self._kinds = kinds
        self._lead: Kind = "video" if "video" in kinds else "audio"
        self._length_s = length_s
        self._grace_s = length_s + (GRACE_S if self._lead == "video" else 0.0)
        self._overlap_s = overlap_s
        self._longest_s = length_s * stretch
        self._max_bytes = max_bytes
        self._size = 0
        self._begin_s: float | None = None
        self._covered_s = float("-inf")
        self._edge_s = 0.0  # the longest packet of sound: one that reaches over a border must not eat into the overlap
        self._reached: dict[Kind, float] = {}

    def add(self, packet: Packet) -> Cut | None:
        """Take the next packet; gives the segment that it completes."""
        self.packets.append(packet)
        self._size += len(packet.data)
        self._reached[packet.kind] = packet.decode_s
        if packet.kind != self._lead:
            self._edge_s = max(self._edge_s, packet.end_s - packet.start_s)
        if self._begin_s is None:
            self._wait_for_key(packet)
            return None
        if self._size > self._max_bytes:
            raise KeyFramesTooSparse(f"{self._size:,} bytes came within one segment")
        if not self._is_past(self._begin_s + self._length_s):
            return None
        return self._cut(self._begin_s)

    def flush(self) -> Cut | None:
        """What is left at the end of the time line, unless the segment before holds it already."""
        begin_s = self._begin_s
        packets, self.packets, self._begin_s, self._size = tuple(self.packets), [], None, 0
        if begin_s is None or not packets:
            return None
        end_s = max(packet.end_s for packet in packets)
        return Cut(packets, begin_s, end_s) if end_s > self._covered_s + WORTH_S else None

    def _wait_for_key(self, packet: Packet) -> None:
        """Before the first key frame only the sound of the last seconds is kept."""
        if packet.kind != self._lead:
            oldest_s = packet.start_s - self._length_s
            self.packets = [p for p in self.packets if p.start_s >= oldest_s]
        elif packet.is_key:
            self._begin_at(packet)
        else:
            self.packets.pop()

    def _is_past(self, moment_s: float) -> bool:
        """Whether no packet before ``moment_s`` is to be expected any more."""
        if any(reached >= moment_s + SLACK_S for reached in self._reached.values()):
            return True
        return all(self._reached.get(kind, float("-inf")) >= moment_s for kind in self._kinds)

    def _cut(self, begin_s: float) -> Cut | None:
        keys = [p for p in self.packets if p.kind == self._lead and p.is_key and p.start_s > begin_s]
        full_s = self._overlap_s + self._edge_s
        in_time = [key for key in keys if key.start_s + full_s <= begin_s + self._grace_s]
        chosen = in_time[-1] if in_time else keys[0] if keys else None
        # The segment grows until the overlap behind the key frame is full.
        end_s = max(begin_s + self._length_s, chosen.start_s + full_s if chosen else 0.0)
        if end_s - begin_s > self._longest_s or (chosen is None and self._is_past(begin_s + self._longest_s)):
            raise KeyFramesTooSparse(f"no key frame came within {self._longest_s:g} s")
        if chosen is None or not self._is_past(end_s):
            return None
        cut = Cut(self._until(end_s), begin_s, end_s)
        self._covered_s = end_s
        self._begin_at(chosen)
        return cut

    def _until(self, end_s: float) -> tuple[Packet, ...]:
        """Packets up to ``end_s``. Pictures end after the last one that is shown before it, in decoding order, so that
        no frame lacks one that it refers to.
        """
        last = max(i for i, p in enumerate(self.packets) if p.kind == self._lead and p.start_s < end_s)
        return tuple(
            p for i, p in enumerate(self.packets) if (i <= last if p.kind == self._lead else p.start_s < end_s)
        )

    def _begin_at(self, key: Packet) -> None:
        """Keep what the segment that begins with ``key`` needs; pictures shown before it refer to what is gone."""
        at = self.packets.index(key)
        self.packets = [
            p for i, p in enumerate(self.packets) if p.start_s >= key.start_s and (i >= at or p.kind != self._lead)
        ]
        self._begin_s = key.start_s
        self._size = sum(len(p.data) for p in self.packets)
