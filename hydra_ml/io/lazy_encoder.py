"""An encoder that is loaded on first use: a stage that talks to a served LLM never pays for torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hydra_ml.params import Encoder

if TYPE_CHECKING:
    from hydra_ml.io.feature_cache import CachedEncoder


class LazyEncoder:
    """Texts to unit vectors, float32 [N, D], through the encoder that params name and its cache."""

    def __init__(self, params: Encoder, cache: Path) -> None:
        self._params = params
        self._cache = cache
        self._encoder: CachedEncoder | None = None

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        if self._encoder is None:
            from hydra_ml.io.encoders import open_encoder

            self._encoder = open_encoder(self._params, self._cache, progress="")
        return self._encoder.encode(texts)
