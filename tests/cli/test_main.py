"""The command as a user types it: help is quick, errors are one message, exit codes tell."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OPERATING = ("status", "promote", "rollback", "heads", "score", "why", "ingest", "update-heads")


def hydra_ml(*args: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    code = "from hydra_ml.cli.main import main; main()"
    env = {k: v for k, v in os.environ.items() if not k.startswith("OPENAI_")} | {"PYTHONPATH": str(ROOT)} | environment
    return subprocess.run(
        [sys.executable, "-c", code, *args], cwd=cwd, env=env, capture_output=True, text=True, check=False
    )


@pytest.fixture
def workspace(tmp_path):
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    return tmp_path


def test_help_names_the_commands(tmp_path):
    done = hydra_ml("--help", cwd=tmp_path)
    assert done.returncode == 0
    for command in ("run", "arena", "params", "data", "llm", *OPERATING):
        assert command in done.stdout


def test_heads_has_its_own_help(tmp_path):
    done = hydra_ml("heads", "--help", cwd=tmp_path)
    assert "list" in done.stdout
    assert "compare" in done.stdout


def test_help_is_quick_because_nothing_heavy_is_imported(tmp_path):
    code = (
        "import sys; from hydra_ml.cli.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: print(*sys.modules, sep='\\n')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = set(done.stdout.split())
    assert "hydra_ml.cli.operate" in loaded
    assert not loaded & {
        "torch",
        "mlflow",
        "pandas",
        "prefect",
        "httpx2",
        "great_expectations",
        "hydra_ml.io.mlflow.registry",
    }


@pytest.mark.parametrize("verb", [["promote"], ["rollback"], ["heads", "list"], ["status"], ["update-heads"]])
def test_operating_without_params_says_what_is_missing(tmp_path, verb):
    done = hydra_ml(*verb, cwd=tmp_path)
    assert done.returncode == 2
    assert "params.yaml: no such file" in done.stderr
    assert "Traceback" not in done.stderr


def test_promote_before_any_release_says_what_there_is(workspace):
    done = hydra_ml("promote", "--task", "LaMP-2", cwd=workspace)
    assert done.returncode == 1
    assert "lamp-2.release: no release is 'challenger'" in done.stderr
    assert "Traceback" not in done.stderr


def test_params_reports_every_problem_at_once(workspace):
    (workspace / "params.yaml").write_text(
        "seeds: 1\nretrieve: {n_candidates: none}\ntasks: [LaMP_9]\nrerank: {k: 0}\n"
    )
    done = hydra_ml("params", cwd=workspace)
    assert done.returncode == 2
    for key in ("seeds", "retrieve.n_candidates", "tasks.0", "rerank.k"):
        assert key in done.stderr
    assert "Traceback" not in done.stderr


def test_params_prints_every_key(workspace):
    done = hydra_ml("params", cwd=workspace)
    assert done.returncode == 0
    assert "queries_per_user: 32" in done.stdout


def test_the_sample_brings_the_tasks_of_params(workspace):
    done = hydra_ml("data", "sample", cwd=workspace)
    assert done.stdout.split() == ["LaMP_2", "LaMP_3", "LaMP_4"]
    assert (workspace / "data/raw/LaMP_3/test/test_outputs.json").exists()
    assert not (workspace / "data/raw/LaMP_3/truth.json").exists()


def test_own_data_and_back_to_the_sample(workspace):
    hydra_ml("data", "sample", cwd=workspace)
    own = workspace / "own"
    (workspace / "data/raw/LaMP_3").rename(own.joinpath("LaMP_3")) if own.mkdir() is None else None
    done = hydra_ml("data", "add", "own", cwd=workspace)
    assert done.stdout.split() == ["LaMP_3"]
    assert "tasks: [LaMP_3]" in (workspace / "params.yaml").read_text()
    assert "# any of LaMP_1" in (workspace / "params.yaml").read_text()  # comments survive
    done = hydra_ml("data", "sample", cwd=workspace)
    assert done.stdout.split() == ["LaMP_2", "LaMP_3", "LaMP_4"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        ("<!doctype html><html>not found</html>", "HTML"),
        ('{"a": 1}', "list"),
        ("[{", "JSON"),
    ],
)
def test_bad_files_are_named_and_nothing_is_copied(workspace, content, message):
    for split in ("train", "dev", "test"):
        folder = workspace / f"bad/LaMP_3/{split}"
        folder.mkdir(parents=True)
        if content is not None:
            (folder / f"{split}_questions.json").write_text(content)
            (folder / f"{split}_outputs.json").write_text(json.dumps({"task": "LaMP_3", "golds": []}))
    done = hydra_ml("data", "add", "bad", cwd=workspace)
    assert done.returncode == 1
    assert message in done.stderr
    assert "train_questions.json" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (workspace / "data/raw/LaMP_3").exists()
    assert "tasks: [LaMP_2, LaMP_3, LaMP_4]" in (workspace / "params.yaml").read_text()


def test_a_folder_without_lamp_files_says_what_is_expected(workspace):
    (workspace / "empty").mkdir()
    done = hydra_ml("run", "--data", "empty", cwd=workspace)
    assert done.returncode == 1
    assert "LaMP_" in done.stderr


def name_in_params(workspace: Path, model: str) -> None:
    path = workspace / "params.yaml"
    path.write_text(path.read_text().replace("model: offline-minilm", f"model: {model}"))


SERVER = {"OPENAI_BASE_URL": "http://me:secret@llm.example.com/v1", "OPENAI_API_KEY": "k"}


@pytest.mark.parametrize(
    ("in_params", "environment", "asked"),
    [
        ("gpt-x", SERVER, "gpt-x at llm.example.com/v1"),
        ("gpt-x", {**SERVER, "OPENAI_MODEL": "gpt-y"}, "gpt-y at llm.example.com/v1"),
        ("gpt-x", {"OPENAI_MODEL": "offline-minilm"}, "offline-minilm, the stand-in of this package."),
        ("offline-minilm", {}, "offline-minilm, the stand-in of this package."),
        ("offline-minilm", SERVER, "offline-minilm, the stand-in of this package; llm.example.com/v1 is not asked"),
    ],
)
def test_a_run_says_which_model_it_asks(workspace, in_params: str, environment: dict[str, str], asked: str):
    (workspace / "empty").mkdir()
    name_in_params(workspace, in_params)
    done = hydra_ml("run", "--data", "empty", cwd=workspace, **environment)
    assert f"The LLM is {asked}" in done.stderr
    model = environment.get("OPENAI_MODEL", in_params)
    assert f"model: {model} " in (workspace / "params.yaml").read_text()
    assert (f"llm.model is now {model}" in done.stderr) == (model != in_params)
    assert (f"(was {in_params})" in done.stderr) == (model != in_params)
    assert "secret" not in done.stderr


def test_a_model_of_params_without_its_server_stops_a_run_before_it_begins(workspace):
    name_in_params(workspace, "gpt-x")
    done = hydra_ml("run", cwd=workspace)
    assert done.returncode == 2
    [told] = [line for line in done.stderr.splitlines() if "gpt-x" in line]
    for name in ("OPENAI_BASE_URL is not set", "OPENAI_API_KEY is not set", "'offline-minilm'", "make run LLM=local"):
        assert name in told
    assert "model: gpt-x " in (workspace / "params.yaml").read_text()
    assert not (workspace / "data").exists()


def test_arena_before_any_run_says_what_to_do(workspace):
    done = hydra_ml("arena", cwd=workspace)
    assert done.returncode == 1
    assert "dvc repro" in done.stderr


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--task", "LaMP-9"], "unknown task 'LaMP-9'; allowed are LaMP-1"),
        (["--task", "LaMP-2", "--methods", "hydra,hydre"], "there is no method 'hydre'; there are user_majority"),
        (["--task", "LaMP-2", "--methods", "copy_input"], "names no method that LaMP-2 has"),
        (["--methods", "hydra"], "Say which with --task."),
        (["--dry-run"], "Say which with --task."),
    ],
)
def test_arena_refuses_what_it_cannot_run_in_one_message(workspace, options, told):
    done = hydra_ml("arena", *options, cwd=workspace)
    assert done.returncode == 2
    assert told in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert (workspace / "params.yaml").read_text() == (ROOT / "params.yaml").read_text()


def test_a_full_disk_is_one_message(workspace):
    code = "from hydra_ml.cli.main import main; main()"
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-u", "-c", code, "params"], cwd=workspace, stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
