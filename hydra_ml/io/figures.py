"""What of an evaluation DVC's own commands show: a few headline figures, and plots as data, which can be laid over
others.

`dvc metrics show|diff` and `dvc exp show` print every number of a metrics file, so the intervals stay in metrics.json.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from hydra_ml.evaluation.methods import is_floor
from hydra_ml.evaluation.results import REFERENCE, Document
from hydra_ml.io.files import atomic_path, save_json
from hydra_ml.measures import higher_is_better

SHOWN = ("hydra", "hydra_shared", REFERENCE, "zero_shot")  # and the floors


def save_dvc_figures(metrics: Document, details: Document, out: Path) -> None:
    """Write out/headline.json, out/methods.csv and out/history.csv; history.csv has no rows without bands."""
    save_json(headline(metrics, details), out / "headline.json")
    measure = details["measures"][0]
    methods = [
        (method, found[measure]["value"])
        for method, found in metrics.items()
        if isinstance(found, dict) and measure in found
    ]
    bands = [
        (f"{method}, {band} records", part["metrics"][method][measure]["value"])
        for band, part in details["bands"].items()
        for method in ("hydra", "hydra_shared", REFERENCE)
        if method in part["metrics"]
    ]
    for name, rows in (("methods", methods), ("history", bands)):
        with atomic_path(out / f"{name}.csv") as partial:
            pd.DataFrame(rows, columns=[name, "value"]).to_csv(partial, index=False)


def headline(metrics: Document, details: Document) -> dict[str, float | str]:
    """The primary measure's name and its value for the methods that matter, `hydra`'s gain on REFERENCE (above 0:
    better, whatever the measure), and n: the same keys for every task, so that a table of tasks stays narrow.

    Rounded to four digits, which is beyond what can be told from luck.
    """
    measure = details["measures"][0]
    shown = [method for method in (*SHOWN, *filter(is_floor, metrics)) if method in metrics]
    found = {method: round(float(metrics[method][measure]["value"]), 4) for method in shown}
    gain = {}
    if {"hydra", REFERENCE} <= found.keys():
        sign = 1 if higher_is_better(measure) else -1
        gain = {"gain": round(sign * (found["hydra"] - found[REFERENCE]), 4)}
    return {"measure": measure, **found, **gain, "n": details["n_queries"]}
