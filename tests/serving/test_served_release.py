"""A registered release as MLflow loads and serves it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx2
import mlflow.pyfunc
import pandas as pd
import pytest

from hydra_ml.io.mlflow.registry import Registry
from hydra_ml.io.params_file import load_params
from hydra_ml.io.tables import load_table
from hydra_ml.jobs.nightly import register_chain
from hydra_ml.predictions import PREDICTION_COLUMNS
from hydra_ml.tasks import get_task
from tests.servers import free_port, wait_for

TASK = get_task("LaMP_2")
HISTORY = [
    {"id": "a", "tag": "comedy", "description": "Two friends open a bakery and burn every cake.", "date": "2026-01-01"},
    {"id": "b", "tag": "comedy", "description": "A clumsy knight falls off his horse again.", "date": "2026-01-02"},
]


@pytest.fixture(scope="module")
def served(chain, tmp_path_factory) -> Path:
    """A folder to serve from: data/, .cache/ and a store whose champion is the chain's release."""
    root = tmp_path_factory.mktemp("served")
    for stage in [path.name for path in chain.root.iterdir() if path.is_dir() and path.name != ".cache"]:
        (root / "data" / stage).mkdir(parents=True)
        (root / "data" / stage / TASK.folder).symlink_to(chain.root / stage)
    (root / ".cache").symlink_to(chain.root / ".cache")
    registry = Registry(f"sqlite:///{root / '.mlflow' / 'mlflow.db'}")
    params = load_params(chain.root / "params.yaml")
    version = register_chain(TASK, params, data=root / "data", run_name="first", registry=registry)
    registry.point(TASK, {"champion": version})
    return root


@pytest.fixture
def here(served, monkeypatch) -> Path:
    monkeypatch.chdir(served)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{served / '.mlflow' / 'mlflow.db'}")
    return served


def requests_of(root: Path) -> pd.DataFrame:
    """Evaluated questions of two users, to be answered from what is stored of them."""
    queries = load_table(root / "data" / "prepare" / TASK.folder / "queries.parquet")
    queries = queries[queries["role"] == "evaluate"].groupby("user_id").head(1).head(2)
    return pd.DataFrame({"request_id": ["r1", "r2"], "user_id": queries["user_id"], "input": queries["input"]})


def test_a_release_loaded_by_alias_answers_in_order_and_says_why_where_it_cannot(here):
    model = mlflow.pyfunc.load_model("models:/lamp-2.release@champion")
    known = requests_of(here)
    rows = [
        {**known.iloc[0].to_dict(), "history": None},
        {"request_id": "bad", "user_id": "u", "input": TASK.templated("A film."), "history": "no JSON"},
        {
            "request_id": "own",
            "user_id": "nobody yet",
            "input": TASK.templated("A cake."),
            "history": json.dumps(HISTORY),
        },
        {**known.iloc[1].to_dict(), "history": None},
        {**known.iloc[1].to_dict(), "history": None},
    ]
    answers = model.predict(pd.DataFrame(rows))
    assert list(answers.columns) == list(PREDICTION_COLUMNS)
    assert answers["request_id"].tolist() == ["r1", "bad", "own", "r2", "r2"]
    assert answers["personalization"].tolist() == ["personal", None, "shared", "personal", None]
    assert set(answers["prediction"].dropna()) <= set(TASK.labels)
    assert answers["prediction"].notna().tolist() == [True, False, True, True, False]
    assert answers["error"].tolist() == ["", "history is not JSON", "", "", "request_id repeated"]
    assert answers.loc[2, "n_history"] == 2
    assert answers.loc[0, "n_history"] > 2
    assert set(answers["release"]) == {"1"}


def test_a_release_keeps_answering_for_itself_after_the_aliases_moved(here):
    registry = Registry()
    task, params = TASK, load_params(next(here.glob(".cache")).resolve().parent / "params.yaml")
    # Of another job: made by the same one within a second, the two would be one and the same document.
    second = register_chain(task, params, data=here / "data", run_name="second", registry=registry, job="by_hand")
    model = mlflow.pyfunc.load_model("models:/lamp-2.release/1")
    registry.point(task, {"champion": second})
    answers = model.predict(requests_of(here))
    assert set(answers["release"]) == {"1"}
    registry.point(task, {"champion": "1"})


def test_mlflow_checks_requests_against_the_signature(here):
    model = mlflow.pyfunc.load_model("models:/lamp-2.release@champion")
    with pytest.raises(mlflow.exceptions.MlflowException, match="user_id"):
        model.predict(pd.DataFrame({"request_id": ["1"], "input": ["x"]}))
    example = model.input_example
    assert list(example.columns) == ["request_id", "user_id", "input", "history"]
    assert model.predict(example)["error"].tolist() == [""]


def test_a_served_release_answers_over_http(here):
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", "models:/lamp-2.release@champion"]
    command += ["--env-manager", "local", "--port", str(port), "--host", "127.0.0.1"]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    with subprocess.Popen(
        command, env=environment, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as server:
        try:
            url = f"http://127.0.0.1:{port}"
            wait_for(f"{url}/ping", server)
            known = requests_of(here)
            asked = {"dataframe_split": {"columns": list(known.columns), "data": known.to_numpy().tolist()}}
            reply = httpx2.post(f"{url}/invocations", json=asked, timeout=120)
            assert reply.status_code == 200, reply.text
            answers = reply.json()["predictions"]
            assert [answer["request_id"] for answer in answers] == ["r1", "r2"]
            assert {answer["personalization"] for answer in answers} == {"personal"}
            assert all(answer["prediction"] in TASK.labels for answer in answers)
            assert answers[0]["candidates"][0].keys() == {"answer", "votes", "personal", "shared", "greedy_share"}
            refused = httpx2.post(f"{url}/invocations", json={"dataframe_records": [{"input": "x"}]}, timeout=30)
            assert refused.status_code == 400
        finally:
            os.killpg(server.pid, signal.SIGTERM)
