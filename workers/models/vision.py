"""What a picture shows: EfficientNet-Lite0 on ImageNet's thousand classes (Tan & Le 2019, arXiv 1905.11946).

The network without squeeze-and-excitation and with ReLU6, as the Lite variants have it; batch norms are folded into the
convolutions before them. A picture is seen twice, its middle square and the whole of it, and the two probabilities are
averaged (multiple views: Krizhevsky et al. 2012, section 4.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from schemas.chunks import Label
from workers.models import weights
from workers.models.base import Floats, Picture

SIDE = 224
TOP = 20
MAX_BATCH = 16
CLASSES = Path(__file__).parent / "data" / "imagenet_classes.txt"

# (repeats, kernel, stride, expansion, channels in, channels out)
STAGES = (
    (1, 3, 1, 1, 32, 16),
    (2, 3, 2, 6, 16, 24),
    (2, 5, 2, 6, 24, 40),
    (3, 3, 2, 6, 40, 80),
    (3, 5, 1, 6, 80, 112),
    (4, 5, 2, 6, 112, 192),
    (1, 3, 1, 6, 192, 320),
)
EPSILON = 1e-3


class Convolution(nn.Module):
    """A convolution with its batch norm folded in; ReLU6 after it unless it is linear.

    The weights were trained with TensorFlow's SAME padding, which puts the odd pixel of a stride of two to the right
    and below: padding both sides alike shifts what every such layer sees.
    """

    def __init__(
        self, source: dict[str, Tensor], conv: str, norm: str, *, stride: int, groups: int, relu: bool
    ) -> None:
        super().__init__()
        weight = source[f"{conv}.weight"]
        scale = source[f"{norm}.weight"] / torch.sqrt(source[f"{norm}.running_var"] + EPSILON)
        self.weight = nn.Parameter(weight * scale[:, None, None, None], requires_grad=False)
        bias = source[f"{norm}.bias"] - source[f"{norm}.running_mean"] * scale
        self.bias = nn.Parameter(bias, requires_grad=False)
        total = weight.shape[2] - stride  # for the even sizes that stand before every stride of two
        before, after = total // 2, total - total // 2
        self.uneven = (before, after, before, after) if before != after else None
        self.padding = 0 if self.uneven else before
        self.stride, self.groups, self.relu = stride, groups, relu

    def forward(self, pixels: Tensor) -> Tensor:
        """``(b, c, h, w)`` in and out."""
        if self.uneven:
            pixels = functional.pad(pixels, self.uneven)
        found = functional.conv2d(pixels, self.weight, self.bias, self.stride, self.padding, groups=self.groups)
        return functional.relu6(found, inplace=True) if self.relu else found


class Block(nn.Module):
    """An inverted residual: expand, convolve each channel, project."""

    def __init__(self, source: dict[str, Tensor], name: str, *, stride: int, expansion: int) -> None:
        super().__init__()
        steps: list[nn.Module] = []
        if expansion != 1:
            steps.append(Convolution(source, f"{name}._expand_conv", f"{name}._bn0", stride=1, groups=1, relu=True))
        depthwise = f"{name}._depthwise_conv"
        channels = source[f"{depthwise}.weight"].shape[0]
        steps.append(Convolution(source, depthwise, f"{name}._bn1", stride=stride, groups=channels, relu=True))
        steps.append(Convolution(source, f"{name}._project_conv", f"{name}._bn2", stride=1, groups=1, relu=False))
        self.steps = nn.Sequential(*steps)

    def forward(self, pixels: Tensor) -> Tensor:
        """Adds its input where the shapes allow it."""
        found: Tensor = self.steps(pixels)
        return found + pixels if found.shape == pixels.shape else found


class EfficientNetLite0(nn.Module):
    """Pictures to class scores, from the published state dictionary."""

    def __init__(self, source: dict[str, Tensor]) -> None:
        super().__init__()
        blocks: list[nn.Module] = [Convolution(source, "_conv_stem", "_bn0", stride=2, groups=1, relu=True)]
        number = 0
        for repeats, _, stride, expansion, _, _ in STAGES:
            for repeat in range(repeats):
                first = stride if repeat == 0 else 1
                blocks.append(Block(source, f"_blocks.{number}", stride=first, expansion=expansion))
                number += 1
        blocks.append(Convolution(source, "_conv_head", "_bn1", stride=1, groups=1, relu=True))
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(source["_fc.weight"].shape[1], source["_fc.weight"].shape[0])
        self.head.load_state_dict({"weight": source["_fc.weight"], "bias": source["_fc.bias"]})

    def forward(self, pixels: Tensor) -> Tensor:
        """``(b, 3, 224, 224)`` to ``(b, 1000)``."""
        scores: Tensor = self.head(self.blocks(pixels).mean(dim=(2, 3)))
        return scores


class LocalLabeller:
    """The twenty likeliest of ImageNet's classes."""

    def __init__(self, threads: int) -> None:
        torch.set_num_threads(threads)
        source = torch.load(weights.EFFICIENTNET.verified(), map_location="cpu", weights_only=True)
        self._model = EfficientNetLite0(source).eval().to(memory_format=torch.channels_last)
        self._names = CLASSES.read_text().splitlines()

    def label(self, pictures: Sequence[Picture]) -> list[tuple[Label, ...]]:
        """The likeliest classes of each picture, best first; scores are probabilities."""
        views = [_views(picture) for picture in pictures]
        if not views:
            return []
        shares = self._shares([view for group in views for view in group])
        ends = np.cumsum([len(group) for group in views])
        return [self._best(part.mean(axis=0)) for part in np.split(shares, ends[:-1])]

    def _shares(self, views: Sequence[NDArray[np.float32]]) -> Floats:
        """``(n, 1000)``: the probabilities of each view."""
        found = []
        for start in range(0, len(views), MAX_BATCH):
            pixels = torch.from_numpy(np.stack(views[start : start + MAX_BATCH]))
            with torch.inference_mode():
                scores = self._model(pixels.permute(0, 3, 1, 2))  # channels last in memory
            found.append(scores.softmax(dim=1).numpy())
        return np.concatenate(found)

    def _best(self, shares: Floats) -> tuple[Label, ...]:
        best = np.argsort(-shares, kind="stable")[:TOP]
        return tuple(Label(name=self._names[index], score=float(shares[index])) for index in best)


def _views(picture: Picture) -> list[NDArray[np.float32]]:
    """The middle square, and the whole upon a square of the colour of its rim; a square picture has one view."""
    height, width = picture.shape[:2]
    short, long = min(height, width), max(height, width)
    top, left = (height - short) // 2, (width - short) // 2
    middle = picture[top : top + short, left : left + short]
    if short == long:
        return [_scaled(middle)]
    rim = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    whole = np.empty((long, long, 3), dtype=np.uint8)
    whole[:] = np.median(rim, axis=0)
    top, left = (long - height) // 2, (long - width) // 2
    whole[top : top + height, left : left + width] = picture
    return [_scaled(middle), _scaled(whole)]


def _scaled(square: Picture) -> NDArray[np.float32]:
    """224 pixels wide, normalised as the network was trained."""
    how = cv2.INTER_AREA if len(square) > SIDE else cv2.INTER_CUBIC
    resized = cv2.resize(square, (SIDE, SIDE), interpolation=how)
    return (resized.astype(np.float32) - 127.0) / 128.0
