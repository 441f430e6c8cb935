"""Brings a base kind of `params.yaml` to life: how its texts are read, and a fresh base of its shape.

The one place where `dual` and `cross` are told apart outside the model itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from hydra_ml import params
from hydra_ml.io.encoders import find_encoder, load_transformer, open_encoder
from hydra_ml.io.feature_cache import CachedEncoder
from hydra_ml.model.base import CrossBase, DualBase
from hydra_ml.model.pairs import CrossPairs, DualPairs, Pairs


class PairReader:
    """`pairs(a, b)` makes texts ready for the base; `new_base()` builds one, the same one each time."""

    def __init__(
        self,
        train: params.Train,
        encoder: params.Encoder,
        cache: Path,
        *,
        seed: int,
        text_encoder: CachedEncoder | None = None,
    ) -> None:
        """text_encoder: the encoder, opened already; None opens it with its feature cache below `cache`."""
        self.train = train
        self.seed = seed
        self.max_tokens = encoder.max_tokens
        self.encoder_name = encoder.name
        self.files = find_encoder(encoder)
        # `cross` too: support reads vectors whatever the base reads.
        self.text_encoder = open_encoder(encoder, cache) if text_encoder is None else text_encoder
        self.is_dual = train.encoder == "dual"
        self._tokenizer = None if self.is_dual else load_transformer(self.files.folder)[1]

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Unit vectors of the texts by the frozen encoder, float32 [N, D]."""
        return self.text_encoder.encode(texts)

    def pairs(self, a: Sequence[str], b: Sequence[str]) -> Pairs:
        """The pairs (a[i], b[i]), encoded now (`dual`) or tokenized when asked for (`cross`)."""
        if self.is_dual:
            return DualPairs(a, b, self.text_encoder.encode)
        return CrossPairs(a, b, self._tokenizer, self.max_tokens)

    def new_base(self) -> nn.Module:
        """An untrained base; its encoder part, if any, carries the pretrained weights."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            if self.is_dual:
                return DualBase(self.text_encoder.dim, self.train.width, self.train.dropout)
            transformer, _ = load_transformer(self.files.folder)
            return CrossBase(transformer, self.train.width, self.train.dropout)

    def describe(self) -> dict[str, Any]:
        """What a manifest should say of how texts were read."""
        return {
            "encoder": self.encoder_name,
            "encoder_digest": self.files.digest,
            "encoder_kind": self.train.encoder,
            "max_tokens": self.max_tokens,
        }
