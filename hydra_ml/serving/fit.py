"""A component between its rows and its folder: fitted anew, or its heads refitted on a frozen base.

OUT/base  OUT/heads  OUT/curve.json      a component fitted anew; OUT/unseen.parquet: an adapter's cross-fitted scores
FROZEN/base  FROZEN/heads                a base as it is, and the present heads of the users at hand
OUT/base  OUT/heads  OUT/refit.parquet   links to that base, the heads those users have from now on, and why
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from hydra_ml.answering.do_no_harm import Caution
from hydra_ml.answering.fit_component import (
    NO_HEADS,
    NOTHING_NEW,
    ComponentRows,
    refit_component,
    refit_table,
    telling,
    train_component,
)
from hydra_ml.errors import ArtifactError, DataError
from hydra_ml.io.files import atomic_path, save_json
from hydra_ml.io.head_bank import HeadBank, save_heads
from hydra_ml.io.tables import save_table
from hydra_ml.io.weights import load_base, save_base
from hydra_ml.model.fit_base import unlearned
from hydra_ml.model.fit_model import FittedModel, HeadChoice
from hydra_ml.model.heads import merged_heads, no_heads
from hydra_ml.params import Train
from hydra_ml.serving.component import torch_threads
from hydra_ml.serving.pair_reader import PairReader

UNSEEN = "unseen.parquet"  # query_id, answer, score: of each training row by models that have not seen its query
FindCaution = Callable[[ComponentRows, np.ndarray], Caution | None]


def fit_and_save(
    rows: ComponentRows,
    queries: pd.DataFrame,
    train: Train,
    reader: PairReader,
    *,
    task: str,
    component: str,
    out: Path,
    frozen: Path | None,
    seed: int,
    be_cautious: FindCaution | None = None,
) -> Mapping[str, Any]:
    """Fit a component anew, or with `frozen` its heads alone, and write OUT; returns the figures a stage reports.

    be_cautious: finds how to use the scores, by those of models that have not seen the rows; kept with the base.
    What it is given is kept in OUT/unseen.parquet.
    Raises as `fit_component` does, as DataError, and ArtifactError if the frozen base is of another task or component,
    was fitted on texts read in another way, or is damaged.
    """
    kept = telling(rows)
    telling_rows = rows.take(kept)
    if frozen:
        about = {"task": task, "component": component}
        return refit_and_save(telling_rows, queries, train, reader, frozen=frozen, out=out, seed=seed, about=about)
    fitted = train_and_report(telling_rows, queries, train, reader, seed, f"train_{component} {task}")
    scores = np.full(len(rows), np.nan, dtype=np.float32)
    scores[kept] = fitted.unseen_scores
    caution = be_cautious(rows, scores) if be_cautious else None
    if be_cautious:
        save_table(rows.table[["query_id", "answer"]].assign(score=scores), out / UNSEEN)
    return save_component(
        fitted, out, reader, task=task, component=component, n_rows=len(telling_rows), caution=caution
    )


def save_unlearned(
    out: Path, reader: PairReader, weights: Sequence[float], *, task: str, component: str
) -> Mapping[str, Any]:
    """Write a component that has nothing to learn from and scores by its evidence, with these weights; returns the
    figures a stage reports. Nobody gets a head."""
    shared = unlearned(reader.new_base(), reader.train.head, weights)
    nobody = no_heads(shared.head, shared.width)
    choice = HeadChoice(ridge=float(reader.train.ridge[0]), pays=False)
    fitted = FittedModel(shared, nobody, choice, epochs=0, unseen_scores=np.zeros(0, dtype=np.float32))
    return save_component(fitted, out, reader, task=task, component=component, n_rows=0)


def train_and_report(
    rows: ComponentRows, queries: pd.DataFrame, train: Train, reader: PairReader, seed: int, label: str
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
                f"{label}: {error}. Rows that tell: {len(rows)}, of {rows.table['query_id'].nunique()} queries. Look "
                "at what the LLM says (answers.parquet in data/generate, annotations.parquet in data/annotate), raise "
                "`queries_per_user`, or name another LLM."
            ) from error


def save_component(
    fitted: FittedModel,
    out: Path,
    reader: PairReader,
    *,
    task: str,
    component: str,
    n_rows: int,
    caution: Caution | None = None,
) -> Mapping[str, Any]:
    """Write base, heads and the training curve; returns the figures a stage reports."""
    fit = {
        "base_fit": reader.train.base_fit,
        "epochs": fitted.epochs,
        "ridge": fitted.choice.ridge,
        "heads": {
            "asked": reader.train.personal,
            "used": fitted.choice.pays,
            "gain": _number(fitted.choice.gain),
            "error": _number(fitted.choice.error),
            "reward_gain": _number(fitted.choice.reward_gain),
            "reward_error": _number(fitted.choice.reward_error),
            "n_judged": fitted.choice.n_judged,
        },
        "caution": caution and {name: round(value, 6) for name, value in asdict(caution).items()},
        "n_rows": n_rows,
    }
    about = {"task": task, "component": component, **reader.describe()}
    digest = save_base(fitted.shared, out / "base", {**about, "fit": fit})
    save_heads(fitted.heads, out / "heads", {**about, "base_digest": digest, "fit": fit})
    save_json(
        {
            "curve": [{name: _number(value) for name, value in point.items()} for point in fitted.shared.curve],
            "ridge_losses": [{"ridge": ridge, "held_back_loss": loss} for ridge, loss in fitted.choice.losses.items()],
        },
        out / "curve.json",
    )
    return {**fit, "n_heads": len(fitted.heads.user_ids), "base_digest": digest}


def refit_and_save(
    rows: ComponentRows,
    queries: pd.DataFrame,
    train: Train,
    reader: PairReader,
    *,
    frozen: Path,
    out: Path,
    seed: int,
    about: Mapping[str, str],
) -> Mapping[str, Any]:
    """Refit the heads of the users of `queries` and write OUT; returns the figures a stage reports.

    about: the task and component that the frozen base must be of. Raises ArtifactError if it is of others, was fitted
    on texts read in another way, or is damaged; DataError if a row is not one to learn from.
    """
    shared, manifest = load_base(frozen / "base", reader.new_base)
    about = {**about, **reader.describe()}
    for name, value in about.items():
        if manifest.get(name) != value:
            raise ArtifactError(
                f"{frozen / 'base'}: this base says {name} is {manifest.get(name)!r}, but it is to be used with "
                f"{value!r}. Heads can be refitted only with the settings their base was fitted with."
            )
    bank = HeadBank(frozen / "heads", base_digest=manifest["digest"])
    present = bank.heads_of(queries["user_id"].unique().tolist())
    ridge = float(manifest["fit"]["ridge"])
    has_heads = manifest["fit"]["heads"]["used"]
    rows = rows if has_heads else rows.take(np.zeros(0, dtype=np.int64))
    try:
        refit = refit_component(
            rows, queries, train, shared=shared, present=present, ridge=ridge, seed=seed, make_pairs=reader.pairs
        )
    except ValueError as error:
        raise DataError(f"{frozen}: the refit failed, {error}. Rows: {len(rows)}.") from error
    _link_base(frozen / "base", out / "base")
    fit = {**manifest["fit"], "n_rows": int(refit.n_rows.sum())}
    save_heads(
        merged_heads(present, refit.fitted), out / "heads", {**about, "base_digest": manifest["digest"], "fit": fit}
    )
    rest = NOTHING_NEW if has_heads else NO_HEADS
    table = refit_table(refit, sorted(queries["user_id"].unique()), rest=rest)
    save_table(table, out / "refit.parquet")
    return {"users": len(table), "replaced": int(table["replaced"].sum()), "rows": int(table["n_rows"].sum())}


def _link_base(base: Path, link: Path) -> None:
    """Links to the files of the base: it is not copied, and not changed."""
    for path in sorted(base.iterdir()):
        with atomic_path(link / path.name) as partial:
            os.symlink(path.resolve(), partial)


def _number(value: float) -> float | None:
    return round(float(value), 6) if np.isfinite(value) else None
