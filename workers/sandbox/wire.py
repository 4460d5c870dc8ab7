"""What a decoder process and its worker say to each other.

A worker is believed: its requests are pickles, each after its length. A decoder has read hostile bytes, so nothing that
it says is unpickled: an answer is JSON and raw buffers, and ``decoded`` reads it as the type that the called function
promises. Text, numbers, tuples, lists, dataclasses and arrays of numbers are known, nothing else. Raises ``ValueError``
for an answer that is not of that type.
"""

from __future__ import annotations

import dataclasses
import math
import struct
import types
from collections.abc import Callable, Iterator, Sequence
from enum import IntEnum
from functools import cache
from typing import Any, Final, Union, get_args, get_origin, get_type_hints

import numpy as np

REQUEST: Final = struct.Struct("!Q")
"""The length of the pickle that follows."""
HEAD: Final = struct.Struct("!BIH")
"""Kind of the answer, length of its JSON, number of its buffers; then the buffers' lengths, the JSON, the buffers."""
LENGTH: Final = struct.Struct("!Q")
MAX_JSON: Final = 256 * 1024 * 1024
MAX_BUFFERS: Final = 64
_LONG_TEXT: Final = 4096
"""Characters from which text travels as a buffer: quoting it would take longer."""
_SCALARS: Final = (bool, int, float, str)

Tree = Any
"""What ``json`` gives and takes."""


class Kind(IntEnum):
    """What an answer is."""

    READY = 0
    """The process is confined; the tree names the bounds that this system did not grant."""
    VALUE = 1
    """The result of a call, or the next item."""
    END = 2
    """There are no more items."""
    REFUSED = 3
    """``[class, reason, hint]`` of an ``InvalidEvent``."""
    FAULT = 4
    """What was asked cannot be done at all: a fault of ours."""
    MEMORY = 5
    """It would take more memory than there may be."""
    BEAT = 6
    """The work goes on, and gets on."""


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """One message of a decoder. ``logs`` are ``[level, event, {key: value}]``."""

    kind: Kind
    value: Tree = None
    buffers: Sequence[memoryview] = ()
    logs: Sequence[Tree] = ()


def encoded(value: object, buffers: list[memoryview]) -> Tree:
    """``value`` as a tree; what is long is put into ``buffers``. Raises ``UnicodeEncodeError`` for half a character."""
    if isinstance(value, str):
        if len(value) < _LONG_TEXT:
            value.encode()
            return value
        buffers.append(memoryview(value.encode()))
        return [len(buffers) - 1]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, np.ndarray):
        flat = np.ascontiguousarray(value)
        buffers.append(flat.data.cast("B") if flat.size else memoryview(b""))
        return [len(buffers) - 1, list(flat.shape)]
    if isinstance(value, (tuple, list)):
        return [encoded(item, buffers) for item in value]
    if dataclasses.is_dataclass(value):
        return [encoded(getattr(value, field.name), buffers) for field in dataclasses.fields(value)]
    raise TypeError(f"a decoder cannot send a {type(value).__name__}")


def decoded(tree: Tree, hint: Any, buffers: Sequence[memoryview]) -> Any:
    """The value of type ``hint`` in ``tree``."""
    if hint in _SCALARS:
        return _scalar(tree, hint, buffers)
    if hint is type(None):
        return _fits(tree is None, tree, hint) and None
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        (rest,) = (argument for argument in arguments if argument is not type(None))  # only X | None is known
        return None if tree is None else decoded(tree, rest, buffers)
    if origin is np.ndarray:
        return _array(tree, get_args(arguments[1])[0], buffers)
    _fits(isinstance(tree, list), tree, hint)
    if origin is list or (origin is tuple and arguments[-1] is Ellipsis):
        return origin(decoded(item, arguments[0], buffers) for item in tree)
    kinds = arguments if origin is tuple else _fields(hint)
    _fits(len(tree) == len(kinds), tree, hint)
    items = (decoded(item, kind, buffers) for item, kind in zip(tree, kinds, strict=True))
    return tuple(items) if origin is tuple else hint(*items)


def _scalar(tree: Tree, hint: type, buffers: Sequence[memoryview]) -> Any:
    if hint is str and isinstance(tree, list):
        return str(_buffer(tree[0] if len(tree) == 1 else None, buffers), "utf-8")
    if hint is float:
        _fits(type(tree) in (int, float) and math.isfinite(tree), tree, hint)
        return float(tree)
    _fits(type(tree) is hint, tree, hint)
    if hint is str:
        tree.encode()
    return tree


def _array(tree: Tree, dtype: type[np.generic], buffers: Sequence[memoryview]) -> np.ndarray[Any, Any]:
    _fits(isinstance(tree, list) and len(tree) == 2 and isinstance(tree[1], list), tree, dtype)
    _fits(all(type(side) is int and 0 <= side < 2**31 for side in tree[1]), tree, dtype)
    array = np.frombuffer(_buffer(tree[0], buffers), dtype=dtype).reshape(tree[1])
    if array.size and np.issubdtype(dtype, np.floating):
        _fits(bool(np.isfinite(array.sum(dtype=np.float64))), "numbers that are none", dtype)
    return array


def _buffer(index: Tree, buffers: Sequence[memoryview]) -> memoryview:
    _fits(type(index) is int and 0 <= index < len(buffers), index, "buffer")
    return buffers[index]


def _fits(condition: bool, tree: Tree, hint: object) -> bool:
    if not condition:
        raise ValueError(f"a decoder answered {str(tree)[:80]!r} where {hint} was asked for")
    return True


@cache
def _fields(kind: type) -> tuple[Any, ...]:
    hints = get_type_hints(kind)
    return tuple(hints[field.name] for field in dataclasses.fields(kind))


@cache
def result_type(work: Callable[..., object]) -> Any:
    """What ``work`` returns, or what the iterator that it returns yields."""
    hint = get_type_hints(work)["return"]
    return get_args(hint)[0] if get_origin(hint) is Iterator else hint
