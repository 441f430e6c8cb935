"""Pairs of texts ready for a base, batch by batch: `DualPairs` as vectors computed once, `CrossPairs` as tokens.

Both answer `len(pairs)` and `batch(rows)`, the arguments of the base's forward pass; nothing else tells them apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch

from hydra_ml.model.base import pair_tokens, surface_features
from hydra_ml.model.interfaces import Encode
from hydra_ml.model.text_pairs import distinct_texts


class Pairs(Protocol):
    """N text pairs in order."""

    def __len__(self) -> int: ...

    def batch(self, rows: np.ndarray) -> tuple[Any, ...]:
        """The base's arguments for these rows."""
        ...


class DualPairs:
    """Pairs whose texts are vectors: each distinct text encoded once, rows looked up by position."""

    def __init__(self, a: Sequence[str], b: Sequence[str], encode: Encode) -> None:
        distinct, self.a_idx, self.b_idx = distinct_texts(a, b)
        vectors = np.concatenate([encode(distinct), surface_features(distinct)], axis=1, dtype=np.float32)
        self.vectors = torch.from_numpy(vectors)  # [M, D + S]

    def __len__(self) -> int:
        return len(self.a_idx)

    def batch(self, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """a [B, D + S], b [B, D + S]."""
        return self.vectors[self.a_idx[rows]], self.vectors[self.b_idx[rows]]


class CrossPairs:
    """Pairs read together by one transformer: tokenized as they are asked for, padded to the batch's longest."""

    def __init__(self, a: Sequence[str], b: Sequence[str], tokenizer: Any, max_tokens: int) -> None:
        self.a, self.b = list(a), list(b)
        self.tokenizer = tokenizer
        self.max_tokens = max_tokens

    def __len__(self) -> int:
        return len(self.a)

    def batch(self, rows: np.ndarray) -> tuple[dict[str, torch.Tensor]]:
        """Token ids and masks, each [B, L]."""
        return (pair_tokens(self.tokenizer, [self.a[i] for i in rows], [self.b[i] for i in rows], self.max_tokens),)
