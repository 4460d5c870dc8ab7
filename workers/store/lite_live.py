"""Which rows of milvus-lite's segments are live, remembered instead of found out anew for every search.

A segment is a file of rows that never changes; a row in it is dead once a newer version of its key lies in another
segment or in the memtable, or a later deletion names it. milvus-lite walks over all rows of all segments, in Python,
for every part of a hybrid search to find that out: most of what a search costs at 20,000 rows. Here the segments' part
of the answer is kept as a mask for each segment, which follows flushes and compactions, and only the few rows of the
memtable are looked at for each search.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from milvus_lite.constants import ALL_PARTITIONS
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


class LiveRows:
    """The live rows of one collection's segments. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._segments: tuple[Any, ...] = ()
        self._deleted: dict[Any, int] = {}
        self._masks: dict[int, Mask] = {}
        self._newest: dict[Any, tuple[int, int, int]] = {}  # key: sequence number, segment (by id), row

    def masks(self, segments: Sequence[Any], deleted: Mapping[Any, int], memtable: Any) -> list[Mask]:
        """A mask for each of ``segments``, true for live rows; ``deleted`` is keys with their deletions' numbers."""
        with self._lock:
            self._follow(tuple(segments), deleted)
            masks = dict(self._masks)
            for key, (_, _, sequence) in memtable.pk_index_snapshot():
                self._hide(masks, key, sequence)
            for key, (sequence, partition) in memtable.delete_index_snapshot().items():
                self._hide(masks, key, sequence, partition)
        return [masks[id(segment)] for segment in segments]

    def _follow(self, segments: tuple[Any, ...], deleted: Mapping[Any, int]) -> None:
        """Take in what a flush or a compaction has changed."""
        if {id(segment) for segment in self._segments} - {id(segment) for segment in segments}:
            self._segments, self._deleted, self._masks, self._newest = (), {}, {}, {}  # compacted: all is new
        new = [segment for segment in segments if id(segment) not in self._masks]
        if not new and deleted == self._deleted:
            return
        # Searches that run still hold the old masks: they must not change under them.
        self._masks = {number: mask.copy() for number, mask in self._masks.items()}
        self._segments = segments
        for segment in new:
            self._add(segment)
        for key, sequence in deleted.items():
            self._bury(key, sequence)
        self._deleted = dict(deleted)

    def _add(self, segment: Any) -> None:
        mask = self._masks[id(segment)] = np.ones(len(segment.pks), dtype=bool)
        for row, (key, sequence) in enumerate(zip(segment.pks, segment.seqs.tolist(), strict=True)):
            known = self._newest.get(key)
            if known is not None and known[0] >= sequence:
                mask[row] = False
                continue
            if known is not None:
                self._masks[known[1]][known[2]] = False
            self._newest[key] = (sequence, id(segment), row)

    def _bury(self, key: Any, sequence: int) -> None:
        known = self._newest.get(key)
        if known is not None and known[0] < sequence:
            self._masks[known[1]][known[2]] = False

    def _hide(self, masks: dict[int, Mask], key: Any, sequence: int, partition: str = ALL_PARTITIONS) -> None:
        """Leave a row out of ``masks`` that the memtable replaces or deletes, in copies of their own."""
        known = self._newest.get(key)
        if known is None or known[0] >= sequence:
            return
        _, number, row = known
        if partition not in (ALL_PARTITIONS, self._partition(number)):
            return
        if masks[number] is self._masks[number]:
            masks[number] = masks[number].copy()
        masks[number][row] = False

    def _partition(self, number: int) -> str:
        return next(str(segment.partition) for segment in self._segments if id(segment) == number)
