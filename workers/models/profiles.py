"""A profile's capabilities, shared by the stages of one process and loaded when first asked for.

Model work runs in one thread of the process's own (``run``): the event loop stays free, and two models never fight for
the same cores.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cached_property, partial
from typing import Any, Protocol, TypeVar

from workers.extract.passages import MAX_TOKENS
from workers.models.base import (
    Generator,
    ImageEncoder,
    Labeller,
    SoundEncoder,
    SoundTagger,
    SpeechReader,
    TextEncoder,
    TextReader,
)
from workers.models.hub import HubNames

T = TypeVar("T")

CHUNKING = 1
"""Grows whenever documents are cut differently: vectors of another chunking are another index generation."""

_SPACES = {"local": ("minilm-conse2", 384), "fake": ("fake", 32)}
"""Name and width of the unified space of the profiles whose models are fixed; another way to make its vectors is
another name."""


class Builders(Protocol):
    """What a profile provides: each method loads one capability."""

    def text(self) -> TextEncoder: ...
    def image(self, text: TextEncoder) -> ImageEncoder: ...
    def sound(self, text: TextEncoder) -> SoundEncoder: ...
    def labeller(self) -> Labeller: ...
    def tagger(self) -> SoundTagger: ...
    def reader(self) -> TextReader: ...
    def speech(self) -> SpeechReader: ...
    def generator(self) -> Generator: ...


class Models:
    """Encoders, recognisers and the generator of one profile. Properties may load weights: ask them inside ``run``."""

    def __init__(
        self,
        profile: str,
        *,
        threads: int,
        generator: str = "llama",
        ocr: bool = True,
        passage_tokens: int = MAX_TOKENS,
        hub: HubNames | None = None,
    ) -> None:
        if profile not in ("local", "hub", "fake"):
            raise ValueError(f"no profile is called {profile!r}; there are local, hub and fake")
        self.profile = profile
        self._threads = threads
        self._generator = generator
        self._ocr = ocr
        self._passage_tokens = passage_tokens
        self._hub = hub or HubNames()
        self._made: dict[str, Any] = {}
        self._making = threading.RLock()  # ONNX Runtime's sessions must not be built at the same time
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="models")

    @property
    def dimension(self) -> int:
        """The width of the unified space."""
        return _SPACES[self.profile][1] if self.profile in _SPACES else self.text.dimension

    @property
    def generation(self) -> str:
        """What the vectors depend on: models and chunking."""
        name = _SPACES[self.profile][0] if self.profile in _SPACES else self._hub.generation
        cut = "" if self._passage_tokens == MAX_TOKENS else f"-{self._passage_tokens}"
        return f"{name}-{CHUNKING}{cut}"

    @property
    def text(self) -> TextEncoder:
        """Words into the unified space."""
        return self._get("text", self._builders.text)

    @property
    def image(self) -> ImageEncoder:
        """Pictures into the unified space."""
        return self._get("image", lambda: self._builders.image(self.text))

    @property
    def sound(self) -> SoundEncoder:
        """Sounds into the unified space."""
        return self._get("sound", lambda: self._builders.sound(self.text))

    @property
    def labeller(self) -> Labeller:
        """What a picture shows."""
        return self._get("labeller", self._builders.labeller)

    @property
    def tagger(self) -> SoundTagger:
        """What is heard."""
        return self._get("tagger", self._builders.tagger)

    @property
    def reader(self) -> TextReader | None:
        """OCR; ``None`` where it is turned off."""
        return self._get("reader", self._builders.reader) if self._ocr else None

    @property
    def speech(self) -> SpeechReader:
        """Speech recognition."""
        return self._get("speech", self._builders.speech)

    @property
    def generator(self) -> Generator | None:
        """The model that writes; ``None``: answers are composed of quotations."""
        if self._generator == "extractive":
            return None
        return self._get("generator", self._builders.generator)

    async def run(self, work: Callable[..., T], *args: Any) -> T:
        """``work(*args)`` in the models' thread. Cancelled, it waits until the thread has truly ended the work."""
        future = asyncio.get_running_loop().run_in_executor(self._thread, partial(work, *args))
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            while not future.done():  # whoever is impatient cancels more than once
                with suppress(asyncio.CancelledError):
                    await asyncio.wait([future])
            raise

    async def load(self, *names: str) -> None:
        """Load capabilities, so that the first event does not wait for them."""
        await self.run(lambda: [getattr(self, name) for name in names])

    def close(self) -> None:
        """Let the thread go, after the work that it does."""
        self._thread.shutdown()

    def _get(self, name: str, make: Callable[[], T]) -> T:
        with self._making:
            if name not in self._made:
                self._made[name] = make()
            made: T = self._made[name]
            return made

    @cached_property
    def _builders(self) -> Builders:
        """The builders of the profile; heavy imports happen in their methods."""
        if self.profile == "fake":
            from workers.models.fake import FakeBuilders

            return FakeBuilders()
        if self.profile == "hub":
            from workers.models.hub import HubBuilders

            return HubBuilders(self._hub, self._threads)
        from workers.models.local import LocalBuilders

        return LocalBuilders(self._threads)
