"""Runs on a real MLflow store."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from hydra_ml.errors import ArtifactError
from hydra_ml.evaluation.compare_users import cohort_measures
from hydra_ml.io.mlflow.store import connect, tracking_uri, without_secret
from hydra_ml.io.mlflow.tracking import Run, Tracking, lock_digests
from hydra_ml.tasks import get_task

TASK = get_task("LaMP_2")
PARAMS = {"seed": 3, "llm": {"model": "offline-minilm", "max_calls": None}, "generate": {"n_samples": 8}}
LOCK = """
schema: '2.0'
stages:
  prepare@LaMP_2:
    cmd: python -m hydra_ml.stages.prepare
    deps:
    - path: data/raw/LaMP_2
      hash: md5
      md5: aaaa.dir
    - path: hydra_ml/learning/history.py
      hash: md5
      md5: bbbb
    outs:
    - path: data/prepare/LaMP_2
      hash: md5
      md5: cccc.dir
  prepare@LaMP_2N:
    cmd: python -m hydra_ml.stages.prepare
    deps:
    - path: data/raw/LaMP_2N
      md5: dddd.dir
"""


@pytest.fixture(scope="module")
def uri(tmp_path_factory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('tracking') / '.mlflow' / 'mlflow.db'}"


@pytest.fixture
def run_id(uri) -> str:
    with Tracking(uri).start(TASK, "a run", job="nightly", params=PARAMS) as run:
        return run.run_id


def run_at(uri: str, run_id: str) -> Run:
    return Tracking(uri).run(run_id)


def run_of(uri: str, run_id: str):
    return connect(uri).get_run(run_id)


def test_a_run_says_from_what_it_was_made(uri, tmp_path):
    lock = tmp_path / "dvc.lock"
    lock.write_text(LOCK)
    with Tracking(uri).start(TASK, "first", job="update_heads", params=PARAMS, tags={"drops": "2"}, lock=lock) as run:
        assert run_of(uri, run.run_id).info.status == "RUNNING"
    run_id = run.run_id
    run = run_of(uri, run_id)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "first")
    assert run.data.params == {
        "seed": "3",
        "llm.model": "offline-minilm",
        "llm.max_calls": "null",
        "generate.n_samples": "8",
    }
    tags = run.data.tags
    assert (tags["job"], tags["task"], tags["llm"], tags["drops"]) == ("update_heads", "LaMP-2", "offline-minilm", "2")
    assert not [tag for tag in tags if tag.startswith("dvc.")], "the digests are an artifact"
    assert not any("LaMP_2N" in key for key in tags)
    kept = Path(connect(uri).download_artifacts(run_id, "dvc.lock.json", str(tmp_path)))
    assert '"hydra_ml/learning/history.py": "bbbb"' in kept.read_text()


def test_artifacts_lie_beside_the_store_wherever_the_process_stands(uri, run_id, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "report.md").write_text("fine")
    run_at(uri, run_id).log_file(tmp_path / "report.md", folder="validate")
    store = Path(uri.removeprefix("sqlite:///")).parent
    assert [path.read_text() for path in store.glob("artifacts/lamp-2/**/validate/report.md")] == ["fine"]
    assert [path.name for path in tmp_path.iterdir()] == ["report.md"]


def test_a_run_that_breaks_is_failed_and_says_by_what_alone(uri):
    found = []

    def broken() -> None:
        with Tracking(uri).start(TASK, "x", job="j", params={}) as run:
            found.append(run.run_id)
            raise ValueError("a user's text")

    with pytest.raises(ValueError, match="a user's text"):
        broken()
    run = run_of(uri, found[0])
    assert (run.info.status, run.data.tags["error"]) == ("FAILED", "ValueError")
    assert "a user's text" not in str(run.data.tags)


def test_a_run_whose_process_was_killed_is_closed_by_the_next_of_its_name(uri):
    client = connect(uri)
    experiment = Tracking(uri).experiment_id(TASK)
    killed = client.create_run(experiment, run_name="night's run", tags={"job": "nightly"}).info.run_id
    other = client.create_run(experiment, run_name="another", tags={"job": "nightly"}).info.run_id
    with Tracking(uri).start(TASK, "night's run", job="nightly", params={}):
        pass
    assert run_of(uri, killed).info.status == "KILLED"
    assert run_of(uri, other).info.status == "RUNNING"


def test_metrics_curves_and_measures_become_series(uri, run_id):
    run_at(uri, run_id).log_metrics({"a": 1.5, "none": None, "nan": float("nan")})
    curve = {
        "curve": [
            {"epoch": 0.0, "train_loss": None, "held_back_loss": 0.7},
            {"epoch": 1.0, "train_loss": 0.6, "held_back_loss": 0.5},
        ],
        "ridge_losses": [{"ridge": 3.0, "held_back_loss": 0.4}, {"ridge": 30.0, "held_back_loss": 0.3}],
    }
    run_at(uri, run_id).log_curve("train_adapter", curve, {"ridge": 3.0, "epochs": 1})
    found = {"value": 0.7, "ci_low": 0.6, "ci_high": 0.8, "n": 10}
    nothing = {"value": 0.5, "ci_low": None, "ci_high": None, "n": 10}
    metrics = {"task": "LaMP-2", "seed": 1, "hydra": {"accuracy": found}, "rag_k4": {"accuracy": nothing}}
    run_at(uri, run_id).log_measures(metrics)
    assert run_at(uri, run_id).measures() == {
        "a": 1.5,
        "train_adapter/train_loss": 0.6,
        "train_adapter/held_back_loss": 0.5,
        "train_adapter/held_back_loss_by_ridge": 0.3,
        "train_adapter/chosen_ridge": 3.0,  # not the last one tried
        "train_adapter/chosen_epochs": 1.0,
        "hydra/accuracy": 0.7,
        "hydra/accuracy.ci_low": 0.6,
        "hydra/accuracy.ci_high": 0.8,
        "hydra/accuracy.n": 10.0,
        "rag_k4/accuracy": 0.5,
    }
    steps = [(m.step, m.value) for m in connect(uri).get_metric_history(run_id, "train_adapter/held_back_loss")]
    assert steps == [(0, 0.7), (1, 0.5)]
    tried = connect(uri).get_metric_history(run_id, "train_adapter/held_back_loss_by_ridge")
    assert [(m.step, m.value) for m in tried] == [(3, 0.4), (30, 0.3)], "the step is the ridge"


def test_a_dataset_is_named_by_its_dvc_digest(uri, run_id):
    digest = "0123456789abcdef0123456789abcdef.dir"
    run_at(uri, run_id).log_dataset("LaMP_2.raw", digest=digest, source="data/raw/LaMP_2", context="source")
    run_at(uri, run_id).log_dataset("nothing", digest="", source="data/none")
    (logged,) = run_of(uri, run_id).inputs.dataset_inputs
    assert (logged.dataset.name, logged.dataset.digest) == ("LaMP_2.raw", digest)
    assert [(tag.key, tag.value) for tag in logged.tags] == [("mlflow.data.context", "source")]


def test_measures_by_user_come_back_as_they_were_logged(uri, run_id):
    users = pd.DataFrame(
        {
            "user_id": ["u1", "u2"],
            "cohort": ["known", "new"],
            "n_history": [5, 40],
            "band": ["1-10", "31+"],
            "n": [2, 4],
            "measure": "accuracy",
            "hydra": [1.0, 0.25],
            "hydra_shared": [0.5, 0.25],
            "rag_k4": [0.5, 0.5],
        }
    )
    assert run_at(uri, run_id).user_measures() is None
    logged = cohort_measures(users)
    run_at(uri, run_id).log_user_measures(users, logged)
    assert logged["cohort/accuracy.all"] == pytest.approx((2 * 1.0 + 4 * 0.25) / 6)
    assert run_at(uri, run_id).measures() == logged
    pd.testing.assert_frame_equal(run_at(uri, run_id).user_measures(), users, check_dtype=False)


def test_without_a_lock_file_there_are_no_digests_and_a_broken_one_is_said(tmp_path):
    lock = tmp_path / "dvc.lock"
    assert lock_digests(TASK, lock) == {}
    for broken in ("a: [", "stages: [1]", "other: {}"):
        lock.write_text(broken)
        with pytest.raises(ArtifactError, match=r"dvc\.lock: not DVC's lock file.*dvc repro"):
            lock_digests(TASK, lock)


def test_the_store_is_the_environments_or_below_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    assert tracking_uri() == f"sqlite:///{tmp_path}/.mlflow/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    assert tracking_uri() == "http://mlflow:5000"
    assert without_secret("postgresql://me:secret@db/mlflow") == "postgresql://db/mlflow"
