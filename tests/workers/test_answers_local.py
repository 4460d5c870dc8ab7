"""Rerank, refine and generate with the real local models: the right chunk first, the right words, a grounded answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NoReturn

import pytest

from schemas.answers import AnswerFinished, TokenGenerated
from schemas.base import Event
from schemas.chunks import Channel, Chunk, EmbeddedChunk, Features, Label, PartsRef, Region, SoundWindow
from schemas.media import BlobRef, Modality
from schemas.queries import Candidate, QueryRefined, QueryReranked, QueryRetrieved, QueryVectors
from tests.workers.toy_space import asked, chunk
from workers.arrays import pack
from workers.embed import search_text
from workers.generate import GenerateStage
from workers.models.base import Embedding, ImageInput, Parts, SoundInput
from workers.models.profiles import Models
from workers.refine import RefineStage
from workers.rerank import RerankStage
from workers.stage import Stage

pytestmark = pytest.mark.models

TEXTS = {
    "engineer": "If a feed freezes, the operator switches to the standby encoder and reports the fault to the duty "
    "engineer, whose number is 4417.",
    "topical": "Engineers on duty repair encoders and feeds, and the engineers report all faults of the feeds.",
    "power": "When the mains fail, the batteries carry the control room for twenty minutes. The diesel generator in "
    "the east courtyard starts by itself after forty seconds.",
    "library": "The city library was opened in 1911 by mayor Anna Lindqvist. It was rebuilt by Gustav Ohlen.",
    "speech": "Ladies and gentlemen, the train to Leeds will leave from platform nine instead of platform four.",
}


def likely(*names: str) -> tuple[Label, ...]:
    return tuple(Label(name=name, score=0.7 / (1 + place)) for place, name in enumerate(names))


def picture(name: str, whole: Sequence[str], corner: Sequence[str]) -> Chunk:
    regions = (
        Region(box=(0, 0, 1, 1), labels=likely(*whole)),
        Region(box=(0.45, 0.45, 1, 1), labels=likely(*corner)),
    )
    seen = Features(labels=likely(*whole, *corner), regions=regions)
    return chunk(name, modality=Modality.IMAGE, channel=Channel.PICTURE, features=seen, source_uri=f"{name}.jpg")


def sound(name: str, *names: str) -> Chunk:
    heard = tuple(SoundWindow(start_ms=at, end_ms=at + 960, labels=likely(*names)) for at in (0, 480, 960))
    return chunk(
        name,
        modality=Modality.AUDIO,
        channel=Channel.SOUND,
        features=Features(windows=heard),
        source_uri=f"{name}.ogg",
        start_ms=0,
        end_ms=1920,
    )


class Collection:
    """Everything that may be found, with its part vectors."""

    def __init__(self, models: Models) -> None:
        self.models = models
        self._parts: dict[str, Parts] = {}
        words = [chunk(name, text) for name, text in TEXTS.items()]
        words[-1] = words[-1].model_copy(
            update={"channel": Channel.SPEECH, "modality": Modality.AUDIO, "start_ms": 0, "end_ms": 6000}
        )
        shown = [
            picture("garden", ["lawn mower", "picket fence"], ["tiger cat", "tabby"]),
            picture("kitchen", ["stove"], ["toaster"]),
        ]
        heard = [sound("yard", "Dog", "Bark"), sound("street", "Siren", "Emergency vehicle")]
        found = models.text.encode(list(TEXTS.values()))
        for each in shown:
            found += models.image.encode([ImageInput(each.features.labels, each.features.regions, _unread)])
        for each in heard:
            found += models.sound.encode([SoundInput(each.features.windows, _unread)])
        self.candidates = tuple(self._candidate(*pair) for pair in zip([*words, *shown, *heard], found, strict=True))

    def _candidate(self, made: Chunk, embedding: Embedding) -> Candidate:
        self._parts[made.chunk_id] = embedding.parts
        ref = PartsRef(blob=BlobRef(uri=made.chunk_id, sha256="0", size=1), start=0, stop=len(embedding.parts.vectors))
        vector = pack(embedding.vector, "float32")
        item = EmbeddedChunk(chunk=made, vector=vector, search_text=search_text(made), parts=ref)
        return Candidate(item=item, score=0.0)

    async def read_many(self, refs: Sequence[PartsRef]) -> list[Parts]:
        return [self._parts[ref.blob.uri] for ref in refs]

    def retrieved(self, question: str) -> QueryRetrieved:
        (words,) = self.models.text.encode([question])
        vectors = QueryVectors(
            text=question,
            dense=pack(words.vector[None, :], "float32"),
            parts=pack(words.parts.vectors, "float16"),
            weights=pack(words.parts.weights, "float32"),
        )
        return QueryRetrieved(query_id="q1", asked=asked(question), vectors=vectors, candidates=self.candidates)


def _unread() -> NoReturn:
    raise AssertionError("the local encoders read labels only")


@pytest.fixture(scope="module")
def collection() -> Iterator[Collection]:
    models = Models("local", threads=2)
    yield Collection(models)
    models.close()


async def through(stage: Stage, event: Event) -> list[Event]:
    await stage.start()
    results = [output.result async for output in stage.process([event])]
    await stage.stop()
    return [result for result in results if isinstance(result, Event)]


@pytest.mark.parametrize(
    ("question", "best"),
    [
        ("What is the number of the duty engineer?", "engineer"),
        ("How long do the batteries last?", "power"),
        ("Who rebuilt the library?", "library"),
        ("From which platform does the train to Leeds leave?", "speech"),
        ("Which photo shows a cat?", "garden"),
        ("a toaster", "kitchen"),
        ("the sound of a barking dog", "yard"),
        ("an ambulance siren", "street"),
    ],
)
async def test_the_right_chunk_is_first_whatever_its_modality(collection: Collection, question: str, best: str) -> None:
    (event,) = await through(RerankStage(collection), collection.retrieved(question))
    assert isinstance(event, QueryReranked)
    assert event.candidates[0].item.chunk.chunk_id == best


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ("What is the number of the duty engineer?", "4417"),
        ("How long do the batteries carry the control room?", "twenty minutes"),
        ("Who rebuilt the library?", "Ohlen"),
        ("From which platform does the train to Leeds leave?", "nine"),
        ("Which photo shows a cat?", "garden.jpg shows: tiger cat, tabby (at the bottom right) [1]."),
        ("the sound of a barking dog", "At 0:00–0:02 in yard.ogg one hears: Dog"),
    ],
)
async def test_the_answer_is_right_and_cites_its_evidence(collection: Collection, question: str, said: str) -> None:
    (reranked,) = await through(RerankStage(collection), collection.retrieved(question))
    (refined,) = await through(RefineStage(collection, 700), reranked)
    assert isinstance(refined, QueryRefined)
    *events, last = await through(GenerateStage(collection.models, 64), refined)
    assert isinstance(last, AnswerFinished)
    assert said in last.answer
    assert not last.abstained
    assert last.citations[0].number == 1
    assert "".join(event.text for event in events if isinstance(event, TokenGenerated)) == last.answer


@pytest.mark.parametrize(
    "question", ["Who painted the ceiling of the opera house?", "What is the capital of Mongolia?"]
)
async def test_what_the_collection_does_not_hold_is_not_answered(collection: Collection, question: str) -> None:
    (reranked,) = await through(RerankStage(collection), collection.retrieved(question))
    (refined,) = await through(RefineStage(collection, 700), reranked)
    *_, last = await through(GenerateStage(collection.models, 64), refined)
    assert isinstance(last, AnswerFinished)
    assert last.abstained
    assert last.citations == ()
