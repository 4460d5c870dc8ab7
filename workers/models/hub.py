"""The ``hub`` profile: transformers checkpoints by name, for a GPU. One setting changes them, none of the code.

One space for everything, that of a dual encoder of the SigLIP kind (Zhai et al. 2023, arXiv 2303.15343): words by its
text tower, pictures by its image tower. A sound has no tower there; an audio encoder of the CLAP kind (Wu et al. 2022,
arXiv 2211.06687) says how well each AudioSet class fits it, and the classes' text vectors are mixed (ConSE), so that
sounds land in the same space. Vectors of other checkpoints are another index generation.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from workers.models.hub_vision import DualEncoder


@dataclass(frozen=True, slots=True)
class HubNames:
    """Checkpoints: names on the hub, or folders. ``device`` is torch's; ``auto`` takes a GPU if there is one."""

    vision: str = "google/siglip2-base-patch16-224"
    audio: str = "laion/clap-htsat-unfused"
    speech: str = "openai/whisper-large-v3-turbo"
    generator: str = "Qwen/Qwen3-1.7B"
    device: str = "auto"

    @property
    def generation(self) -> str:
        """What vectors depend on, short enough for the name of a collection."""
        return "hub-" + hashlib.sha256(f"{self.vision}\n{self.audio}".encode()).hexdigest()[:8]

    def torch_device(self) -> str:
        """``device``, with ``auto`` decided."""
        if self.device != "auto":
            return self.device
        import torch

        return "cuda" if torch.cuda.is_available() else "cpu"


class HubBuilders:
    """Loads each capability from its checkpoint."""

    def __init__(self, names: HubNames, threads: int) -> None:
        self._names = names
        self._threads = threads
        self._device = names.torch_device()

    @cached_property
    def _dual(self) -> DualEncoder:
        """Both towers, shared by words, pictures and labels."""
        from workers.models.hub_vision import DualEncoder

        return DualEncoder(self._names.vision, self._device)

    def text(self) -> TextEncoder:
        """The text tower."""
        from workers.models.hub_vision import HubTextEncoder

        return HubTextEncoder(self._dual)

    def image(self, text: TextEncoder) -> ImageEncoder:
        """The image tower."""
        from workers.models.hub_vision import HubImageEncoder

        return HubImageEncoder(self._dual)

    def sound(self, text: TextEncoder) -> SoundEncoder:
        """ConSE over the tagger's classes, in the text tower's space."""
        from workers.models.conse import ConseSoundEncoder

        return ConseSoundEncoder(text)

    def labeller(self) -> Labeller:
        """Zero-shot over ImageNet's class names."""
        from workers.models.hub_vision import HubLabeller

        return HubLabeller(self._dual)

    def tagger(self) -> SoundTagger:
        """Zero-shot over AudioSet's class names."""
        from workers.models.hub_audio import HubSoundTagger

        return HubSoundTagger(self._names.audio, self._device)

    def reader(self) -> TextReader:
        """PP-OCRv6, as in the local profile."""
        from workers.models.ocr import LocalTextReader

        return LocalTextReader(self._threads)

    def speech(self) -> SpeechReader:
        """Whisper."""
        from workers.models.hub_audio import HubSpeechReader

        return HubSpeechReader(self._names.speech, self._device)

    def generator(self) -> Generator:
        """A causal language model."""
        from workers.models.hub_generate import HubGenerator

        return HubGenerator(self._names.generator, self._device)
