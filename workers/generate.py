"""Generate: from evidence to an answer that streams in and cites.

In: ``QueryRefined``. Out: ``AnswerStarted``, ``EvidenceFound``, ``TokenGenerated``…, ``AnswerFinished``; or
``AnswerFailed`` where the generator refuses. The pieces that are sent make up the final answer exactly: a sentence is
held back until the evidence is found to support it, and what it does not support is never sent; the answer is then
composed of quotations instead, and ``generator`` says so (``llama+extractive``). Raises ``TransientError`` where the
generator is away. Closing the iterator stops the generation.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass
from itertools import count
from typing import Protocol, TypeVar

from schemas.answers import AnswerEvent, AnswerFailed, AnswerFinished, AnswerStarted, EvidenceFound, TokenGenerated
from schemas.base import Event
from schemas.queries import Evidence, QueryRefined
from workers.errors import InvalidEvent
from workers.generation.grounding import grounded, plain
from workers.generation.prompt import NOT_FOUND, Form, prompt
from workers.generation.streaming import pieces, whole_sentences
from workers.generation.wording import ABSTENTION, WORDED, companions, composed, stated
from workers.hits import Clock, wall_clock
from workers.models.base import Generator
from workers.rerank import expect
from workers.stage import Output

WEAK = 0.25
"""Evidence whose relevance is below this answers nothing: the answer abstains. Among the queries that the relevance was
fitted on (``workers.relevance``), the best candidate of 109 captions was below it, and right for 4 of them; so it was
for 11 of the 14 questions that nothing answers, and for 2 of the 42 that something does."""
EXTRACTIVE = "extractive"
ONE_NOTE = frozenset({"llama"})
"""Generators that get the prompt for very small models."""
MOST_SENTENCES = 3
"""A small model that goes on longer repeats itself."""
_DELTA = re.compile(r"\s*\S+")
_ASKS_FOR_WORDS = re.compile(r"\b(who|whom|whose|what|which|when|where|why|how)\b", re.IGNORECASE)

A = TypeVar("A", bound=AnswerEvent)


class Generators(Protocol):
    """The part of ``workers.models.profiles.Models`` that answers use."""

    @property
    def generator(self) -> Generator | None:
        """The model that writes; ``None``: answers are composed of quotations."""
        ...


class GenerateStage:
    """One answer at a time, the model in a thread of its own; ``max_tokens`` bounds what it writes."""

    name = "generate"

    def __init__(self, models: Generators, max_tokens: int, *, clock: Clock = wall_clock) -> None:
        self._models = models
        self._max_tokens = max_tokens
        self._clock = clock
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="generate")

    async def start(self) -> None:
        """Load the model, in its thread."""
        await asyncio.get_running_loop().run_in_executor(self._thread, lambda: self._models.generator)

    async def stop(self) -> None:
        """Let the thread go; it has nothing to do by now."""
        self._thread.shutdown()

    async def process(self, batch: Sequence[Event]) -> AsyncGenerator[Output, None]:
        for origin, event in enumerate(batch):
            async with aclosing(self._answer(expect(event, QueryRefined))) as answer:
                async for part in answer:
                    yield Output(origin, part)

    async def _answer(self, query: QueryRefined) -> AsyncGenerator[AnswerEvent]:
        """The answer stream of one query, from its start to its end."""
        generator = self._models.generator if _wants_a_model(query) else None
        stream = _AnswerStream(query, generator, self._clock)
        yield stream.event(AnswerStarted, generator=generator.name if generator else EXTRACTIVE)
        yield stream.event(EvidenceFound, evidence=query.evidence)
        try:
            async with aclosing(self._sentences(query, generator)) as sentences:
                async for sentence in sentences:
                    for text in stream.deltas(sentence):
                        yield stream.event(TokenGenerated, text=text)
        except InvalidEvent as refused:
            yield stream.event(AnswerFailed, stage=self.name, reason=refused.reason, hint=refused.hint)
            return
        yield stream.finished()

    async def _sentences(self, query: QueryRefined, generator: Generator | None) -> AsyncGenerator[_Sentence]:
        """The answer, sentence by sentence: the model's while they are grounded, else quotations."""
        if _is_weak(query.evidence):
            yield _Sentence(ABSTENTION, (), EXTRACTIVE)
            return
        cited: list[int] = []
        if generator is not None:
            async with aclosing(self._written(query, generator)) as written:
                async for sentence in written:
                    yield sentence
                    if sentence.text == ABSTENTION:
                        return
                    cited += sentence.cited
        chosen = [piece for piece in query.evidence if piece.number in cited]
        rest = companions(chosen, query.evidence) if chosen else composed(query.evidence)
        for piece in rest:
            yield _Sentence(stated(piece), (piece.number,), EXTRACTIVE)

    async def _written(self, query: QueryRefined, generator: Generator) -> AsyncGenerator[_Sentence]:
        """What the model writes, as long as the evidence supports it."""
        form = form_for(generator)
        given = query.evidence[:1] if form == "one_note" else query.evidence
        asked = prompt(form, query.asked.question, given)
        sent: list[str] = []
        async with (
            aclosing(pieces(generator, asked, self._max_tokens, self._thread)) as stream,
            aclosing(whole_sentences(stream)) as sentences,
        ):
            async for sentence in sentences:
                if not sent and plain(sentence).lower().startswith(NOT_FOUND):
                    yield _Sentence(ABSTENTION, (), generator.name)
                    return
                checked = grounded(sentence, given, query.asked.question)
                if checked is None or checked.text in sent or len(sent) == MOST_SENTENCES:
                    return
                yield _Sentence(checked.text, checked.cited, generator.name)
                sent.append(checked.text)


