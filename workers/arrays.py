"""NumPy arrays to and from their form on the wire."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from schemas.arrays import PackedArray

WireType = Literal["float32", "float16", "int8", "int32"]


def pack(array: NDArray[Any], dtype: WireType) -> PackedArray:
    """``array`` as ``dtype``, in C order."""
    values = np.ascontiguousarray(array, dtype=np.dtype(dtype).newbyteorder("<"))
    return PackedArray(dtype=dtype, shape=values.shape, data=values.tobytes())


def unpack(packed: PackedArray) -> NDArray[Any]:
    """A read-only array of ``packed.shape``. Raises ``ValueError`` where bytes and shape disagree."""
    return np.frombuffer(packed.data, dtype=np.dtype(packed.dtype).newbyteorder("<")).reshape(packed.shape)
