"""The two functions that models are to everybody else. Nothing heavy is imported for their types."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

Encode = Callable[[Sequence[str]], np.ndarray]  # texts -> float32 [N, D], rows of unit length
# (a texts, b texts, evidence [N, E], user_ids [N]) -> personal and shared scores, float32 [N] each
ScorePairs = Callable[[list[str], list[str], np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
