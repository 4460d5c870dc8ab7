"""Sound: what is said as passages with word times, what is heard as events, both with a clip that can be played.

In: a sound file, or the sound track of a video. Out: drafts of channel speech and sound, in stretches of at most five
minutes, so that a long recording is searchable before it has been read to its end. Raises ``InvalidMedia`` (broken, cut
off, no sound), ``LimitExceeded`` (seconds).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

import numpy as np

from schemas.chunks import Channel, Features, SoundWindow
from schemas.media import Modality
from workers.errors import InvalidMedia
from workers.extract.containers import Outline, outline
from workers.extract.draft import Clip, Draft, Recognisers, Source, shown
from workers.extract.sounds import SoundSpan, SpokenPassage, clock, sound_spans, speech_times, spoken_passages
from workers.extract.threads import in_thread
from workers.extract.waves import Stretch, flac, stretches
from workers.limits import Limits
from workers.models.base import SAMPLE_RATE, Wave

_SHORTEST_S = 1.0
"""Taggers look at windows of about a second; shorter sounds are followed by silence."""
_SILENCE = 1e-3
"""Loudness (root mean square, full scale is 1) below which a span is silent: -60 dB."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What a stretch of sound holds, on the document's time line."""

    stretch: Stretch
    windows: tuple[SoundWindow, ...]
    passages: tuple[tuple[str, SpokenPassage], ...]
    """Language and words."""
    spans: tuple[SoundSpan, ...]

    def cut(self, start_ms: int, end_ms: int) -> Wave:
        """The samples between two times."""
        first, last = (max(0, time - self.stretch.start_ms) * SAMPLE_RATE // 1000 for time in (start_ms, end_ms))
        return self.stretch.wave[first:last]


async def read_audio(source: Source, models: Recognisers, limits: Limits) -> AsyncGenerator[Draft, None]:
    """The drafts of a sound file."""
    found = await source.decoding.call(outline, source.content_type, limits)
    if not found.has_sound:
        raise InvalidMedia(f"the {source.content_type} file holds no sound", hint="check the file")
    async with aclosing(sound_drafts(source, models, found, Modality.AUDIO)) as drafts:
        async for draft in drafts:
            yield draft


async def sound_drafts(
    source: Source, models: Recognisers, found: Outline, modality: Modality
) -> AsyncGenerator[Draft, None]:
    """Speech and events of the file's sound track, in order of their stretches."""
    async with aclosing(hear(source, models, found)) as stretched:
        async for heard in stretched:
            for draft in await in_thread(_drafts, heard, source.name, modality):
                yield draft


async def hear(source: Source, models: Recognisers, found: Outline) -> AsyncGenerator[Heard, None]:
    """Tag each stretch, and transcribe where somebody may be speaking."""
    async with aclosing(source.decoding.each(stretches, source.content_type, found)) as pieces:
        async for stretch in pieces:
            wave = stretch.wave
            long_enough = np.pad(wave, (0, max(0, int(_SHORTEST_S * SAMPLE_RATE) - len(wave))))
            windows = await models.run(lambda wave=long_enough: models.tagger.tag(wave))
            passages: list[tuple[str, SpokenPassage]] = []
            for start, end in speech_times(windows):
                said = wave[start * SAMPLE_RATE // 1000 : end * SAMPLE_RATE // 1000]
                if len(said):
                    transcript = await models.run(lambda wave=said: models.speech.transcribe(wave))
                    spoken = spoken_passages(transcript.segments, stretch.start_ms + start)
                    passages += [(transcript.language, passage) for passage in spoken]
            moved = _moved(windows, stretch)
            spans = [span for span in sound_spans(moved) if _is_loud(stretch, span)]
            yield Heard(stretch, moved, tuple(passages), tuple(spans))


def _moved(windows: tuple[SoundWindow, ...], stretch: Stretch) -> tuple[SoundWindow, ...]:
    """Windows on the document's time line, without the silence that was added to short sounds."""
    end = stretch.start_ms + len(stretch.wave) * 1000 // SAMPLE_RATE
    return tuple(
        window.model_copy(
            update={
                "start_ms": window.start_ms + stretch.start_ms,
                "end_ms": min(window.end_ms + stretch.start_ms, end),
            }
        )
        for window in windows
        if window.start_ms + stretch.start_ms < end
    )


def _is_loud(stretch: Stretch, span: SoundSpan) -> bool:
    wave = Heard(stretch, (), (), ()).cut(span.start_ms, span.end_ms)
    return len(wave) > 0 and float(np.sqrt((wave**2).mean())) >= _SILENCE


def _drafts(heard: Heard, title: str, modality: Modality) -> list[Draft]:
    said = [
        Draft(
            place=f"speech:{passage.start_ms}-{passage.end_ms}",
            modality=modality,
            channel=Channel.SPEECH,
            text=passage.text,
            title=title,
            start_ms=passage.start_ms,
            end_ms=passage.end_ms,
            features=Features(words=passage.words, language=language),
            clip=_clip(heard, passage.start_ms, passage.end_ms),
        )
        for language, passage in heard.passages
    ]
    sounds = [
        Draft(
            place=f"sound:{span.start_ms}-{span.end_ms}",
            modality=modality,
            channel=Channel.SOUND,
            text=f"{shown(span.labels, at_least=0.2)} ({clock(span.start_ms, span.end_ms)})",
            title=title,
            start_ms=span.start_ms,
            end_ms=span.end_ms,
            features=Features(labels=span.labels, windows=span.windows),
            clip=_clip(heard, span.start_ms, span.end_ms),
        )
        for span in heard.spans
    ]
    return said + sounds


def _clip(heard: Heard, start_ms: int, end_ms: int) -> Clip | None:
    wave = heard.cut(start_ms, end_ms)
    return Clip(flac(wave), "audio/flac") if len(wave) else None
