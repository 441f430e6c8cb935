"""Pairs of texts as positions among distinct ones, and their cosines; nothing heavy is imported for them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hydra_ml.model.interfaces import Encode

PAIRS_PER_BLOCK = 8192  # bounds the memory of gathered vectors


def distinct_texts(a: Sequence[str], b: Sequence[str]) -> tuple[list[str], np.ndarray, np.ndarray]:
    """The texts of the pairs (a[i], b[i]), each once [M], and where among them a[i] and b[i] stand, int64 [N] each."""
    position = {text: i for i, text in enumerate(dict.fromkeys([*a, *b]))}
    a_idx, b_idx = (np.fromiter(map(position.__getitem__, texts), np.int64, len(texts)) for texts in (a, b))
    return list(position), a_idx, b_idx


def cosines(a: Sequence[str], b: Sequence[str], encode: Encode) -> np.ndarray:
    """Of the texts a[i] and b[i], float32 [N]. A text stands in many pairs: its vector is held once."""
    distinct, a_idx, b_idx = distinct_texts(a, b)
    vectors = encode(distinct)  # [M, D]
    cosines = np.empty(len(a), dtype=np.float32)
    for start in range(0, len(a), PAIRS_PER_BLOCK):
        some = slice(start, start + PAIRS_PER_BLOCK)
        cosines[some] = (vectors[a_idx[some]] * vectors[b_idx[some]]).sum(axis=1)  # [n, D] -> [n]
    return cosines
