"""drift: looks every night for what may have changed: the LLM, what heads do for their users, what is asked.

Each watch stands alone: what keeps one from looking is told in its place, and stops no other and no night.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from hydra_ml.errors import HydraError, LLMError
from hydra_ml.evaluation.drift import DriftFinding, DriftReport
from hydra_ml.io.drift import DriftFolder
from hydra_ml.io.encoders import open_encoder
from hydra_ml.io.gx.input_drift import ENOUGH, shifts, text_summaries
from hydra_ml.io.history_store import drop_names, opened_drop
from hydra_ml.io.layout import task_folder
from hydra_ml.io.mlflow.registry import Registry
from hydra_ml.io.tables import load_table
from hydra_ml.jobs.probe_llm import not_probed, probe_llm
from hydra_ml.jobs.watch_losses import watch_losses
from hydra_ml.params import Params
from hydra_ml.records import content_digest
from hydra_ml.tasks.task import Task

LEARNED, NEWEST = 500, 500  # texts that are compared, at most
CACHE = Path(".cache")


def watch_drift(
    task: Task, params: Params, night: str, *, data: Path, registry: Registry, cache: Path = CACHE
) -> DriftReport:
    """What was found, kept in data/drift/<task> for `status`. Run again for the same night, it counts nothing twice."""
    probed, n_calls = _probed(task, params, night, data, cache)
    findings = (
        probed,
        _looked("losses", lambda: watch_losses(task, params, data=data, registry=registry, cache=cache)),
        _looked("inputs", lambda: watch_inputs(task, params, data=data, cache=cache)),
    )
    report = DriftReport(task.folder, night, findings, n_calls)
    DriftFolder(data, task).keep_report(report)
    return report


def _probed(task: Task, params: Params, night: str, data: Path, cache: Path) -> tuple[DriftFinding, int]:
    if not params.drift.probe_prompts:
        return not_probed(None), 0
    try:
        return probe_llm(task, params, night, data=data, cache=cache)
    except LLMError as error:  # a budget that is spent among them
        return not_probed(error), 0
    except HydraError as error:
        return DriftFinding("llm", False, f"cannot be told: {_first_line(error)}"), 0


def _looked(watch: str, look: Callable[[], DriftFinding]) -> DriftFinding:
    try:
        return look()
    except HydraError as error:
        return DriftFinding(watch, False, f"cannot be told: {_first_line(error)}")


def _first_line(error: HydraError) -> str:
    return str(error).partition("\n")[0]


def watch_inputs(task: Task, params: Params, *, data: Path, cache: Path) -> DriftFinding:
    """Whether the texts of the newest records read as those that were learned from. Raises ArtifactError if a table is
    missing or damaged."""
    queries = load_table(task_folder(data, "prepare", task) / "queries.parquet", ["role", "text"])
    learned = sorted(set(queries.loc[queries["role"] == "train", "text"]), key=content_digest)[:LEARNED]
    now = _newest_texts(task, data)
    if len(now) < ENOUGH or len(learned) < ENOUGH:
        told = f"{len(now)} texts came in since, {len(learned)} were learned from: too few to compare"
        return DriftFinding("inputs", False, told)
    with open_encoder(params.encoder, cache, progress="") as texts:
        known, fresh = texts.encode(learned), texts.encode(now)
    moved = shifts(text_summaries(fresh, now, known), text_summaries(known, learned, known), params.drift.max_shift)
    size = f"{len(now)} newest texts beside {len(learned)} learned from"
    if moved:
        told = ", ".join(f"{name} {value:+.2f}" for name, value in moved.items())
        return DriftFinding("inputs", True, f"they read otherwise: {told} standard deviations ({size})")
    bound = params.drift.max_shift
    return DriftFinding("inputs", False, f"they read as before, each mean within {bound} standard deviations ({size})")


def _newest_texts(task: Task, data: Path) -> Sequence[str]:
    """What the records of the newest drops asked, NEWEST at most."""
    folder = task_folder(data, "history", task)
    names = sorted(drop_names(folder), key=lambda name: (-(folder / f"{name}.parquet").stat().st_mtime, name))
    found: list[str] = []
    for name in names:
        with opened_drop(folder, name) as drop:
            found += [task.query_text(input) for input in drop.read(["input"])["input"].to_pylist()]
        if len(found) >= NEWEST:
            break
    chosen = np.linspace(0, len(found) - 1, min(NEWEST, len(found))).astype(int)
    return [found[i] for i in chosen]
