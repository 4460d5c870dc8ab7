"""The picture or the sound of a chunk, decoded when an encoder asks for it.

Loaders raise ``InvalidMedia`` (missing or unreadable), ``LimitExceeded``, ``TransientError`` (blob store away).
"""

from __future__ import annotations

from collections.abc import Callable

from schemas.media import BlobRef
from workers.errors import InvalidMedia
from workers.limits import Limits
from workers.models.base import Picture, Wave
from workers.store.blobs import BlobStore

_LIMITS = Limits()  # clips are ours: they were made within the limits


def picture_loader(blobs: BlobStore, media: BlobRef | None) -> Callable[[], Picture]:
    """Reads and decodes the picture at ``media``."""

    def load() -> Picture:
        from workers.extract.image import pages  # decoders, for encoders that want pixels only

        for _, picture in pages(_bytes(blobs, media), _LIMITS):
            return picture
        raise InvalidMedia("the chunk's picture is empty")

    return load


def sound_loader(blobs: BlobStore, media: BlobRef | None) -> Callable[[], Wave]:
    """Reads and decodes the sound at ``media``."""

    def load() -> Wave:
        from workers.extract.containers import outline  # as above
        from workers.extract.waves import stretches

        data = _bytes(blobs, media)
        content_type = media.content_type if media is not None else ""
        for stretch in stretches(data, content_type, outline(data, content_type, _LIMITS)):
            return stretch.wave
        raise InvalidMedia("the chunk's sound is empty")

    return load


def _bytes(blobs: BlobStore, media: BlobRef | None) -> bytes:
    if media is None:
        raise InvalidMedia(
            "the chunk has no file of its own", hint="this profile's encoder needs one: publish the document again"
        )
    return blobs.get(media, max_bytes=_LIMITS.max_bytes)
