"""Where everything lies below the data folder. Nobody else joins these names."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from hydra_ml.tasks.task import Task

Stage = Literal[
    "prepare",
    "validate",
    "retrieve",
    "annotate",
    "train_reranker",
    "rerank",
    "generate",
    "train_adapter",
    "evaluate",
    "arena",
]
Part = Stage | Literal["raw", "history", "withdrawn", "predictions", "feedback/store", "drift"]
Common = Literal["incoming", "feedback", "quarantine", "requests", "predictions", "reports", "docs"]

# What a stage reads, by the name of its argument: the part that holds it.
INPUTS: dict[str, Part] = {
    "raw": "raw",
    "history": "history",
    "feedback": "feedback/store",
    "prepared": "prepare",
    "retrieved": "retrieve",
    "annotated": "annotate",
    "reranker": "train_reranker",
    "reranked": "rerank",
    "generated": "generate",
    "adapter": "train_adapter",
    "evaluated": "evaluate",
}
REPORT, FIGURES = "report.html", "figures.html"  # of `arena`: the page, and the page without a word of any user
TRAINERS: dict[str, Stage] = {"reranker": "train_reranker", "adapter": "train_adapter"}  # component -> its stage


def task_folder(data: Path, part: Part, task: Task) -> Path:
    """data/<part>/<task>: what a stage writes, what the pipeline reads, what came in and went out."""
    return data / part / task.folder


def make_growing(data: Path, folder: str) -> None:
    """Make the folders of a task, by its folder's name, that jobs add to: `prepare` depends on them, and DVC on their
    being there, if only empty."""
    for part in ("history", "feedback/store"):
        (data / part / folder).mkdir(parents=True, exist_ok=True)


def common_folder(data: Path, name: Common) -> Path:
    """data/<name>: what is not of one task."""
    return data / name
