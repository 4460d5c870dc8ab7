from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.workers.feed.packets import film, packet
from workers.feed.cutter import Cutter, KeyFramesTooSparse
from workers.feed.packets import Cut, Kind, Packet

BOTH: frozenset[Kind] = frozenset({"video", "audio"})
SOUND: frozenset[Kind] = frozenset({"audio"})


def cut_all(cutter: Cutter, packets: list[Packet]) -> list[Cut]:
    cuts = [cut for each in packets if (cut := cutter.add(each))]
    last = cutter.flush()
    return [*cuts, last] if last else cuts


def spans(cut: Cut, kind: Kind) -> tuple[float, float]:
    of_kind = [p for p in cut.packets if p.kind == kind]
    return min(p.start_s for p in of_kind), max(p.end_s for p in of_kind)


def test_segments_begin_at_key_frames_and_overlap() -> None:
    cuts = cut_all(Cutter(BOTH, length_s=6, overlap_s=2), film(20, keys_s=tuple(range(20))))

    assert [round(cut.begin_s, 3) for cut in cuts] == [0, 4, 8, 12, 16]
    assert [round(cut.end_s - cut.begin_s, 3) for cut in cuts] == [6.02, 6.02, 6.02, 6.02, 4]
    for cut in cuts:
        pictures = [p for p in cut.packets if p.kind == "video"]
        assert pictures[0].is_key
        assert pictures[0].start_s == cut.begin_s


@settings(deadline=None, max_examples=25)
@given(
    gaps=st.lists(st.integers(1, 50), min_size=30, max_size=60),
    length_s=st.floats(4, 8),
    overlap_s=st.floats(0, 2.5),
    at=st.floats(0, 1),
    part=st.floats(0, 1),
)
def test_whatever_is_not_longer_than_the_overlap_is_whole_in_one_segment(
    gaps: list[int], length_s: float, overlap_s: float, at: float, part: float
) -> None:
    keys_s, moment = [0.0], 0.0
    for gap in gaps:
        moment += gap / 10
        keys_s.append(moment)
    cuts = cut_all(Cutter(BOTH, length_s=length_s, overlap_s=overlap_s, stretch=4), film(moment, keys_s=tuple(keys_s)))

    word_s = overlap_s * part
    begin_s = at * max(0.0, moment - 0.2 - word_s)
    for kind in BOTH:
        covered = [spans(cut, kind) for cut in cuts if any(p.kind == kind for p in cut.packets)]
        assert any(first <= begin_s + 1e-9 and begin_s + word_s <= last + 1e-9 for first, last in covered)


def test_no_segment_is_much_longer_than_asked_for() -> None:
    cuts = cut_all(Cutter(BOTH, length_s=6, overlap_s=2, stretch=1.5), film(60, keys_s=tuple(range(0, 60, 5))))

    assert [round(cut.begin_s) for cut in cuts] == list(range(0, 60, 5))[: len(cuts)]
    assert all(cut.end_s - cut.begin_s < 9 for cut in cuts)


def test_key_frames_that_are_too_far_apart_are_told_and_nothing_is_lost() -> None:
    cutter = Cutter(BOTH, length_s=6, overlap_s=2, stretch=1.5)
    packets = film(30, keys_s=(0, 20))
    taken = []
    with pytest.raises(KeyFramesTooSparse, match=r"no key frame came within 9 s"):
        for each in packets:
            taken.append(each)
            cutter.add(each)

    assert cutter.packets == taken


def test_memory_is_bounded() -> None:
    cutter = Cutter(BOTH, length_s=6, overlap_s=2, max_bytes=1000)
    with pytest.raises(KeyFramesTooSparse, match="bytes"):
        cut_all(cutter, [packet("video", n / 10, 0.1, is_key=n == 0, size=100) for n in range(20)])


def test_before_the_first_key_frame_nothing_is_kept_but_the_sound_of_the_last_seconds() -> None:
    cutter = Cutter(BOTH, length_s=6, overlap_s=2)
    for each in film(30, keys_s=()):
        assert cutter.add(each) is None

    assert {p.kind for p in cutter.packets} == {"audio"}
    assert cutter.packets[0].start_s >= 23.9


def test_sound_alone_is_cut_at_its_packets() -> None:
    cuts = cut_all(Cutter(SOUND, length_s=6, overlap_s=2), [packet("audio", n / 10, 0.1) for n in range(200)])

    assert [round(cut.begin_s, 1) for cut in cuts] == [0, 4, 8, 12, 16]
    assert cuts[0].packets[-1].end_s == pytest.approx(6)


def test_a_track_that_died_does_not_hold_up_the_other() -> None:
    packets = [p for p in film(20, keys_s=tuple(range(20))) if p.kind == "video" or p.start_s < 3]
    cuts = cut_all(Cutter(BOTH, length_s=6, overlap_s=2), packets)

    assert [round(cut.begin_s) for cut in cuts[:3]] == [0, 4, 8]


def test_pictures_that_refer_to_what_is_gone_are_left_out() -> None:
    keys = packet("video", 0, 0.1), packet("video", 4, 0.1)
    between = [packet("video", n / 10, 0.1, is_key=False) for n in range(1, 39)]
    leading = packet("video", 3.9, 0.1, is_key=False)  # decoded after the key frame, shown before it
    after = [packet("video", n / 10, 0.1, is_key=n == 80) for n in range(41, 120)]
    frozen: frozenset[Kind] = frozenset({"video"})
    cuts = cut_all(Cutter(frozen, length_s=6, overlap_s=1), [keys[0], *between, keys[1], leading, *after])

    assert leading in cuts[0].packets
    assert cuts[1].packets[0] is keys[1]
    assert leading not in cuts[1].packets


def test_the_end_is_not_published_twice() -> None:
    cutter = Cutter(SOUND, length_s=6, overlap_s=2)
    cuts = [cut for n in range(62) if (cut := cutter.add(packet("audio", n / 10, 0.1)))]

    assert len(cuts) == 1
    last = cutter.flush()
    assert last is not None
    assert last.end_s == pytest.approx(6.2)

    cutter = Cutter(SOUND, length_s=6, overlap_s=2)
    for n in range(61):
        cutter.add(packet("audio", n / 10, 0.1))
    assert cutter.flush() is None
