"""Video: shots with a key frame each, and the sound track, on one time line.

In: a video file. Out: drafts of modality video: a picture chunk a shot (its labels, regions, and what OCR reads in its
key frame), speech and sound events. They come in order of time, about as they happen. A container that holds only sound
is read as audio. Raises ``InvalidMedia`` (broken, cut off, empty), ``LimitExceeded`` (seconds, pixels).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing

import cv2
import numpy as np
from numpy.typing import NDArray

from schemas.chunks import Channel
from schemas.media import Modality
from workers.extract.audio import sound_drafts
from workers.extract.containers import Outline, outline
from workers.extract.draft import Draft, Recognisers, Source
from workers.extract.picture import Seen, picture_drafts, see
from workers.extract.shots import shots
from workers.extract.threads import in_thread
from workers.limits import Limits
from workers.models.base import Picture

_SAME = 1.5
"""Mean difference (0–255) of two key frames, 64 pixels a side, up to which they show the same."""


async def read_video(source: Source, models: Recognisers, limits: Limits) -> AsyncGenerator[Draft, None]:
    """The drafts of a video, or of a container that turns out to hold only sound."""
    found = await source.decoding.call(outline, source.content_type, limits)
    if not found.has_picture:
        async with aclosing(sound_drafts(source, models, found, Modality.AUDIO)) as heard:
            async for draft in heard:
                yield draft
        return
    async with aclosing(_by_time(source, models, found)) as drafts:
        async for draft in drafts:
            yield draft


async def _by_time(source: Source, models: Recognisers, found: Outline) -> AsyncGenerator[Draft, None]:
    """What is seen and what is heard, always going on with what lags behind."""
    tracks = [shot_drafts(source, models, found)]
    if found.has_sound:
        tracks.append(sound_drafts(source, models, found, Modality.VIDEO))
    async with AsyncExitStack() as stack:
        for track in tracks:
            await stack.enter_async_context(aclosing(track))
        reached = {id(track): number for number, track in enumerate(tracks)}
        while tracks:
            lagging = min(tracks, key=lambda track: reached[id(track)])
            try:
                draft = await anext(lagging)
            except StopAsyncIteration:
                tracks.remove(lagging)
                continue
            reached[id(lagging)] = draft.start_ms or 0
            yield draft


async def shot_drafts(source: Source, models: Recognisers, found: Outline) -> AsyncGenerator[Draft, None]:
    """A picture chunk a shot, and what is written in it. A key frame like the one before it is not looked at again."""
    last: tuple[NDArray[np.int16], Seen] | None = None
    async with aclosing(source.decoding.each(shots, source.content_type, found)) as cut:
        async for shot in cut:
            small = _small(shot.picture)
            is_same = last is not None and float(np.abs(last[0] - small).mean()) <= _SAME
            seen = last[1] if last is not None and is_same else await see(shot.picture, models)
            last = (small, seen)
            like = Draft(
                place=f"shot:{shot.start_ms}",
                modality=Modality.VIDEO,
                channel=Channel.PICTURE,
                title=source.name,
                start_ms=shot.start_ms,
                end_ms=shot.end_ms,
            )
            for draft in await in_thread(picture_drafts, seen, shot.picture, like):
                yield draft


def _small(picture: Picture) -> NDArray[np.int16]:
    return cv2.resize(picture, (64, 64), interpolation=cv2.INTER_AREA).astype(np.int16)
