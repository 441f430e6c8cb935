"""arena: the page of a task's results, to be opened in any browser and passed on.

Reads what `evaluate` found; computes no figure and asks nothing. Writes report.html, and figures.html: the same page
without a word of any user.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra_ml.answering.arms import rankings_by_name
from hydra_ml.evaluation.compare_users import user_gains
from hydra_ml.evaluation.examples import draw_examples
from hydra_ml.io.files import load_json
from hydra_ml.io.layout import FIGURES, REPORT
from hydra_ml.io.page.page import draw_charts, save_page
from hydra_ml.io.tables import load_table
from hydra_ml.params import Params
from hydra_ml.stages.command import stage_command
from hydra_ml.tasks.task import Task


def arena(
    *, prepared: Path, retrieved: Path, reranked: Path, evaluated: Path, out: Path, task: Task, params: Params
) -> Mapping[str, Any]:
    """Write both pages below `out`."""
    predictions = load_table(evaluated / "predictions.parquet")
    queries = load_table(prepared / "queries.parquet")
    examples = draw_examples(
        predictions,
        queries[queries["role"] == "evaluate"],
        load_table(prepared / "records.parquet"),
        rankings_by_name(load_table(retrieved / "candidates.parquet"), load_table(reranked / "ranking.parquet")),
        task,
        k=params.rerank.k,
        n=params.arena.examples,
        seed=params.seed,
    )
    metrics, details = load_json(evaluated / "metrics.json"), load_json(evaluated / "details.json")
    charts = draw_charts(metrics, details, user_gains(predictions, task))
    save_page(metrics, details, charts, examples, out / REPORT)
    save_page(metrics, details, charts, None, out / FIGURES)
    return {"examples": len(examples.drawn), "report": str(out / REPORT)}


main = stage_command(arena)

if __name__ == "__main__":
    raise SystemExit(main(None))
