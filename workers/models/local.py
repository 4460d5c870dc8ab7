"""The ``local`` profile: CPU, weights that come as packages, nothing fetched. Imports happen as capabilities load."""

from __future__ import annotations

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


class LocalBuilders:
    """Loads each capability with ``threads`` threads."""

    def __init__(self, threads: int) -> None:
        self._threads = threads

    def text(self) -> TextEncoder:
        """MiniLM-L6."""
        from workers.models.text import LocalTextEncoder

        return LocalTextEncoder(self._threads)

    def image(self, text: TextEncoder) -> ImageEncoder:
        """ConSE over EfficientNet-Lite0."""
        from workers.models.conse import ConseImageEncoder

        return ConseImageEncoder(text)

    def sound(self, text: TextEncoder) -> SoundEncoder:
        """ConSE over YAMNet."""
        from workers.models.conse import ConseSoundEncoder

        return ConseSoundEncoder(text)

    def labeller(self) -> Labeller:
        """EfficientNet-Lite0."""
        from workers.models.vision import LocalLabeller

        return LocalLabeller(self._threads)

    def tagger(self) -> SoundTagger:
        """YAMNet."""
        from workers.models.sound import LocalSoundTagger

        return LocalSoundTagger(self._threads)

    def reader(self) -> TextReader:
        """PP-OCRv6."""
        from workers.models.ocr import LocalTextReader

        return LocalTextReader(self._threads)

    def speech(self) -> SpeechReader:
        """Whisper base."""
        from workers.models.speech import LocalSpeechReader

        return LocalSpeechReader(self._threads)

    def generator(self) -> Generator:
        """Gemma 3 270M."""
        from workers.models.generate import LlamaGenerator

        return LlamaGenerator(self._threads)
