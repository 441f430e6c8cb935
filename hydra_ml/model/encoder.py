"""Texts to vectors through any Hugging Face encoder: mean-pooled, L2-normalised, each distinct text computed once.

Knows nothing of where weights come from (`io.encoders` loads them) or where vectors are kept (`io.feature_cache`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from hydra_ml.model.packed import PackedBert, can_pack

# Small batches of like length keep activations in cache: 2-4k tokens was the measured optimum on CPUs.
TOKENS_PER_BATCH = 4096


class TextEncoder:
    """A frozen bi-encoder: `encode(texts)` gives unit vectors of length `dim`.

    A text's vector depends on the text alone, bit for bit, where the transformer can be packed (`model.packed`);
    elsewhere its last bits depend on the texts encoded with it.
    """

    def __init__(self, transformer: torch.nn.Module, tokenizer: Any, *, max_tokens: int) -> None:
        self.transformer = transformer.eval()
        self._packed = PackedBert(transformer) if can_pack(transformer) else None
        self.tokenizer = tokenizer
        self.max_tokens = max_tokens
        self.dim = int(transformer.config.hidden_size)  # type: ignore[union-attr, arg-type]

    def encode(self, texts: Sequence[str], *, done: Callable[[int], object] | None = None) -> np.ndarray:
        """Unit vectors of the texts, float32 [N, D], in order; [0, D] for no texts. `done` hears of finished texts."""
        distinct = list(dict.fromkeys(texts))
        if not distinct:
            return np.zeros((0, self.dim), dtype=np.float32)
        ids = self.tokenizer(distinct, truncation=True, max_length=self.max_tokens)["input_ids"]
        vectors = np.empty((len(distinct), self.dim), dtype=np.float32)
        for batch in token_batches([len(row) for row in ids], TOKENS_PER_BATCH):
            vectors[batch] = self._encode_batch([ids[i] for i in batch])
            if done is not None:
                done(len(batch))
        position = {text: i for i, text in enumerate(distinct)}
        return vectors[[position[text] for text in texts]]

    @torch.inference_mode()
    def _encode_batch(self, ids: list[list[int]]) -> np.ndarray:
        if self._packed is not None:
            pooled = self._packed.mean_vectors(ids)
        else:
            padded = self.tokenizer.pad({"input_ids": ids}, return_tensors="pt").to(self.transformer.device)
            pooled = mean_pool(self.transformer(**padded).last_hidden_state, padded["attention_mask"])
        unit: np.ndarray = torch.nn.functional.normalize(pooled, dim=-1).cpu().numpy()
        return unit


def mean_pool(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The mean over real tokens. hidden [B, L, D] of any precision, mask [B, L] of 0/1 -> float32 [B, D]."""
    weight = mask.unsqueeze(-1).float()  # [B, L, 1]
    return (hidden.float() * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1e-9)


def token_batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Positions grouped by like length, longest first, each group padded to at most `budget` tokens, or a lone text."""
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    start = 0
    while start < len(order):
        size = max(1, budget // max(1, lengths[order[start]]))
        yield order[start : start + size]
        start += size
