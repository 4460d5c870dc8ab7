"""The piece that answers, with its exact place: characters, box, seconds, region; no repetition, within a budget."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

import numpy as np
import pytest

from schemas.answers import HitsRanked
from schemas.base import Event
from schemas.chunks import Channel, Chunk, OcrLine, PartsRef, Word
from schemas.media import BlobRef, Modality
from schemas.queries import Candidate, Evidence, QueryRefined, QueryReranked
from tests.workers.toy_space import PartsInMemory, asked, candidate, chunk, features, query, region, window
from workers.extract.passages import count_tokens
from workers.models.base import Parts
from workers.refine import RefineStage

PASSAGE = (
    "Feeds are checked for picture and sound. If a feed freezes, the operator calls the duty engineer.\n\n"
    "The bell was cast in 1412. It was found again by divers in 1968. Tours last an hour.\n\n"
    "| feed | encoder |\n| --- | --- |\n| harbour camera | B2 |\n| weather radar | D4 |"
)


async def result(question: str, *found: Candidate, budget: int = 700, **fields: object) -> Event:
    stage = RefineStage(PartsInMemory(*found), budget, clock=lambda: 5)
    event = QueryReranked(query_id="q1", asked=asked(question, **fields), vectors=query(question), candidates=found)
    (output,) = [output async for output in stage.process([event])]
    assert isinstance(output.result, Event)
    return output.result


async def refined(question: str, *found: Candidate, budget: int = 700, **fields: object) -> tuple[Evidence, ...]:
    event = await result(question, *found, budget=budget, **fields)
    assert isinstance(event, QueryRefined)
    assert [piece.number for piece in event.evidence] == list(range(1, len(event.evidence) + 1))
    return event.evidence


def picture(name: str, *regions: object, **fields: object) -> Chunk:
    known: dict[str, object] = {"modality": Modality.IMAGE, "channel": Channel.PICTURE, "content_type": "image/png"}
    return chunk(name, **{"features": features(regions=regions), **known, **fields})


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("Who is called when a feed freezes?", "If a feed freezes, the operator calls the duty engineer."),
        ("Which encoder has the weather radar?", "| weather radar | D4 |"),
        ("How long are tours?", "Tours last an hour."),
        # what leans on the sentence before is quoted with it, and the other way round
        ("Who found it again, divers?", "The bell was cast in 1412. It was found again by divers in 1968."),
        ("bell", "The bell was cast in 1412. It was found again by divers in 1968."),
    ],
)
async def test_the_sentence_that_answers_is_quoted_exactly(question: str, expected: str) -> None:
    made = chunk("p", PASSAGE, start_char=1000, end_char=1000 + len(PASSAGE))
    (piece,) = await refined(question, candidate(made))
    assert piece.text == expected
    assert piece.start_char is not None and piece.end_char is not None
    assert PASSAGE[piece.start_char - 1000 : piece.end_char - 1000] == expected


async def test_ocr_gives_the_lines_and_their_box() -> None:
    rows = [("INVOICE 2024", 0.1), ("The total due is", 0.3), ("1,284.50 euros.", 0.4), ("Thank you", 0.8)]
    text = "\n".join(row for row, _ in rows)
    ends = list(itertools.accumulate(len(row) + 1 for row, _ in rows))
    lines = [
        OcrLine(text=row, box=(0.1, y, 0.5, y + 0.05), score=0.9, start_char=end - len(row) - 1, end_char=end - 1)
        for (row, y), end in zip(rows, ends, strict=True)
    ]
    lines[1] = lines[1].model_copy(update={"box": (0.1, 0.3, 0.9, 0.35)})  # as wide as the page: it reads on
    made = chunk(
        "ocr", text, modality=Modality.IMAGE, page=2, features=features(ocr=lines), start_char=None, end_char=None
    )
    (piece,) = await refined("What is the total due?", candidate(made))
    assert piece.text == "The total due is\n1,284.50 euros."
    assert piece.box == pytest.approx((0.1, 0.3, 0.9, 0.45))
    assert (piece.page, piece.channel) == (2, Channel.TEXT)


async def test_speech_gives_the_seconds_of_its_words() -> None:
    text = "Welcome to the show. The train leaves from platform nine. Goodbye."
    places = [(found.start(), found.end()) for found in re.finditer(r"\S+", text)]
    spoken = [
        Word(text=text[start:end], start_ms=1000 * number, end_ms=1000 * number + 800, start_char=start, end_char=end)
        for number, (start, end) in enumerate(places)
    ]
    made = chunk(
        "talk",
        text,
        modality=Modality.AUDIO,
        channel=Channel.SPEECH,
        features=features(words=spoken),
        start_char=None,
        end_char=None,
        start_ms=0,
        end_ms=20_000,
    )
    (piece,) = await refined("From which platform does the train leave?", candidate(made))
    assert piece.text == "The train leaves from platform nine."
    assert (piece.start_ms, piece.end_ms) == (4000, 9800)


async def test_a_sound_gives_the_windows_in_which_it_is_heard() -> None:
    windows = [window(at, at + 960, "dog" if 1920 <= at < 3840 else "wind") for at in range(0, 5760, 960)]
    made = chunk(
        "yard",
        modality=Modality.AUDIO,
        channel=Channel.SOUND,
        features=features(windows=windows),
        start_ms=0,
        end_ms=5760,
    )
    (piece,) = await refined("a hound", candidate(made))
    assert (piece.text, piece.start_ms, piece.end_ms) == ("dog", 1920, 3840)


async def test_a_picture_gives_the_region_that_stands_out() -> None:
    made = picture("room", region((0, 0, 1, 1), "sofa", "lamp"), region((0.5, 0, 1, 0.5), "cat"))
    (piece,) = await refined("a feline", candidate(made))
    assert (piece.text, piece.box) == ("cat", (0.5, 0, 1, 0.5))


async def test_a_picture_is_whole_where_nothing_stands_out() -> None:
    made = picture("cat", region((0, 0, 1, 1), "cat"), region((0.5, 0, 1, 0.5), "cat"))
    (piece,) = await refined("a feline", candidate(made))
    assert piece.box is None


async def test_a_region_of_a_picture_on_a_page_is_a_box_on_the_page() -> None:
    made = picture("p", region((0, 0, 1, 1), "sofa"), region((0.5, 0, 1, 0.5), "cat"), box=(0.5, 0.5, 1, 1), page=3)
    (piece,) = await refined("a feline", candidate(made))
    assert (piece.page, piece.box) == (3, (0.75, 0.5, 1, 0.75))


async def test_the_event_time_is_that_of_the_piece() -> None:
    windows = [window(at, at + 960, "dog" if at >= 60_960 else "wind") for at in (60_000, 60_960)]
    heard = features(windows=windows)
    made = chunk("y", channel=Channel.SOUND, features=heard, start_ms=60_000, end_ms=61_920, event_time_ms=1_060_000)
    (piece,) = await refined("a hound", candidate(made))
    assert (piece.start_ms, piece.event_time_ms) == (60_960, 1_060_960)


async def test_a_shot_keeps_its_seconds() -> None:
    made = picture("shot", region((0, 0, 1, 1), "lake"), modality=Modality.VIDEO, start_ms=5000, end_ms=9000)
    (piece,) = await refined("lake", candidate(made))
    assert (piece.text, piece.start_ms, piece.end_ms) == ("lake", 5000, 9000)


async def test_repetition_is_dropped() -> None:
    one = candidate(chunk("one", "The duty engineer has the number 4417 in case of any fault."), 0.9)
    copy = candidate(chunk("copy", "The duty engineer has the number 4417, in case of any fault!"), 0.8)
    other = candidate(chunk("other", "The duty engineer sleeps in room 12."), 0.7)
    pieces = await refined("Where is the duty engineer, and what number?", one, copy, other)
    assert [piece.chunk_id for piece in pieces] == ["one", "other"]


async def test_the_same_picture_is_shown_once_and_another_of_the_same_thing_twice() -> None:
    media = BlobRef(uri="file:///cat.png", sha256="aa", size=1)
    whole = region((0, 0, 1, 1), "cat")
    one, copy = picture("one", whole, media=media), picture("copy", whole, media=media)
    other = picture("other", whole, media=media.model_copy(update={"sha256": "bb"}))
    pieces = await refined("cat", candidate(one, 0.9), candidate(copy, 0.8), candidate(other, 0.7))
    assert [piece.chunk_id for piece in pieces] == ["one", "other"]


async def test_overlapping_pieces_of_a_document_become_one() -> None:
    text = "Pumps run hourly. Pump seven leaks water. Pump seven was repaired. Fans rest."
    first = chunk("a", text[:62], document_id="d", start_char=0, end_char=62)
    second = chunk("b", text[18:], document_id="d", start_char=18, end_char=len(text))
    pieces = await refined("pump seven", candidate(first, 0.9), candidate(second, 0.8))
    assert [text[piece.start_char : piece.end_char] == piece.text for piece in pieces] == [True] * len(pieces)
    assert len(pieces) == 1


async def test_weak_pieces_are_dropped_but_never_all() -> None:
    strong, weak = candidate(chunk("s", "cats sleep"), 0.9), candidate(chunk("w", "cats and more"), 0.1)
    assert [piece.chunk_id for piece in await refined("cats", strong, weak)] == ["s"]
    assert [piece.chunk_id for piece in await refined("cats", weak)] == ["w"]
    assert await refined("cats") == ()


async def test_one_document_does_not_crowd_out_the_others() -> None:
    many = [
        candidate(chunk(f"m{n}", f"Cats {word} all day long.", document_id="m", start_char=n * 1000), 0.90 - n / 100)
        for n, word in enumerate(["sleep", "play", "hunt", "purr"])
    ]
    other = candidate(chunk("o", "Cats like fish."), 0.8)
    pieces = await refined("cats", *many, other, limit=3)
    assert [piece.chunk_id for piece in pieces] == ["m0", "m1", "o"]  # best first, by score


async def test_the_budget_is_kept_even_by_the_first() -> None:
    long = candidate(chunk("long", "cats " + " ".join(f"word{n}" for n in range(400))), 0.9)
    (piece,) = await refined("cats", long, budget=50)
    assert 20 <= count_tokens(piece.text) <= 50
    many = [candidate(chunk(f"c{n}", f"Cats {n} eat {' '.join('abcdefghij')} {n}."), 0.9 - n / 100) for n in range(9)]
    pieces = await refined("cats", *many, budget=60)
    assert 2 <= len(pieces) < 9
    assert sum(count_tokens(piece.text) for piece in pieces) <= 60


async def test_chunks_whose_parts_are_lost_are_still_evidence() -> None:
    class Lost(PartsInMemory):
        async def read_many(self, refs: Sequence[PartsRef]) -> list[Parts]:
            nothing = np.zeros((0, 0), np.float32)
            return [Parts(nothing, np.zeros((0, 4), np.int32), np.zeros(0, np.float32)) for _ in refs]

    yard = features(windows=[window(0, 960, "cat")])
    found = (
        candidate(chunk("words", "Dogs bark. Cats sleep.")),
        candidate(picture("shown", region((0, 0, 1, 1), "cat"), region((0, 0, 0.5, 1), "dog"))),
        candidate(chunk("heard", channel=Channel.SOUND, features=yard, start_ms=0, end_ms=960)),
    )
    event = QueryReranked(query_id="q1", asked=asked("cats"), vectors=query("cats"), candidates=found)
    (output,) = [output async for output in RefineStage(Lost(), 700).process([event])]
    assert isinstance(output.result, QueryRefined)
    assert {piece.text for piece in output.result.evidence} == {"Cats sleep.", "cat, dog", "cat"}


async def test_a_query_may_end_here() -> None:
    event = await result("cats", candidate(chunk("s", "Dogs bark. Cats sleep.")), until_stage="refine")
    assert isinstance(event, HitsRanked)
    assert [(hit.rank, hit.text) for hit in event.hits] == [(1, "Cats sleep.")]
