"""What readers work with: the source that they read, the drafts that they yield, the recognisers that they ask.

A draft is a chunk before it knows its document: the stage gives it its id, its ordinal and its identity.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar
from urllib.parse import unquote, urlsplit

from schemas.chunks import Box, Channel, Features, Label
from schemas.media import Modality
from workers.extract.threads import InThreads
from workers.limits import Limits
from workers.models.base import Labeller, SoundTagger, SpeechReader, TextReader

P = ParamSpec("P")
T = TypeVar("T")
_LONGEST_NAME = 200


class Decoding(Protocol):
    """Where the bytes of a document are read: a process of ``workers.sandbox``, or the threads of this one.

    The functions get the document first (bytes, or ``workers.sandbox.held.Held`` where it is large), and return, or
    yield, what can be sent from one process to another.
    """

    async def call(self, work: Callable[Concatenate[Any, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """``work(document, *args)``."""
        ...

    def each(
        self, work: Callable[Concatenate[Any, P], Iterator[T]], *args: P.args, **kwargs: P.kwargs
    ) -> AsyncGenerator[T, None]:
        """The items of ``work(document, *args)``."""
        ...


@dataclass(frozen=True, slots=True)
class Source:
    """One document; ``content_type`` is what it really is, ``charset`` what was declared.

    ``data`` are its bytes, or nothing where ``document`` holds them.
    """

    data: bytes
    content_type: str
    name: str = ""
    charset: str = ""
    document: Decoding | None = None

    @property
    def decoding(self) -> Decoding:
        """Where it is read."""
        return self.document or InThreads(self.data)


@dataclass(frozen=True, slots=True)
class Clip:
    """A picture or a sound of a chunk, as a file of its own, to be put into the blob store."""

    data: bytes
    content_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A chunk without its document. ``place`` is unique within the document; the rest is as in ``Chunk``."""

    place: str
    modality: Modality
    channel: Channel
    text: str = ""
    title: str = ""
    start_char: int | None = None
    end_char: int | None = None
    page: int | None = None
    box: Box | None = None
    start_ms: int | None = None
    end_ms: int | None = None
    features: Features = field(default_factory=Features)
    clip: Clip | None = None


class Recognisers(Protocol):
    """The part of ``workers.models.profiles.Models`` that readers use.

    A property may load weights when it is first asked: ask it inside of what ``run`` runs.
    """

    @property
    def labeller(self) -> Labeller:
        """What a picture shows."""

    @property
    def tagger(self) -> SoundTagger:
        """What is heard."""

    @property
    def reader(self) -> TextReader | None:
        """OCR; ``None`` where it is turned off."""

    @property
    def speech(self) -> SpeechReader:
        """Speech recognition."""

    async def run(self, fn: Callable[..., T], /, *args: object) -> T:
        """``fn(*args)`` in the models' own thread."""
        ...


Reader = Callable[[Source, Recognisers, Limits], AsyncGenerator[Draft, None]]
"""Reads one kind of media. Raises ``InvalidMedia`` or ``LimitExceeded``, as a rule before its first draft."""


def file_name(uri: str) -> str:
    """The last part of a path or URL, without query and escapes: ``s3://b/my%20cat.png?x=1`` gives ``my cat.png``.

    Of a very long one, the end is kept.
    """
    path = uri.replace("\\", "/")
    if "://" in uri:
        with suppress(ValueError):  # "http://[", for one, is no URL
            path = unquote(urlsplit(uri).path)
    return PurePosixPath(path).name[-_LONGEST_NAME:]


def shown(labels: tuple[Label, ...], *, at_least: float = 0.1, most: int = 3) -> str:
    """The likeliest names, to be read by people: ``Dog, Bark``; the best one in any case."""
    names = [label.name for label in labels if label.score >= at_least][:most]
    return ", ".join(names or [label.name for label in labels[:1]])
