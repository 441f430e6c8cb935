"""What models are to everybody else: the types of two functions, and one rule. Nothing heavy is imported for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

Encode = Callable[[Sequence[str]], np.ndarray]  # texts -> float32 [N, D], rows of unit length
# (a texts, b texts, evidence [N, E], user_ids [N]) -> personal and shared scores, float32 [N] each
ScorePairs = Callable[[list[str], list[str], np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]

# (a texts, b texts, evidence [N, E]) -> what heads read, float32 [N, F]
ReadPairs = Callable[[list[str], list[str], np.ndarray], np.ndarray]


def wrong_base(heads: Mapping[str, Any], base_digest: object) -> str:
    """What is wrong where heads (their manifest) were not fitted on this base; "" if they were. Heads only mean
    something on their own base."""
    if heads.get("base_digest") == base_digest:
        return ""
    return f"heads were fitted on base {heads.get('base_digest')}, not on {base_digest}"
