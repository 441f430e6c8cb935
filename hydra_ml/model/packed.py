"""A BERT's forward pass over texts laid end to end: no padding, and a text's vector does not depend on its batch.

The linear layers see one matrix of all tokens; attention runs within each text. Padded batches cannot promise the same
bits: matrix kernels are chosen by shape, and another kernel adds in another order. From `FEWEST_ROWS` rows on the
choice does not change any more (measured in fp32 and bf16, 1 and 2 threads; a test holds it): shorter packs are filled.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import torch
from torch.nn import functional

FEWEST_ROWS = 512


def can_pack(transformer: torch.nn.Module) -> bool:
    """Whether this is a plain BERT on a CPU. (A GPU would rather have one padded batch than many small launches.)"""
    config: Any = transformer.config
    plain = (config.model_type, getattr(config, "hidden_act", "")) == ("bert", "gelu") and not config.is_decoder
    on_cpu: bool = next(transformer.parameters()).device.type == "cpu"
    return plain and on_cpu


class PackedBert:
    """The frozen transformer, run on packs."""

    def __init__(self, transformer: Any) -> None:
        self.embeddings = transformer.embeddings
        self.layers = [_Layer(layer) for layer in transformer.encoder.layer]
        self.n_heads = int(transformer.config.num_attention_heads)

    @torch.inference_mode()
    def mean_vectors(self, ids: Sequence[Sequence[int]]) -> torch.Tensor:
        """The mean of each text's last hidden states, float32 [N, D]. ids: token ids, at least one a text; texts of
        equal length that stand together are attended to in one call."""
        tokens = torch.tensor([token for row in ids for token in row])  # [T]
        positions = torch.tensor([position for row in ids for position in range(len(row))])  # [T]
        fill = max(0, FEWEST_ROWS - len(tokens))
        hidden = self._embed(functional.pad(tokens, (0, fill)), functional.pad(positions, (0, fill)))  # [T + fill, D]
        runs = [(len(list(same)), length) for length, same in groupby(len(row) for row in ids)]
        for layer in self.layers:
            hidden = layer(hidden, runs, self.n_heads)
        # each part [n * L, D] -> [n, L, D] -> [n, D]
        parts = torch.split(hidden[: len(tokens)].float(), [n * length for n, length in runs])
        return torch.cat([part.view(n, length, -1).mean(dim=1) for part, (n, length) in zip(parts, runs, strict=True)])

    def _embed(self, tokens: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        table = self.embeddings
        kind = table.token_type_embeddings.weight[0]
        return _normalise(table.word_embeddings(tokens) + kind + table.position_embeddings(positions), table.LayerNorm)


class _Layer:
    def __init__(self, layer: Any) -> None:
        attention = layer.attention.self
        views = (attention.query, attention.key, attention.value)
        self.views_weight = torch.cat([view.weight for view in views]).detach()  # [3D, D]
        self.views_bias = torch.cat([view.bias for view in views]).detach()  # [3D]
        self.mixed, self.wide, self.narrow = layer.attention.output, layer.intermediate.dense, layer.output

    def __call__(self, hidden: torch.Tensor, runs: list[tuple[int, int]], n_heads: int) -> torch.Tensor:
        context = _attend(functional.linear(hidden, self.views_weight, self.views_bias), runs, n_heads)
        hidden = _normalise(hidden + self.mixed.dense(context), self.mixed.LayerNorm)
        wide = functional.gelu(self.wide(hidden))  # [T, 4D]
        return _normalise(hidden + self.narrow.dense(wide), self.narrow.LayerNorm)


def _attend(views: torch.Tensor, runs: list[tuple[int, int]], n_heads: int) -> torch.Tensor:
    """views [T, 3D] -> each token's mix of the values of its own text, [T, D]; 0 past the last text."""
    rows, dim = views.shape[0], views.shape[1] // 3
    context, start = views.new_zeros(rows, dim), 0
    for n, length in runs:
        end = start + n * length
        # [n * L, 3D] -> [n, L, 3, heads, D / heads] -> three of [n, heads, L, D / heads]
        query, key, value = views[start:end].view(n, length, 3, n_heads, -1).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value).transpose(1, 2)  # [n, L, heads, D / heads]
        context[start:end] = mixed.reshape(n * length, dim)
        start = end
    return context


def _normalise(hidden: torch.Tensor, norm: Any) -> torch.Tensor:
    return functional.layer_norm(hidden, norm.normalized_shape, norm.weight, norm.bias, norm.eps)
