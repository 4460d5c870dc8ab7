"""Candidates and evidence as flat hits."""

from __future__ import annotations

from schemas.chunks import Channel, Features, Label, Region, SoundWindow
from schemas.media import BlobRef, Modality
from schemas.queries import Candidate, Evidence, QueryAsked, QueryStage
from tests.workers.made import made_chunk, made_item
from workers.hits import described, ranked, ranked_evidence, to_hit

ASKED = QueryAsked(query_id="q", tenant="t", question="?", limit=2)
BLOB = BlobRef(uri="file:///b", sha256="0" * 64, size=3)


def labels(*names: str) -> tuple[Label, ...]:
    return tuple(Label(name=name, score=0.8 if rank == 0 else 0.05) for rank, name in enumerate(names))


def test_a_hit_leads_back_to_the_place() -> None:
    item = made_item("d", page=2, box=(0, 0, 1, 0.5), start_ms=5, end_ms=7, start_char=1, end_char=9, media=BLOB)
    hit = to_hit(Candidate(item=item, score=0.5, scores={"dense": 0.9}), 3)
    assert (hit.rank, hit.score, hit.scores) == (3, 0.5, {"dense": 0.9})
    for name in (
        "chunk_id",
        "document_id",
        "page",
        "box",
        "start_ms",
        "end_ms",
        "start_char",
        "end_char",
        "media",
        "text",
    ):
        assert getattr(hit, name) == getattr(item.chunk, name)


def test_a_chunk_without_words_is_described() -> None:
    features = Features(
        labels=labels("cat", "dog"),
        regions=(Region(box=(0, 0, 1, 1), labels=labels("sofa")), Region(box=(0, 0, 1, 1), labels=labels("cat"))),
        windows=(SoundWindow(start_ms=0, end_ms=9, labels=labels("purr", "speech")),),
    )
    chunk = made_chunk(text="", channel=Channel.PICTURE, features=features)
    assert described(chunk) == "cat, sofa, purr"
    item = made_item(text="", channel=Channel.PICTURE, features=features)
    assert to_hit(Candidate(item=item, score=1), 1).text == "cat, sofa, purr"


def test_ranked_hits_end_the_query_and_keep_to_its_limit() -> None:
    candidates = [Candidate(item=made_item(f"d{i}"), score=1 - i / 10) for i in range(5)]
    event = ranked(ASKED, QueryStage.RETRIEVE, candidates, lambda: 42)
    assert (event.query_id, event.tenant, event.attempt, event.seq, event.at_ms) == ("q", "t", 1, 0, 42)
    assert event.stage is QueryStage.RETRIEVE
    assert [(hit.rank, hit.document_id) for hit in event.hits] == [(1, "d0"), (2, "d1")]


def test_evidence_becomes_hits() -> None:
    evidence = [
        Evidence(
            number=number,
            chunk_id=f"c{number}",
            document_id="d",
            version=1,
            source="s",
            source_uri="u",
            modality=Modality.AUDIO,
            content_type="audio/ogg",
            event_time_ms=7,
            text="said",
            score=0.7,
            start_ms=1,
            end_ms=2,
        )
        for number in (1, 2, 3)
    ]
    event = ranked_evidence(ASKED, evidence, lambda: 1)
    assert event.stage is QueryStage.REFINE
    assert [(hit.rank, hit.chunk_id, hit.text, hit.start_ms) for hit in event.hits] == [
        (1, "c1", "said", 1),
        (2, "c2", "said", 1),
    ]
