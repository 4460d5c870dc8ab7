"""The main job, end to end: the same test on the embedded broker and on Apache Kafka, each stage in its own process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from schemas.answers import AnswerFinished, AnswerStarted, EvidenceFound, TokenGenerated
from schemas.queries import QueryStage
from streams import runtime
from streams.client import AskOptions, Client
from streams.demo import DOCUMENTS, QUESTIONS, SAMPLES, Question
from streams.progress import Published, Step
from streams.settings import Settings
from tests.e2e import plain_consumer
from tests.e2e.system import separate_stages

pytestmark = [pytest.mark.e2e, pytest.mark.models, pytest.mark.timeout(600)]


@pytest.mark.parametrize("broker", ["tansu", pytest.param("kafka", marks=pytest.mark.kafka)])
async def test_media_is_published_found_and_deleted(
    broker: str, tmp_path: Path, need: Callable[[str, str], str]
) -> None:
    if broker == "kafka":
        need("java", "sudo apt-get install default-jre-headless")
    with separate_stages(tmp_path / "data", broker, twice="embed") as settings:
        async with Client(settings) as client:
            published = await publish(client)
            for question in QUESTIONS:
                await assert_answered(client, question)
            await assert_stages_agree(client)
            await assert_newer_version_replaces(client)
            await assert_deleted(client, published)
            await assert_strangers_can_read_it(client, settings)


async def assert_strangers_can_read_it(client: Client, settings: Settings) -> None:
    """Every event agrees with the contract, and a consumer that knows nothing else rebuilds the same answers."""
    found = runtime.running(settings.data_dir)
    assert found is not None
    counts = await plain_consumer.check_all(found.kafka)
    assert {"MediaReceived", "DocumentDeleted", "ChunksEmbedded", "QueryRefined", "TokenGenerated"} <= counts.keys()
    answers = await plain_consumer.rebuilt(found.kafka)
    assert len(answers) == counts["AnswerFinished"] >= len(QUESTIONS)
    for query_id, answer in answers.items():
        finished = [event async for event in client.follow(query_id)][-1]
        assert isinstance(finished, AnswerFinished)
        assert answer.answer == finished.answer
        assert [citation["number"] for citation in answer.citations] == [item.number for item in finished.citations]


async def publish(client: Client) -> list[Published]:
    published = [await client.publish(SAMPLES / name, document_id=name, source="samples") for name in DOCUMENTS]
    steps = [step async for step in client.progress(published, timeout_s=120)]
    assert not [step.reason for step in steps if step.failed]
    done = [step.published.document_id for step in steps if step.step is Step.SEARCHABLE]
    assert sorted(done) == sorted(DOCUMENTS)
    return published


async def assert_answered(client: Client, question: Question) -> None:
    events = [event async for event in client.ask(question.words, question.options)]
    started, found, *written, finished = events
    assert isinstance(started, AnswerStarted)
    assert isinstance(found, EvidenceFound)
    assert isinstance(finished, AnswerFinished)
    assert [event.seq for event in events] == list(range(len(events)))
    pieces = [event.text for event in written if isinstance(event, TokenGenerated)]
    assert "".join(pieces) == finished.answer
    assert not finished.abstained
    cited = [item for item in finished.citations if item.document_id == question.document]
    assert any(question.is_shown(item) for item in cited), (question.shows, finished)
    again = [event async for event in client.follow(events[0].query_id)]
    assert again == events, "a client that joins late reads the same stream"


async def assert_stages_agree(client: Client) -> None:
    """Every stage gives ranked hits, and the photo of the cat is the first after each that looks closely."""
    for stage in (QueryStage.RETRIEVE, QueryStage.RERANK, QueryStage.REFINE):
        hits = await client.search("a photo of a cat", AskOptions(limit=5), stage=stage)
        assert [hit.rank for hit in hits] == list(range(1, len(hits) + 1))
        assert "cat.jpg" in [hit.document_id for hit in hits]
    assert hits[0].document_id == "cat.jpg"


async def assert_newer_version_replaces(client: Client) -> None:
    text = b"# Control room handbook\n\nThe duty engineer is called Miriam and has the number 5521.\n"
    newer = await client.publish(text, document_id="handbook.md", content_type="text/markdown")
    assert not await client.searchable([newer], timeout_s=60)
    hits = await client.search("duty engineer number", AskOptions(document_ids=("handbook.md",)))
    assert hits
    assert {hit.version for hit in hits} == {newer.version}
    assert "5521" in hits[0].text


async def assert_deleted(client: Client, published: list[Published]) -> None:
    deleted = await client.delete("cat.jpg")
    assert not await client.searchable([deleted], timeout_s=60)
    hits = await client.search("a photo of a cat", AskOptions(limit=20))
    assert "cat.jpg" not in [hit.document_id for hit in hits]
    everything = await client.delete_all("samples")
    assert not await client.searchable([everything], timeout_s=60)
    assert len(published) == len(DOCUMENTS)
    assert not await client.search("a photo of a cat", AskOptions(sources=("samples",)))
