"""The example of docs/own_task.md, smaller, as a newcomer goes through it: from a CSV to a champion that answers."""

from __future__ import annotations

import csv
import json
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hydra_ml.io.mlflow.registry import Registry
from hydra_ml.io.params_file import load_params, set_params
from hydra_ml.io.task_files import get_task
from hydra_ml.jobs.nightly import register_chain
from hydra_ml.jobs.promote import promote

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples/support_replies"
AGENTS = 20


def hydra_ml(root: Path, *arguments: str, stdin: str = "", fails: bool = False) -> str:
    """What the command prints on stdout, or on stderr where it is to fail."""
    ran = subprocess.run(
        [sys.executable, "-m", "hydra_ml", *arguments],
        cwd=root,
        input=stdin,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert (ran.returncode != 0) == fails, ran.stderr[-3000:]
    return ran.stderr if fails else ran.stdout


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like a fresh clone, without code: what it runs is this checkout's; and a CSV of few agents."""
    root = tmp_path_factory.mktemp("own")
    for name in (".dvcignore", ".gitignore", "data/.gitignore", "dvc.yaml", "params.yaml"):
        (root / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    for name in ("hydra_ml", "flows"):
        (root / name).symlink_to(ROOT / name)
    subprocess.run([sys.executable, "-m", "dvc", "init", "--no-scm", "-q"], cwd=root, check=True)
    (root / "tasks").mkdir()
    small = {
        "train_adapter.personal": "always",
        "generate.queries_per_user": 14,
        "generate.n_samples": 6,
        "evaluate.resamples": 200,
    }
    set_params(
        root / "params.yaml", {**small, "evaluate.methods": ["history_vote", "rag_k4", "hydra"], "arena.examples": 2}
    )
    rows = runpy.run_path(str(EXAMPLE / "make_table.py"))["rows"](agents=AGENTS, tickets=24)
    with (root / "tickets.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return root


def test_from_a_csv_to_a_champion_that_answers(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = hydra_ml(project, "task", "new", "support-macro", "--data", "tickets.csv", "--answer", "macro")
    assert "tasks/support_macro.yaml" in made
    told = hydra_ml(project, "task", "check", "tasks/support_macro.yaml", "--data", "tickets.csv")
    assert f"480 records of {AGENTS} users" in told
    assert told.count("as the LLM gets it") == 3
    assert "macros" not in hydra_ml(project, "run", "--task", "support-macro", fails=True), "no data of it yet"

    hydra_ml(project, "run", "--data", "tickets.csv", "--task", "support-macro")
    metrics = json.loads((project / "data/evaluate/support_macro/metrics.json").read_text())
    assert metrics["hydra"]["accuracy"]["n"] == 2 * AGENTS
    assert metrics["hydra"]["accuracy"]["value"] > metrics["rag_k4"]["accuracy"]["value"], "habits were planted"
    assert (project / "data/arena/support_macro/report.html").is_file()

    monkeypatch.chdir(project)
    task, params, registry = get_task("support-macro"), load_params(Path("params.yaml")), Registry(cache=Path(".cache"))
    register_chain(task, params, data=Path("data"), run_name="first", registry=registry)
    assert promote(task, params, data=Path("data"), registry=registry).promoted_at
    asked = {"request_id": "r1", "user_id": "a07", "task": "support-macro", "input": "My kettle never came."}
    lines = hydra_ml(project, "score", "-", "--task", "support-macro", stdin=json.dumps(asked) + "\n").splitlines()
    answered = json.loads(lines[0])
    assert answered["prediction"] in task.labels
    assert answered["personalization"] == "personal"
    assert "My kettle" not in lines[0], "predictions hold no text of a request"
    assert "r1" in hydra_ml(project, "why", "r1")
    shown = hydra_ml(project, "show", "a07", "--task", "support-macro", "--yes")
    assert "head: the user's own" in shown
    assert "r1" in shown
    assert "one person's data" in hydra_ml(project, "show", "a07", "--task", "support-macro", fails=True)

    # The champion answers by the task it was made with, whatever the file says now.
    changed = Path("tasks/support_macro.yaml")
    changed.write_text(changed.read_text().replace("Which macro", "What macro"))
    again = {**asked, "request_id": "r2"}
    lines = hydra_ml(project, "score", "-", "--task", "support-macro", stdin=json.dumps(again) + "\n").splitlines()
    assert json.loads(lines[0])["llm_calls"] == 0, "the very prompts of before, kept from before"

    drop = [
        {
            "task": "support-macro",
            "agent": "a07",
            "closed_at": "2026-06-01",
            "ticket": "A crack in it.",
            "macro": "Voucher",
        }
    ]
    Path("data/incoming").mkdir(exist_ok=True)
    Path("data/incoming/day.csv").write_text(
        ",".join(drop[0]) + "\n" + ",".join(drop[0].values()) + "\n", encoding="utf-8"
    )
    set_params(Path("params.yaml"), {"ingest.settle_s": 0.0, "ingest.push": False})
    reports = json.loads(hydra_ml(project, "ingest", "--json"))
    assert reports[0]["tasks"]["support_macro"]["accepted"] == 1
