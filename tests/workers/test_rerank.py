"""Late interaction puts what answers above what is about the same, over all channels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from schemas.answers import HitsRanked
from schemas.base import Event, Trace
from schemas.chunks import Channel, PartsRef
from schemas.media import Modality
from schemas.queries import Candidate, QueryReranked, QueryRetrieved
from tests.workers.toy_space import PartsInMemory, asked, candidate, chunk, features, query, region, window
from workers.models.base import Parts
from workers.relevance import Signals, is_other_kind, relevance, word_scores
from workers.rerank import RerankStage

EXACT = candidate(chunk("exact", "The duty engineer has the number 4417 in case of faults."), 0.1)
TOPICAL = candidate(chunk("topical", "Engineers on duty repair faults, and duty engineers report faults."), 0.9)
CAT = candidate(
    chunk(
        "cat",
        modality=Modality.IMAGE,
        channel=Channel.PICTURE,
        features=features(regions=(region((0, 0, 1, 1), "sofa", "lamp"), region((0.5, 0.5, 1, 1), "cat"))),
    )
)
SOFA = candidate(
    chunk(
        "sofa",
        modality=Modality.IMAGE,
        channel=Channel.PICTURE,
        features=features(regions=(region((0, 0, 1, 1), "sofa", "lamp"),)),
    ),
    0.9,
)
BARK = candidate(
    chunk(
        "bark",
        modality=Modality.AUDIO,
        channel=Channel.SOUND,
        features=features(windows=(window(0, 960, "wind"), window(960, 1920, "dog"))),
    )
)


async def reranked(question: str, *candidates: Candidate, **fields: object) -> Sequence[Event]:
    stage = RerankStage(PartsInMemory(*candidates), clock=lambda: 5)
    event = QueryRetrieved(
        query_id="q1",
        trace=Trace(traceparent="00-1-2-01"),
        asked=asked(question, **fields),
        vectors=query(question),
        candidates=candidates,
    )
    outputs = [output async for output in stage.process([event])]
    assert [output.origin for output in outputs] == [0]
    return [output.result for output in outputs if isinstance(output.result, Event)]


async def order(question: str, *candidates: Candidate) -> list[str]:
    (event,) = await reranked(question, *candidates)
    assert isinstance(event, QueryReranked)
    return [found.item.chunk.chunk_id for found in event.candidates]


async def test_the_exact_answer_rises_over_the_topical_passage() -> None:
    assert await order("What number has the duty engineer?", TOPICAL, EXACT) == ["exact", "topical"]


async def test_a_region_that_shows_it_lifts_the_picture() -> None:
    assert await order("feline", SOFA, CAT) == ["cat", "sofa"]


async def test_a_window_in_which_it_is_heard_lifts_the_sound() -> None:
    assert (await order("a hound", SOFA, BARK, TOPICAL))[0] == "bark"


async def test_every_signal_is_kept() -> None:
    (event,) = await reranked("feline", CAT)
    assert isinstance(event, QueryReranked)
    (found,) = event.candidates
    assert set(found.scores) == {"retrieve", "late", "dense", "words", "rerank"}
    assert found.score == found.scores["rerank"]
    assert found.scores["late"] == pytest.approx(1.0, abs=0.01)
    assert event.trace.traceparent == "00-1-2-01"


async def test_what_is_unknown_is_left_out_and_the_event_survives_the_wire() -> None:
    class Lost(PartsInMemory):
        async def read_many(self, refs: Sequence[PartsRef]) -> list[Parts]:
            nothing = np.zeros((0, 0), np.float32)
            return [Parts(nothing, np.zeros((0, 4), np.int32), np.zeros(0, np.float32)) for _ in refs]

    vectors = query("feline").model_copy(update={"text": ""})
    event = QueryRetrieved(query_id="q1", asked=asked(""), vectors=vectors, candidates=(CAT,))
    (output,) = [output async for output in RerankStage(Lost()).process([event])]
    assert isinstance(output.result, QueryReranked)
    assert set(output.result.candidates[0].scores) == {"retrieve", "dense", "rerank"}
    assert QueryReranked.model_validate_json(output.result.model_dump_json()) == output.result


async def test_a_query_may_end_here() -> None:
    (event,) = await reranked("feline", SOFA, CAT, until_stage="rerank", limit=1)
    assert isinstance(event, HitsRanked)
    assert [hit.chunk_id for hit in event.hits] == ["cat"]
    assert event.at_ms == 5


async def test_no_candidates_stay_none() -> None:
    (event,) = await reranked("feline")
    assert isinstance(event, QueryReranked)
    assert event.candidates == ()


async def test_a_chunk_without_stored_parts_stands_by_its_own_vector() -> None:
    bare = candidate(chunk("bare", "cat"), stored=False)
    assert await order("feline", SOFA, bare) == ["bare", "sofa"]


def test_relevance_grows_with_each_signal_and_stays_in_bounds() -> None:
    weak = Signals(Channel.TEXT, late=0.3, dense=0.2, words=0.0)
    assert 0 < relevance(replace(weak, other_kind=True)) < relevance(weak) < 0.1
    for better in (replace(weak, late=0.8), replace(weak, dense=0.7), replace(weak, words=1.0)):
        assert relevance(weak) < relevance(better) < 1
    missing = Signals(Channel.PICTURE, late=math.nan, dense=0.5, words=math.nan)
    assert 0 < relevance(missing) < 1


@pytest.mark.parametrize(
    ("question", "found", "is_other"),
    [
        ("Which photo shows a cat?", CAT, False),
        ("Which photo shows a cat?", EXACT, True),
        ("What do you hear?", BARK, False),
        ("What do you hear?", CAT, True),
        ("Which picture goes with this sound?", CAT, False),
        ("Which video shows a cat?", CAT, True),
        ("Who is on duty?", CAT, False),
    ],
)
def test_a_question_may_name_the_kind_of_its_answer(question: str, found: Candidate, is_other: bool) -> None:
    assert is_other_kind(question, found.item.chunk) is is_other


def test_rare_words_count_more() -> None:
    texts = ["control room", "control room 4417", "control 4417", "control", "control desk"]
    scores = word_scores("control 4417", texts)
    assert scores[1] == scores[2] == 1
    assert 0 < scores[0] < 0.2
    assert all(math.isnan(score) for score in word_scores("", texts))
