"""A refit between memory and its folder: a frozen component in, the same base with some new heads out.

FROZEN/base  FROZEN/heads         the base as it is, and the present heads of the users at hand
OUT/base  OUT/heads               links to that base, and the heads those users have from now on
OUT/refit.parquet                 what became of each user
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hydra_ml import params
from hydra_ml.answering.fit_component import ComponentRows, refit_component
from hydra_ml.errors import ArtifactError, DataError
from hydra_ml.io.head_bank import HeadBank, save_heads
from hydra_ml.io.tables import atomic_path, save_table
from hydra_ml.io.weights import load_base
from hydra_ml.model.heads import Heads
from hydra_ml.model.refit import Refit
from hydra_ml.serving.pair_reader import PairReader

REASONS = {  # (judged, replaced) -> why
    (True, True): "not worse on held-back queries",
    (True, False): "worse on held-back queries",
    (False, True): "no held-back queries to judge by: taken",
}
NOTHING_NEW = "nothing new to learn from"


def refit_and_save(
    rows: ComponentRows,
    queries: pd.DataFrame,
    train: params.Train,
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
    try:
        refit = refit_component(
            rows, queries, train, shared=shared, present=present, ridge=ridge, seed=seed, make_pairs=reader.pairs
        )
    except ValueError as error:
        raise DataError(f"{frozen}: the refit failed, {error}. Rows: {len(rows.labels)}.") from error
    _link_base(frozen / "base", out / "base")
    fit = {**manifest["fit"], "n_rows": int(refit.n_rows.sum())}
    save_heads(
        merged_heads(present, refit.fitted), out / "heads", {**about, "base_digest": manifest["digest"], "fit": fit}
    )
    table = refit_table(refit, sorted(queries["user_id"].unique()))
    save_table(table, out / "refit.parquet")
    return {"users": len(table), "replaced": int(table["replaced"].sum()), "rows": int(table["n_rows"].sum())}


def refit_table(refit: Refit, user_ids: list[str]) -> pd.DataFrame:
    """One row per user: user_id, replaced, old_loss, new_loss (nan: not judged), n_judged, n_rows, reason."""
    table = pd.DataFrame(
        {
            "user_id": refit.user_ids,
            "replaced": refit.replaced,
            "old_loss": refit.old_loss,
            "new_loss": refit.new_loss,
            "n_judged": refit.n_judged,
            "n_rows": refit.n_rows,
            "reason": [
                REASONS[bool(judged), bool(replaced)]
                for judged, replaced in zip(refit.n_judged > 0, refit.replaced, strict=True)
            ],
        }
    ).astype({"user_id": "str", "reason": "str"})
    rest = [user_id for user_id in user_ids if user_id not in set(refit.user_ids.tolist())]
    without = pd.DataFrame({"user_id": rest, "replaced": False, "old_loss": np.nan, "new_loss": np.nan})
    without = without.assign(n_judged=0, n_rows=0, reason=NOTHING_NEW)
    parts = [part for part in (table, without.astype(table.dtypes.to_dict())) if len(part)]
    return pd.concat(parts, ignore_index=True).sort_values("user_id", ignore_index=True) if parts else table


def merged_heads(present: Heads, fitted: Heads) -> Heads:
    """The present heads with the fitted ones in their place or beside them, sorted by user id."""
    head_of = dict(zip(present.user_ids, present.table, strict=True))
    head_of.update(zip(fitted.user_ids, fitted.table, strict=True))
    if not head_of:
        return present
    user_ids = sorted(head_of)
    return Heads(present.kind, present.width, tuple(user_ids), np.stack([head_of[user_id] for user_id in user_ids]))


def _link_base(base: Path, link: Path) -> None:
    """Links to the files of the base: it is not copied, and not changed."""
    for path in sorted(base.iterdir()):
        with atomic_path(link / path.name) as partial:
            os.symlink(path.resolve(), partial)
