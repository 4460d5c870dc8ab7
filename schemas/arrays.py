"""Arrays on the wire: dtype, shape and little-endian bytes, base64 in JSON."""

from __future__ import annotations

from typing import Literal

from schemas.base import Value


class PackedArray(Value):
    """A dense array. ``data`` holds ``prod(shape)`` little-endian numbers of ``dtype`` in C order."""

    dtype: Literal["float32", "float16", "int8", "int32"]
    shape: tuple[int, ...]
    data: bytes
