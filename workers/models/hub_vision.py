"""Words and pictures by a dual encoder of the SigLIP kind, and labels by comparing the two."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from schemas.chunks import Label
from workers.models.base import Embedding, Floats, ImageInput, Parts, Picture
from workers.models.conse import CLASS_FILES, PLACE_UNIT, WORDINGS

TOP = 20
MAX_BATCH = 16


class DualEncoder:
    """Both towers of one checkpoint."""

    def __init__(self, name: str, device: str) -> None:
        from transformers import AutoModel, AutoTokenizer
        from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

        self.name = name
        self.device = device
        self.model = AutoModel.from_pretrained(name).eval().to(device)
        self.tokenizer = AutoTokenizer.from_pretrained(name)
        self.processor = SiglipImageProcessorPil.from_pretrained(name)  # the automatic one wants torchvision
        self.length = int(self.model.config.text_config.max_position_embeddings)
        self.dimension = int(self.model.config.text_config.projection_size)

    def words(self, texts: Sequence[str]) -> tuple[Floats, Floats, Any]:
        """``(n, d)`` text vectors, ``(n, t, d)`` token vectors, and the tokenizer's output with offsets."""
        encoded = self.tokenizer(
            list(texts),
            padding="max_length",  # as these towers were trained
            truncation=True,
            max_length=self.length,
            return_offsets_mapping=True,
            return_special_tokens_mask=True,
            return_tensors="pt",
        )
        with torch.inference_mode():
            found = self.model.text_model(input_ids=encoded["input_ids"].to(self.device))
            tokens = self.model.text_model.head(found.last_hidden_state)
        return _unit(found.pooler_output), _unit(tokens), encoded

    def pictures(self, pictures: Sequence[Picture]) -> Floats:
        """``(n, d)`` image vectors."""
        found = []
        for start in range(0, len(pictures), MAX_BATCH):
            pixels = self.processor(images=list(pictures[start : start + MAX_BATCH]), return_tensors="pt")
            with torch.inference_mode():
                output = self.model.vision_model(pixel_values=pixels["pixel_values"].to(self.device))
            found.append(_unit(output.pooler_output))
        return np.concatenate(found)

    def logits(self, cosines: Floats) -> Floats:
        """Similarities as the sigmoid loss scales them."""
        scale = float(self.model.logit_scale.detach().exp())
        bias = float(self.model.logit_bias.detach())
        scaled: Floats = cosines * scale + bias
        return scaled


def _unit(tensor: torch.Tensor) -> Floats:
    unit: Floats = torch.nn.functional.normalize(tensor.float(), dim=-1).cpu().numpy()
    return unit


class HubTextEncoder:
    """Words into the unified space."""

    def __init__(self, dual: DualEncoder) -> None:
        self._dual = dual
        self.name = dual.name
        self.dimension = dual.dimension

    def encode(self, texts: Sequence[str]) -> list[Embedding]:
        """One embedding a text; tokens beyond the tower's length are cut. Raises ``ValueError`` for an empty text."""
        if not all(text.strip() for text in texts):
            raise ValueError("an empty text has no vector")
        found: list[Embedding] = []
        for start in range(0, len(texts), MAX_BATCH):
            vectors, tokens, encoded = self._dual.words(texts[start : start + MAX_BATCH])
            offsets = encoded["offset_mapping"].numpy()
            special = encoded["special_tokens_mask"].numpy().astype(bool)
            for row, vector in enumerate(vectors):
                real = ~special[row] & (offsets[row, :, 1] > offsets[row, :, 0])
                found.append(Embedding(vector, _token_parts(tokens[row][real], offsets[row][real])))
        return found


def _token_parts(vectors: Floats, offsets: Any) -> Parts:
    places = np.zeros((len(vectors), 4), dtype=np.int32)
    places[:, :2] = offsets
    return Parts(vectors, places, np.ones(len(vectors), dtype=np.float32))


class HubImageEncoder:
    """Pictures into the unified space; each region is looked at by itself."""

    def __init__(self, dual: DualEncoder) -> None:
        self._dual = dual
        self.name = dual.name
        self.dimension = dual.dimension

    def encode(self, images: Sequence[ImageInput]) -> list[Embedding]:
        """One embedding a picture, its regions as parts."""
        return [self._one(image) for image in images]

    def _one(self, image: ImageInput) -> Embedding:
        picture = image.load()
        boxes = [region.box for region in image.regions] or [(0.0, 0.0, 1.0, 1.0)]
        vectors = self._dual.pictures([picture, *(_crop(picture, box) for box in boxes)])
        places = np.array([[round(value * PLACE_UNIT) for value in box] for box in boxes], dtype=np.int32)
        return Embedding(vectors[0], Parts(vectors[1:], places, np.ones(len(boxes), dtype=np.float32)))


def _crop(picture: Picture, box: tuple[float, float, float, float]) -> Picture:
    height, width = picture.shape[:2]
    left, top = int(box[0] * width), int(box[1] * height)
    right, bottom = max(left + 1, round(box[2] * width)), max(top + 1, round(box[3] * height))
    return picture[top:bottom, left:right]


class HubLabeller:
    """Zero-shot classes: the softmax over how well each class name fits the picture."""

    def __init__(self, dual: DualEncoder) -> None:
        self._dual = dual
        self._names = CLASS_FILES["picture"].read_text().splitlines()
        wording = WORDINGS["picture"][1]
        texts = [wording.format(name) for name in self._names]
        rows = [dual.words(texts[start : start + 4 * MAX_BATCH])[0] for start in range(0, len(texts), 4 * MAX_BATCH)]
        self._classes = np.concatenate(rows)

    def label(self, pictures: Sequence[Picture]) -> list[tuple[Label, ...]]:
        """The likeliest classes of each picture, best first; scores are probabilities."""
        if not pictures:
            return []
        logits = self._dual.logits(self._dual.pictures(pictures) @ self._classes.T)
        return [best_labels(row, self._names, TOP) for row in logits]


def best_labels(logits: Floats, names: Sequence[str], top: int) -> tuple[Label, ...]:
    """The softmax of one row of logits as labels, best first."""
    shares = np.exp(logits - logits.max())
    shares /= shares.sum()
    best = np.argsort(-shares, kind="stable")[:top]
    return tuple(Label(name=names[index], score=float(shares[index])) for index in best)
