"""A component (reranker or adapter) between memory and its folder: base/, heads/, curve.json."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from hydra_ml import params
from hydra_ml.answering.fit_component import ComponentRows, train_component
from hydra_ml.errors import DataError
from hydra_ml.io.head_bank import HeadBank, save_heads
from hydra_ml.io.tables import save_json
from hydra_ml.io.weights import load_base, save_base
from hydra_ml.model.factored import FittedModel, score_features
from hydra_ml.model.fit_base import SharedPart, base_features
from hydra_ml.model.heads import no_heads
from hydra_ml.serving.pair_reader import PairReader


def train_and_report(
    rows: ComponentRows, queries: pd.DataFrame, train: params.Train, reader: PairReader, seed: int, label: str
) -> FittedModel:
    """Train with a progress bar over rows. Raises DataError when the rows cannot be learned from."""
    threads = 1 if train.encoder == "dual" else None
    with tqdm(desc=label, unit=" rows") as bar, torch_threads(threads):
        try:
            return train_component(
                rows, queries, train, seed=seed, make_pairs=reader.pairs, new_base=reader.new_base, bar=bar
            )
        except ValueError as error:
            raise DataError(
                f"{label}: {error}. Rows: {len(rows.labels)}, positive: {int(rows.labels.sum())}."
            ) from error


def save_component(
    fitted: FittedModel, out: Path, reader: PairReader, *, task: str, component: str, rows: ComponentRows
) -> Mapping[str, Any]:
    """Write base, heads and the training curve; returns the figures a stage reports."""
    fit = {
        "base_fit": reader.train.base_fit,
        "epochs": fitted.epochs,
        "ridge": fitted.ridge,
        "n_rows": len(rows.labels),
        "positive_share": round(float(rows.labels.mean()), 4),
    }
    about = {"task": task, "component": component, **reader.describe()}
    digest = save_base(fitted.shared, out / "base", {**about, "fit": fit})
    save_heads(fitted.heads, out / "heads", {**about, "base_digest": digest, "fit": fit})
    save_json(
        {
            "curve": [{name: _number(value) for name, value in point.items()} for point in fitted.shared.curve],
            "ridge_losses": [{"ridge": ridge, "held_back_loss": loss} for ridge, loss in fitted.ridge_losses.items()],
        },
        out / "curve.json",
    )
    return {**fit, "n_heads": len(fitted.heads.user_ids), "base_digest": digest}


@contextmanager
def torch_threads(n: int | None) -> Iterator[None]:
    """Run with n torch threads, or as many as before for None. Steps as small as the dual base's and the heads' batched
    solves run several times faster on one thread than on two that wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(n or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Component:
    """A stored component, ready to score pairs for known, new and unseen users."""

    def __init__(self, base: Path, heads: Path | HeadBank, reader: PairReader) -> None:
        """base: its folder; heads: a folder, or an open bank. Raises ArtifactError unless they belong together."""
        self.reader = reader
        self.shared: SharedPart
        self.shared, self.manifest = load_base(base, reader.new_base)
        self.bank = HeadBank(heads, base_digest=self.manifest["digest"]) if isinstance(heads, Path) else heads

    def score(
        self, a: Sequence[str], b: Sequence[str], evidence: np.ndarray, user_ids: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Personal and shared-head scores of the pairs, float32 [N] each; z is computed once for both."""
        z = base_features(self.shared.base, self.reader.pairs(a, b))
        heads = self.bank.heads_of(user_ids.tolist())
        nobody = no_heads(self.shared.head, self.shared.width)
        return (
            score_features(self.shared, heads, z, evidence, user_ids),
            score_features(self.shared, nobody, z, evidence, user_ids),
        )


def _number(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 6)
