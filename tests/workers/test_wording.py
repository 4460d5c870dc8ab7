"""Where evidence is, and what it says, shows or lets hear, in words."""

from __future__ import annotations

import pytest

from schemas.chunks import Channel
from schemas.media import Modality
from tests.workers.toy_space import evidence
from workers.generation.wording import companions, composed, stated


@pytest.mark.parametrize(
    ("text", "fields", "sentence"),
    [
        ("It opens at six.", {}, "file1.md says: “It opens at six.” [1]."),
        ("It opens\nat six.", {"title": "Shifts > Early"}, "file1.md (Shifts > Early) says: “It opens at six.” [1]."),
        (
            "Total due: 12 euros",
            {"page": 3, "content_type": "application/pdf", "source_uri": "s3://b/my%20bill.pdf"},
            "Page 3 of my bill.pdf says: “Total due: 12 euros” [1].",
        ),
        (
            "EXIT",
            {"modality": Modality.IMAGE, "source_uri": "door.png", "title": "door.png", "box": (0, 0, 0.2, 0.2)},
            "door.png reads: “EXIT” [1].",
        ),
        (
            "the train is late",
            {
                "modality": Modality.AUDIO,
                "channel": Channel.SPEECH,
                "source_uri": "a.flac",
                "start_ms": 5200,
                "end_ms": 8100,
            },
            "At 0:05–0:09 in a.flac someone says: “the train is late” [1].",
        ),
        (
            "the train is late",
            {
                "modality": Modality.VIDEO,
                "channel": Channel.SPEECH,
                "source": "platform-2",
                "source_uri": "rtsp://***@cam/2#t=clock:20231114T221320Z,20231114T221326Z&clock=arrival",
                "event_time_ms": 1_700_000_000_000,
                "start_ms": 2000,
                "end_ms": 5000,
            },
            "At 2023-11-14 22:13:20–22:13:23 UTC in platform-2 someone says: “the train is late” [1].",
        ),
        (
            "dog, bark",
            {
                "modality": Modality.AUDIO,
                "channel": Channel.SOUND,
                "source_uri": "yard.ogg",
                "start_ms": 0,
                "end_ms": 960,
            },
            "At 0:00–0:01 in yard.ogg one hears: dog, bark [1].",
        ),
        (
            "lakeside",
            {
                "modality": Modality.VIDEO,
                "channel": Channel.PICTURE,
                "source_uri": "film.mp4",
                "start_ms": 3_725_000,
                "end_ms": 3_729_000,
            },
            "At 1:02:05–1:02:09, film.mp4 shows: lakeside [1].",
        ),
        (
            "tabby cat",
            {"modality": Modality.IMAGE, "channel": Channel.PICTURE, "source_uri": ""},
            "d1 shows: tabby cat [1].",
        ),
    ],
)
def test_a_piece_of_evidence_in_a_sentence(text: str, fields: dict[str, object], sentence: str) -> None:
    assert stated(evidence(1, text, **fields)) == sentence


@pytest.mark.parametrize(
    ("box", "where"),
    [
        ((0, 0, 1, 1), ""),
        ((0.5, 0, 1, 0.5), " (at the top right)"),
        ((0, 0.55, 0.5, 1), " (at the bottom left)"),
        ((0.25, 0.25, 0.75, 0.75), " (in the middle)"),
        ((0, 0.2, 0.5, 0.8), " (at the left)"),
    ],
)
def test_a_region_is_pointed_at(box: tuple[float, float, float, float], where: str) -> None:
    made = evidence(1, "cat", modality=Modality.IMAGE, channel=Channel.PICTURE, source_uri="a.png", box=box)
    assert stated(made) == f"a.png shows: cat{where} [1]."


def test_doubt_is_said() -> None:
    made = evidence(1, "sea anemone", modality=Modality.IMAGE, channel=Channel.PICTURE, source_uri="a.png", score=0.3)
    assert stated(made) == "Perhaps: a.png shows: sea anemone [1]."


def test_a_long_quotation_is_cut_at_a_word() -> None:
    sentence = stated(evidence(1, "word " * 200))
    assert sentence.endswith("word …” [1].")
    assert len(sentence) < 360


def test_an_answer_takes_what_is_as_good_and_one_of_another_channel() -> None:
    words = [evidence(n, f"text {n}", score=score) for n, score in ((1, 0.9), (2, 0.8), (3, 0.79))]
    cat = evidence(4, "cat", channel=Channel.PICTURE, score=0.5)
    bark = evidence(5, "bark", channel=Channel.SOUND, score=0.4)
    assert [piece.number for piece in composed([*words, cat, bark])] == [1, 2, 4]
    assert companions(words[:1], [*words, bark]) == []
    assert companions([cat], [cat, bark]) == []
