"""Speech recognition: Whisper base in CTranslate2 by faster-whisper (Radford et al. 2022, arXiv 2212.04356)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from schemas.chunks import Word
from workers.models import weights
from workers.models.base import Segment, Transcript, Wave

MIN_SAMPLES = 1600
"""A tenth of a second: there is no word in less."""

MAX_NO_SPEECH = 0.6
"""Whisper's own threshold: a segment less likely to be speech than this is what it makes up in silence and noise."""


class LocalSpeechReader:
    """Words with their times; voice activity detection keeps silence away from the model."""

    def __init__(self, threads: int) -> None:
        from faster_whisper import WhisperModel

        weights.VOICE_ACTIVITY.verified()  # faster-whisper loads it by itself
        self._model = WhisperModel(
            str(weights.whisper()), device="cpu", compute_type="int8", cpu_threads=threads, local_files_only=True
        )

    def transcribe(self, wave: Wave) -> Transcript:
        """The words with their times; no segments where nobody speaks."""
        if len(wave) < MIN_SAMPLES:
            return Transcript(language="", segments=())
        segments, info = self._model.transcribe(
            wave,
            beam_size=1,
            word_timestamps=True,
            vad_filter=True,
            condition_on_previous_text=False,  # a repeated phrase does not pull the next one along
            temperature=0.0,
        )
        spoken = []
        for segment in segments:
            words = _words(segment.words or ())
            if words and segment.no_speech_prob < MAX_NO_SPEECH:
                spoken.append(Segment(words=words, start_ms=words[0].start_ms, end_ms=words[-1].end_ms))
        return Transcript(language=info.language if spoken else "", segments=tuple(spoken))


def _words(heard: Iterable[Any]) -> tuple[Word, ...]:
    """Whisper's words; a piece without a space before it, as in ``ill-disposed``, belongs to the word before."""
    words: list[Word] = []
    for piece in heard:
        text, end_ms = piece.word.strip(), int(piece.end * 1000)
        if words and text and not piece.word[0].isspace():
            words[-1] = words[-1].model_copy(update={"text": words[-1].text + text, "end_ms": end_ms})
        elif text:
            probability = min(1.0, max(0.0, float(piece.probability)))
            words.append(Word(text=text, start_ms=int(piece.start * 1000), end_ms=end_ms, probability=probability))
    return tuple(words)