@dataclass(frozen=True, slots=True)
class _Sentence:
    """A sentence that may be sent, the evidence that it cites, and who wrote it."""

    text: str
    cited: tuple[int, ...]
    writer: str


class _AnswerStream:
    """Events of one attempt, numbered without gaps, and the answer that they make up.

    The attempt is the wall clock in milliseconds: one that starts again later counts more, on whichever worker.
    """

    def __init__(self, query: QueryRefined, generator: Generator | None, clock: Clock) -> None:
        self._query = query
        self._clock = clock
        self._attempt = max(1, clock())
        self._numbers = count()
        self._answer = ""
        self._cited: set[int] = set()
        self._writers = [generator.name] if generator else []

    def event(self, kind: type[A], **fields: object) -> A:
        query = self._query
        return kind.model_validate(
            {
                "tenant": query.tenant,
                "trace": query.trace,
                "query_id": query.query_id,
                "attempt": self._attempt,
                "seq": next(self._numbers),
                "at_ms": self._clock(),
                **fields,
            }
        )

    def deltas(self, sentence: _Sentence) -> list[str]:
        """The words to send now; with all that went before they are the answer so far."""
        text = f" {sentence.text}" if self._answer else sentence.text
        self._answer += text
        self._cited.update(sentence.cited)
        self._writers.append(sentence.writer)
        return _DELTA.findall(text)

    def finished(self) -> AnswerFinished:
        """The end: the whole answer, and what it cites, in the order of the numbers."""
        citations = tuple(piece for piece in self._query.evidence if piece.number in self._cited)
        return self.event(
            AnswerFinished,
            answer=self._answer,
            citations=citations,
            abstained=self._answer == ABSTENTION,
            generator="+".join(dict.fromkeys(self._writers)),
        )


def form_for(generator: Generator) -> Form:
    """Which prompt suits: the local model is too small to weigh several pieces of evidence."""
    return "one_note" if generator.name in ONE_NOTE else "numbered"


def _wants_a_model(query: QueryRefined) -> bool:
    """A question in words whose best evidence is words, too; yes or no is more than the local model can tell."""
    evidence, question = query.evidence, query.asked.question
    if _is_weak(evidence) or evidence[0].channel not in WORDED:
        return False
    is_row = evidence[0].text.count("|") > 1  # small models take the wrong column
    return not is_row and _ASKS_FOR_WORDS.search(question) is not None


def _is_weak(evidence: Sequence[Evidence]) -> bool:
    return not evidence or evidence[0].score < WEAK
