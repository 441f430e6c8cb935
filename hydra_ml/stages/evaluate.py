"""evaluate: lets the adapter choose, puts every method's predictions side by side, and writes results and plots.

All methods read the same frozen answers; nothing is asked of the LLM here. Prompts that leak stop it before anything is
measured.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from hydra_ml.answering.arms import rankings_by_name
from hydra_ml.answering.written import writing_bill
from hydra_ml.evaluation.arena import compare
from hydra_ml.evaluation.bill import bill_rows
from hydra_ml.evaluation.grid import facts_of
from hydra_ml.evaluation.leaks import check_prompts
from hydra_ml.evaluation.methods import (
    Bench,
    Method,
    arms_of,
    askable,
    fitting_methods,
    is_rival,
    others_shown,
    unasked,
)
from hydra_ml.evaluation.methods.method import CANDIDATES, Lessons, strangers
from hydra_ml.evaluation.report import results_table
from hydra_ml.evaluation.results import Document
from hydra_ml.evaluation.shown import shown_prompts
from hydra_ml.evaluation.style import own_answers
from hydra_ml.io.figures import save_dvc_figures
from hydra_ml.io.files import load_json, save_json
from hydra_ml.io.plots import save_plots
from hydra_ml.io.tables import load_table, save_table
from hydra_ml.learning.leaks import repeats
from hydra_ml.params import Params
from hydra_ml.serving.component import Component, torch_threads
from hydra_ml.serving.fit import UNSEEN
from hydra_ml.serving.pair_reader import PairReader
from hydra_ml.stages.command import stage_command
from hydra_ml.tasks.task import Task

NO_CANDIDATES = pd.DataFrame(columns=["method", *CANDIDATES])


def evaluate(
    *,
    prepared: Path,
    retrieved: Path,
    annotated: Path,
    reranked: Path,
    generated: Path,
    adapter: Path,
    out: Path,
    cache: Path,
    task: Task,
    params: Params,
) -> Mapping[str, Any]:
    """Write the figures (metrics.json, details.json, headline.json), predictions.parquet, candidates.parquet and what
    plots show (plots/*.png, *.csv) into `out`; print the table."""
    everyone, records = load_table(prepared / "queries.parquet"), load_table(prepared / "records.parquet")
    manifest = load_json(prepared / "manifest.json")
    annotations = load_table(annotated / "annotations.parquet")
    chosen = fitting_methods(params.evaluate.methods, task, has_reranker=not annotations.empty, llm=params.llm)
    methods = askable(chosen, params.llm)
    rankings = rankings_by_name(load_table(retrieved / "candidates.parquet"), load_table(reranked / "ranking.parquet"))
    written = load_table(generated / "written.parquet")
    asked = shown_prompts(everyone, rankings, methods, written, k=params.rerank.k, seed=params.seed)
    check_prompts(asked, everyone, records, task, params.prompts, dated=bool(manifest["dated"]))

    queries = everyone[everyone["role"] == "evaluate"]
    bought = load_table(generated / "answers.parquet")
    answers = bought[bought["query_id"].isin(queries["query_id"])]
    reader = PairReader(params.train_adapter, params.encoder, cache, seed=params.seed)
    component = Component(adapter / "base", adapter / "heads", reader)
    trained = everyone[everyone["role"] == "train"]
    learned = bought[bought["query_id"].isin(trained["query_id"])]
    lessons = Lessons(trained, learned, component.features, _unseen(adapter))
    bench = open_bench(task, queries, records, answers, component, lessons, seed=params.seed)
    predictions, scored = predict(bench, methods)
    settings, own = params.evaluate, own_answers(queries, records)
    results = compare(
        predictions, task, resamples=settings.resamples, seed=params.seed, bands=settings.bands, own_texts=own
    )

    about = _about(task, params, manifest)
    groups = queries.set_index("query_id")["cohort"]
    had = [method for method in methods if method.family != "control"]  # what cannot be had has no price
    bill = bill_rows(_spent(bought, written, queries, methods), groups, had, annotations, params.llm)
    shortened = answers[answers["n_dropped"] > 0].groupby("arm")["query_id"].nunique()
    details = {
        **_asides(chosen, methods, params),
        **{name: component.bank.manifest["fit"].get(name) for name in ("heads", "caution")},
        "leaks": {"prompts": len(asked), **asdict(repeats(queries, records, task))},
        "shortened": {str(arm): int(n) for arm, n in shortened.items()},
    }
    save_table(scored, out / "candidates.parquet")
    save_table(predictions.drop(columns="is_parsed"), out / "predictions.parquet")
    metrics = {**about, "bill": bill, **results.metrics_document()}
    _save_figures(metrics, {**about, **details, **results.details_document()}, out)
    return {"queries": len(queries), "methods": int(predictions["method"].nunique())}


def _about(task: Task, params: Params, manifest: Document) -> Document:
    """What was evaluated, as both documents say it."""
    return {
        "task": task.name,
        "llm": params.llm.model,
        "prompts": params.prompts,
        "answers_read": params.answers,
        "data_version": manifest["data_version"],
        "seed": params.seed,
    }


def _asides(chosen: Sequence[Method], ran: Sequence[Method], params: Params) -> Document:
    """Which of the chosen methods were not asked, and why; which show other users' data."""
    return {"not_run": unasked(chosen, params.llm), "others_shown": others_shown(ran)}


def _spent(bought: pd.DataFrame, written: pd.DataFrame, queries: pd.DataFrame, ran: Sequence[Method]) -> pd.DataFrame:
    """Answers and texts as a bill counts them."""
    writings = {arm.name: arm.writing.name for arm in arms_of(ran) if arm.writing}
    return pd.concat([bought, writing_bill(written, queries, writings)], ignore_index=True)


def _unseen(adapter: Path) -> pd.DataFrame | None:
    """The adapter's cross-fitted scores; None where it learned nothing anew."""
    return load_table(adapter / UNSEEN) if (adapter / UNSEEN).exists() else None


def _save_figures(metrics: Document, details: Document, out: Path) -> None:
    """Keep both documents and what plots show of them, and print the table."""
    save_plots(metrics, details, out / "plots")
    save_dvc_figures(metrics, details, out)
    save_json(details, out / "details.json")
    save_json(metrics, out / "metrics.json")
    print(results_table(metrics, details), file=sys.stderr)


def open_bench(
    task: Task,
    queries: pd.DataFrame,
    records: pd.DataFrame,
    answers: pd.DataFrame,
    component: Component,
    lessons: Lessons | None = None,
    *,
    seed: int,
) -> Bench:
    """What methods may answer from, with the adapter to choose."""
    with_head = component.bank.heads_of(queries["user_id"].unique().tolist()).user_ids
    stranger_of = strangers(queries, with_head, seed)
    score, encode, margin = component.score, component.reader.encode, component.margin
    return Bench(task, queries, records, answers, score, encode, stranger_of, margin, lessons, seed)


def predict(bench: Bench, methods: Sequence[Method]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Every method's predictions with the facts the arena needs, and what those that choose chose among."""
    found = {}
    for method in tqdm(methods, desc=f"evaluate {bench.task.name}", unit=" methods"):
        with torch_threads(1 if is_rival(method.name) else None):  # their steps are small: threads would wait
            found[method.name] = method.answer(bench)
    predictions = pd.concat([given.rows.assign(method=name) for name, given in found.items()], ignore_index=True)
    predictions = predictions.merge(facts_of(bench.queries), on="query_id", validate="many_to_one")
    predictions["prediction"] = predictions["answer"].where(predictions["is_parsed"], None)
    scored = [given.candidates.assign(method=name) for name, given in found.items() if given.candidates is not None]
    return predictions, pd.concat(scored, ignore_index=True) if scored else NO_CANDIDATES


main = stage_command(evaluate)

if __name__ == "__main__":
    raise SystemExit(main(None))
