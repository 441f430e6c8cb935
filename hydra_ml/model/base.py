"""Bases: a pair of texts (a, b) to z in R^h, shared by all users.

`DualBase` combines two vectors that were each computed once; `CrossBase` reads both texts in one transformer pass (the
paper's way, arXiv 2406.02888 section 3). Dimensions: B batch, L tokens, D encoder width, S surface features, H = h.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from string import ascii_letters, ascii_uppercase
from typing import Any

import numpy as np
import torch
from torch import nn

from hydra_ml.model.encoder import mean_pool

SURFACE_DIM = 10
QUOTES = "\"'“”‘’#@"
LETTERS, CAPITALS = ascii_letters.encode(), ascii_uppercase.encode()
BEYOND_ASCII = re.compile(r"[^\x00-\x7f]")


class DualBase(nn.Module):
    """A low-rank product of the two vectors, and a view of b alone: z = [P a * tanh(Q b) / 2, tanh(R b)].

    The product learns what of b fits which a, beyond the likeness of the two; the view of b alone is where a head can
    say "this user likes such answers" whatever the query. On dev data better than one layer on [a*b, |a-b|, a, b].
    """

    def __init__(self, dim: int, width: int, dropout: float) -> None:
        super().__init__()
        self.width = width
        self.product_a = nn.Linear(dim, width // 2)
        self.product_b = nn.Linear(dim, width // 2)
        self.alone_b = nn.Linear(dim + SURFACE_DIM, width - width // 2)
        self.dropout = nn.Dropout(dropout)

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """a, b [B, D + S] (unit vector, then surface features) -> z [B, H], entries of size about 1."""
        dim = a.shape[1] - SURFACE_DIM
        scale = dim**0.5  # entries of a unit vector are of size 1/sqrt(D)
        va, vb = a[:, :dim] * scale, b[:, :dim] * scale  # [B, D] each
        product = 0.5 * self.product_a(self.dropout(va)) * torch.tanh(self.product_b(self.dropout(vb)))  # [B, H/2]
        alone = torch.tanh(self.alone_b(torch.cat([vb, b[:, dim:]], dim=1)))  # [B, H - H/2]
        return torch.cat([product, alone], dim=1)


class CrossBase(nn.Module):
    """A whole transformer over "a [SEP] b", fully fine-tuned, mean-pooled, then one layer to z."""

    def __init__(self, transformer: nn.Module, width: int, dropout: float) -> None:
        super().__init__()
        self.width = width
        self.transformer = transformer
        self.project = nn.Linear(int(transformer.config.hidden_size), width)  # type: ignore[union-attr, arg-type]
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: dict[str, torch.Tensor]) -> torch.Tensor:
        """Token ids and masks [B, L] -> z [B, H]."""
        pooled = mean_pool(self.transformer(**tokens).last_hidden_state, tokens["attention_mask"])  # [B, D]
        z: torch.Tensor = self.norm(torch.tanh(self.project(self.dropout(pooled))))
        return z


def pair_tokens(tokenizer: Any, a: Sequence[str], b: Sequence[str], max_tokens: int) -> dict[str, torch.Tensor]:
    """Padded token tensors [B, L] of the pairs, with the tokenizer's own separators; the longer text is cut first."""
    batch = tokenizer(
        list(a), list(b), truncation="longest_first", max_length=max_tokens, padding=True, return_tensors="pt"
    )
    return dict(batch)


def surface_features(texts: Sequence[str]) -> np.ndarray:
    """What an uncased encoder cannot see of texts: length, case and punctuation, float32 [N, S], each about -1..3."""
    return np.array([_surface(text) for text in texts], dtype=np.float32).reshape(-1, SURFACE_DIM)  # [N, S]


def _surface(text: str) -> list[float]:
    words = text.split()
    n = max(len(words), 1)
    n_letters, n_capitals = _letters(text)
    return [
        float(np.log1p(len(words))) - 2.0,
        float(np.log1p(len(text))) - 4.0,
        sum(map(len, words)) / n / 4.0 - 1.0,
        sum([word[0].isupper() for word in words]) / n,
        n_capitals / max(n_letters, 1),
        float(text.rstrip().endswith("?")),
        min(text.count("!"), 3) / 2.0,
        float(":" in text),
        float(bool(re.search(r"\d", text))),
        min(sum(map(text.count, QUOTES)), 4) / 2.0,
    ]


def _letters(text: str) -> tuple[int, int]:
    """How many letters, and how many of them are capitals; ASCII is counted without a look at each character."""
    ascii_part = text.encode("ascii", "ignore")
    others = [c for c in BEYOND_ASCII.findall(text) if c.isalpha()]
    n_letters = len(ascii_part) - len(ascii_part.translate(None, LETTERS)) + len(others)
    n_capitals = len(ascii_part) - len(ascii_part.translate(None, CAPITALS)) + sum(c.isupper() for c in others)
    return n_letters, n_capitals
