"""Optical character recognition: PP-OCRv6 by rapidocr, with the models that its package carries."""

from __future__ import annotations

from typing import Any

from schemas.chunks import Box, OcrLine
from workers.models import weights
from workers.models.base import Picture


class LocalTextReader:
    """Detection, direction and recognition of lines, in reading order."""

    def __init__(self, threads: int) -> None:
        from rapidocr import RapidOCR

        self._engine = RapidOCR(
            params={
                "Global.log_level": "error",
                "Det.model_path": str(weights.OCR_DETECTION.verified()),
                "Rec.model_path": str(weights.OCR_RECOGNITION.verified()),
                "Cls.model_path": str(weights.OCR_DIRECTION.verified()),
                "EngineConfig.onnxruntime.intra_op_num_threads": threads,
                "EngineConfig.onnxruntime.inter_op_num_threads": 1,
            }
        )

    def read(self, picture: Picture) -> tuple[OcrLine, ...]:
        """The lines in reading order; boxes are the upright rectangles around them."""
        found = self._engine(picture[:, :, ::-1])  # it wants BGR
        if found.boxes is None or found.txts is None:
            return ()
        height, width = picture.shape[:2]
        return tuple(
            OcrLine(text=text, box=_box(corners, width, height), score=min(1.0, float(score)))
            for corners, text, score in zip(found.boxes, found.txts, found.scores, strict=True)
            if text.strip()
        )


def _box(corners: Any, width: int, height: int) -> Box:
    """The rectangle around four corners, in 0–1 units."""
    left, top = corners.min(axis=0)
    right, bottom = corners.max(axis=0)

    def unit(value: float) -> float:
        return round(min(1.0, max(0.0, float(value))), 5)

    return unit(left / width), unit(top / height), unit(right / width), unit(bottom / height)
