"""The BERT encoder that MiniLM is, for inference: token vectors out of token ids.

Written out so that a worker need not import transformers, which costs seconds at every start. Layout and names follow
the published checkpoint (Devlin et al. 2018, arXiv 1810.04805; MiniLM: Wang et al. 2020, arXiv 2002.10957).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class BertSize:
    """The sizes of MiniLM-L6."""

    vocabulary: int = 30522
    positions: int = 512
    width: int = 384
    layers: int = 6
    heads: int = 12
    inner: int = 1536
    epsilon: float = 1e-12


class Layer(nn.Module):
    """Self-attention and feed-forward, each with a residual and a norm after it."""

    def __init__(self, size: BertSize) -> None:
        super().__init__()
        self.heads = size.heads
        self.qkv = nn.Linear(size.width, 3 * size.width)
        self.out = nn.Linear(size.width, size.width)
        self.norm_attention = nn.LayerNorm(size.width, eps=size.epsilon)
        self.inner = nn.Linear(size.width, size.inner)
        self.outer = nn.Linear(size.inner, size.width)
        self.norm_output = nn.LayerNorm(size.width, eps=size.epsilon)

    def forward(self, hidden: Tensor, mask: Tensor | None) -> Tensor:
        """``hidden``: (b, t, width); ``mask``: (b, 1, 1, t), true where there is a token."""
        batch, length, width = hidden.shape
        qkv = self.qkv(hidden).view(batch, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2], attn_mask=mask)
        mixed = mixed.transpose(1, 2).reshape(batch, length, width)
        hidden = self.norm_attention(hidden + self.out(mixed))
        inner = functional.gelu(self.inner(hidden))
        result: Tensor = self.norm_output(hidden + self.outer(inner))
        return result


class Bert(nn.Module):
    """Token ids to contextual token vectors."""

    def __init__(self, size: BertSize) -> None:
        super().__init__()
        self.words = nn.Embedding(size.vocabulary, size.width)
        self.positions = nn.Embedding(size.positions, size.width)
        self.types = nn.Embedding(2, size.width)
        self.norm = nn.LayerNorm(size.width, eps=size.epsilon)
        self.layers = nn.ModuleList(Layer(size) for _ in range(size.layers))

    def forward(self, ids: Tensor, mask: Tensor | None) -> Tensor:
        """``ids``: (b, t); ``mask``: (b, t), true where there is a token, ``None`` where nothing is padded."""
        places = torch.arange(ids.shape[1], device=ids.device)
        hidden = self.norm(self.words(ids) + self.positions(places) + self.types.weight[0])
        attend = None if mask is None else mask[:, None, None, :]
        for layer in self.layers:
            hidden = layer(hidden, attend)
        result: Tensor = hidden
        return result


def load_bert(file: Path, size: BertSize | None = None) -> Bert:
    """The encoder with the weights of a safetensors ``file``."""
    model = Bert(size or BertSize())
    model.load_state_dict(_renamed(load_file(file)))
    return model.eval()


def _renamed(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The checkpoint's names as ours; query, key and value become one matrix."""
    source = {name.removeprefix("bert."): tensor for name, tensor in weights.items()}
    ours = {
        "words.weight": source["embeddings.word_embeddings.weight"],
        "positions.weight": source["embeddings.position_embeddings.weight"],
        "types.weight": source["embeddings.token_type_embeddings.weight"],
        "norm.weight": source["embeddings.LayerNorm.weight"],
        "norm.bias": source["embeddings.LayerNorm.bias"],
    }
    renames = {
        "attention.output.dense": "out",
        "attention.output.LayerNorm": "norm_attention",
        "intermediate.dense": "inner",
        "output.dense": "outer",
        "output.LayerNorm": "norm_output",
    }
    number = 0
    while f"encoder.layer.{number}.output.dense.weight" in source:
        theirs = f"encoder.layer.{number}."
        for kind in ("weight", "bias"):
            for name, new in renames.items():
                ours[f"layers.{number}.{new}.{kind}"] = source[f"{theirs}{name}.{kind}"]
            rows = [source[f"{theirs}attention.self.{part}.{kind}"] for part in ("query", "key", "value")]
            ours[f"layers.{number}.qkv.{kind}"] = torch.cat(rows)
        number += 1
    return ours
