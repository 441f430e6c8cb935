"""Whether what is asked now reads as what was learned from: summaries of the texts' embeddings, as expectations.

An expectation is on the mean of a column: that it lies within some standard deviations of the learned texts' mean. That
is a bound on the size of a shift, no test: texts of one user hang together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from hydra_ml.io.gx.expectations import Check, bad_rows

DIRECTIONS = 4  # along which the learned texts differ most
ENOUGH = 20  # fewer texts have a mean that is luck


def text_summaries(vectors: np.ndarray, texts: Sequence[str], learned: np.ndarray) -> pd.DataFrame:
    """One row a text: nearness to the mean of the learned ones, to the nearest of them, its place along each of their
    DIRECTIONS, and log of its words. vectors [N, D] of the texts, learned [M, D]: unit rows. A text that is itself
    among the learned is not its own nearest."""
    mean = learned.mean(axis=0)
    likeness = vectors @ learned.T  # [N, M]
    likeness = np.where(likeness > 1 - 1e-5, -1.0, likeness)
    _, _, axes = np.linalg.svd(learned - mean, full_matrices=False)
    places = (vectors - mean) @ axes[:DIRECTIONS].T  # [N, DIRECTIONS]
    columns: dict[str, np.ndarray] = {
        "nearness_to_mean": vectors @ (mean / max(float(np.linalg.norm(mean)), 1e-9)),
        "nearness_to_nearest": likeness.max(axis=1, initial=-1.0),
        **{f"direction_{i + 1}": places[:, i] for i in range(places.shape[1])},
        "log_words": np.log1p([len(text.split()) for text in texts]),
    }
    return pd.DataFrame(columns)


def shift_checks(learned: pd.DataFrame, max_shift: float) -> list[Check]:
    """That each column's mean is within max_shift standard deviations of the learned texts'."""
    found = []
    for name in learned.columns:
        mean, spread = float(learned[name].mean()), max(float(learned[name].std()), 1e-6)
        bounds = {"min_value": mean - max_shift * spread, "max_value": mean + max_shift * spread}
        found.append(Check(f"mean {name} as learned", str(name), "ExpectColumnMeanToBeBetween", bounds))
    return found


def shifts(now: pd.DataFrame, learned: pd.DataFrame, max_shift: float) -> Mapping[str, float]:
    """By column that an expectation refuses, how far its mean moved, in standard deviations of the learned texts."""
    checks = shift_checks(learned, max_shift)
    refused = bad_rows("inputs", now.reset_index(drop=True), checks)
    return {
        check.column: float(
            (now[check.column].mean() - learned[check.column].mean()) / max(learned[check.column].std(), 1e-6)
        )
        for check, bad in zip(checks, refused, strict=True)
        if bad is None or bad
    }
