"""Optical character recognition: PP-OCRv6 by rapidocr, with the models that its package carries."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime

from schemas.chunks import Box, OcrLine
from workers.models import weights
from workers.models.base import Picture

DOUBTFUL = 0.8
"""A line below it is looked at again: readings of printed lines are at .95 and above, what is misread at .4 to .7."""
SECOND_LOOK = 1.5
"""How much larger the picture is at the second look: another crop of a bent line is often read rightly."""
SAME_PLACE = 0.5


class LocalTextReader:
    """Detection, direction and recognition of lines, in reading order."""

    def __init__(self, threads: int) -> None:
        from rapidocr import RapidOCR

        files = {
            "Det": weights.OCR_DETECTION.verified(),
            "Rec": weights.OCR_RECOGNITION.verified(),
            "Cls": weights.OCR_DIRECTION.verified(),
        }
        self._engine = RapidOCR(
            params={
                "Global.log_level": "error",
                **{f"{step}.model_path": str(file) for step, file in files.items()},
            }
        )
        steps = {  # loaded now: by itself it would load them at the first page
            "Det": self._engine._load_det_model(),
            "Rec": self._engine._load_rec_model(),
            "Cls": self._engine._load_cls_model(),
        }
        for step, recogniser in steps.items():
            recogniser.session.session = _session(files[step], threads)

    def read(self, picture: Picture) -> tuple[OcrLine, ...]:
        """The lines in reading order; boxes are the upright rectangles around them."""
        lines = self._read(picture)
        if any(line.score < DOUBTFUL for line in lines):
            again = self._read(_enlarged(picture))
            lines = [_surer(line, again) for line in lines]
        return tuple(lines)

    def _read(self, picture: Picture) -> list[OcrLine]:
        found = self._engine(picture[:, :, ::-1])  # it wants BGR
        if found.boxes is None or found.txts is None:
            return []
        height, width = picture.shape[:2]
        return [
            OcrLine(text=text, box=_box(corners, width, height), score=min(1.0, float(score)))
            for corners, text, score in zip(found.boxes, found.txts, found.scores, strict=True)
            if text.strip()
        ]


def _session(file: Path, threads: int) -> onnxruntime.InferenceSession:
    """A session whose threads sleep while they wait; rapidocr's own spin, and cannot be told not to.

    Where other processes want the same cores, a page takes nearly twice as long with threads that spin.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.enable_cpu_mem_arena = False  # pages of all sizes would each leave memory behind
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def _enlarged(picture: Picture) -> Picture:
    larger = cv2.resize(picture, None, fx=SECOND_LOOK, fy=SECOND_LOOK, interpolation=cv2.INTER_CUBIC)
    return larger.astype(np.uint8, copy=False)


def _surer(line: OcrLine, others: Sequence[OcrLine]) -> OcrLine:
    """``line``, or the reading of the same place that is surer."""
    same = [other for other in others if _overlap(line.box, other.box) > SAME_PLACE]
    return max([line, *same], key=lambda reading: reading.score)


def _overlap(one: Box, other: Box) -> float:
    """Intersection over union."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(0.0, width) * max(0.0, height)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return shared / max(1e-9, sum(areas) - shared)


def _box(corners: Any, width: int, height: int) -> Box:
    """The rectangle around four corners, in 0–1 units."""
    left, top = corners.min(axis=0)
    right, bottom = corners.max(axis=0)

    def unit(value: float) -> float:
        return round(min(1.0, max(0.0, float(value))), 5)

    return unit(left / width), unit(top / height), unit(right / width), unit(bottom / height)
