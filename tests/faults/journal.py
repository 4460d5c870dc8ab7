"""What is published: mixed documents, their updates and deletions, and questions; the same for the same seed.

Nothing of Sensorium is used but its wire format (``docs/events.md``). Every version of a document holds words of its
own, so that a piece of another version is recognised wherever it turns up.
"""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from tests import media

TENANT = "default"
EVENT_TIME = "2026-01-01T00:00:00Z"
MEDIA, QUERIES = "media.received.v1", "queries.asked.v1"


@dataclass(frozen=True)
class Action:
    """One version of a document, or its deletion (``data`` is ``None``)."""

    document_id: str
    version: int
    content_type: str = ""
    data: bytes | None = None

    @property
    def is_deletion(self) -> bool:
        return self.data is None

    def record(self) -> tuple[str, bytes, bytes, list[tuple[str, bytes]]]:
        """Topic, key, value and headers."""
        kind = "sensorium.document.deleted.v1" if self.is_deletion else "sensorium.media.received.v1"
        headers = {
            "ce_specversion": "1.0",
            "ce_id": str(uuid.uuid4()),
            "ce_source": "urn:journal",
            "ce_type": kind,
            "ce_time": EVENT_TIME,
            "ce_tenant": TENANT,
            "ce_documentid": self.document_id,
            "ce_documentversion": str(self.version),
            "ce_mediasource": "journal",
        }
        if self.content_type:
            headers["content-type"] = self.content_type
        key = f"{TENANT}/{self.document_id}".encode()
        return MEDIA, key, self.data or b"", [(name, value.encode()) for name, value in headers.items()]


@dataclass(frozen=True)
class Question:
    """A question about one document's words."""

    query_id: str
    text: str

    def record(self) -> tuple[str, bytes, bytes, list[tuple[str, bytes]]]:
        """Topic, key, value and headers."""
        headers = {
            "ce_specversion": "1.0",
            "ce_id": self.query_id,
            "ce_source": "urn:journal",
            "ce_type": "sensorium.query.asked.v1",
            "ce_subject": self.query_id,
            "content-type": "application/json",
        }
        body = {"query_id": self.query_id, "tenant": TENANT, "question": self.text, "limit": 3}
        encoded = [(name, value.encode()) for name, value in headers.items()]
        return QUERIES, self.query_id.encode(), json.dumps(body).encode(), encoded


@dataclass(frozen=True)
class Journal:
    """All that is published, in order; events of one document stand in the order of their versions."""

    actions: tuple[Action, ...]
    questions: tuple[Question, ...] = ()
    newest: dict[str, Action] = field(default_factory=dict)

    @property
    def versions(self) -> dict[str, int]:
        """The version of each document that is to be found in the end; deleted ones are missing."""
        return {name: action.version for name, action in self.newest.items() if not action.is_deletion}


def journal(documents: int, *, updates: int = 0, deletes: int = 0, questions: int = 0, seed: int = 1) -> Journal:
    """``documents`` documents of mixed kinds; ``updates`` of them get a second version, ``deletes`` are deleted."""
    chance = random.Random(seed)
    names = [f"document-{number}" for number in range(documents)]
    versions = dict.fromkeys(names, 1)
    plan = [(name, False) for name in names]
    plan += [(name, False) for name in chance.choices(names, k=updates)]
    plan += [(name, True) for name in chance.sample(names, deletes)]
    tail = plan[documents:]
    chance.shuffle(tail)
    actions = []
    for name, is_deletion in _mixed(plan[:documents], tail, chance):
        version = versions[name]
        versions[name] += 1
        actions.append(Action(name, version) if is_deletion else made(name, version))
    asked = tuple(
        Question(f"question-{seed}-{number}", f"What does {marker(chance.choice(names), 1)} say?")
        for number in range(questions)
    )
    return Journal(tuple(actions), asked, {action.document_id: action for action in actions})


def _mixed(
    first: list[tuple[str, bool]], later: list[tuple[str, bool]], chance: random.Random
) -> list[tuple[str, bool]]:
    """Updates and deletions between the documents, each after the document that it is about."""
    mixed: list[tuple[str, bool]] = []
    seen: set[str] = set()
    waiting = list(later)
    for item in first:
        mixed.append(item)
        seen.add(item[0])
        while waiting and waiting[-1][0] in seen and chance.random() < len(later) / len(first) * 1.5:
            mixed.append(waiting.pop())
    return mixed + waiting[::-1]


def marker(name: str, version: int) -> str:
    """A word that stands in this version of the document and nowhere else."""
    return f"{name.replace('-', '')}v{version}"


def made(name: str, version: int) -> Action:
    """A version of a document; its kind belongs to its name."""
    number = int(name.rpartition("-")[2])
    content_type, make = KINDS[number % len(KINDS)]
    return Action(name, version, content_type, make(marker(name, version), number * 100 + version))


def _sentences(word: str, seed: int) -> list[str]:
    chance = random.Random(seed)
    return [
        f"{word} says that the {chance.choice(THINGS)} of {word} was seen {chance.choice(PLACES)} at {hour} o'clock."
        for hour in range(1, 4 + seed % 9)
    ]


def _text(word: str, seed: int) -> bytes:
    return "\n\n".join(_sentences(word, seed)).encode()


def _markdown(word: str, seed: int) -> bytes:
    return f"# About {word}\n\n{' '.join(_sentences(word, seed))}\n\n- {word} one\n- {word} two\n".encode()


def _html(word: str, seed: int) -> bytes:
    body = "".join(f"<p>{sentence}</p>" for sentence in _sentences(word, seed))
    return (
        f"<html><head><title>{word}</title></head><body><article><h1>{word}</h1>{body}</article></body></html>".encode()
    )


def _pdf(word: str, seed: int) -> bytes:
    lines = [media.Printed(text, y=700 - 40 * n, size=9) for n, text in enumerate(_sentences(word, seed))]
    return media.pdf([media.PdfPage(lines)])


def _png(word: str, seed: int) -> bytes:
    return media.image(media.photo(64, 48, seed))


def _wav(word: str, seed: int) -> bytes:
    return media.sound(np.concatenate([media.tone(0.5, hertz=200.0 + seed % 800), np.zeros(1600, np.float32)]))


THINGS = ("ferry", "lantern", "archive", "signal", "harbour crane", "night train")
PLACES = ("by the river", "in the old hall", "behind the station", "near the lighthouse")
KINDS: tuple[tuple[str, Callable[[str, int], bytes]], ...] = (
    ("text/plain", _text),
    ("text/markdown", _markdown),
    ("text/plain", _text),
    ("text/html", _html),
    ("image/png", _png),
    ("text/plain", _text),
    ("application/pdf", _pdf),
    ("audio/wav", _wav),
    ("text/markdown", _markdown),
    ("text/plain", _text),
)
