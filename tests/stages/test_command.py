"""The frame of all stages: options, outputs and exit codes."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hydra_ml.errors import DataError
from hydra_ml.params import Params
from hydra_ml.stages.command import stage_command
from hydra_ml.tasks import get_task
from hydra_ml.tasks.task import Task


def count(*, prepared: Path, out: Path, task: Task, params: Params) -> dict[str, Any]:
    """A stage that tells what it was given, or fails as told."""
    if prepared.name == "bad":
        raise DataError(f"{prepared}: unfit")
    if prepared.name == "full":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(out))
    if prepared.name == "interrupted":
        raise KeyboardInterrupt
    return {"given": [prepared.name, out.name, task.name, params.seed]}


main = stage_command(count)


@pytest.fixture
def params_file(tmp_path: Path) -> str:
    path = tmp_path / "params.yaml"
    path.write_text("seed: 5\n")
    return str(path)


def arguments(params_file: str, prepared: str = "in", task: str = "LaMP_2N") -> list[str]:
    return ["--task", task, "--params", params_file, "--prepared", prepared, "--out", "there"]


def test_one_json_line_on_stdout(params_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(params_file)) == 0
    (line,) = capsys.readouterr().out.splitlines()
    told = json.loads(line)
    assert told["stage"] == "count"
    assert told["task"] == "LaMP_2N"
    assert told["given"] == ["in", "there", "LaMP-2N", 5]
    assert told["seconds"] >= 0


def test_errors_are_one_message_and_a_code(params_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(params_file, "bad")) == 1
    assert main(arguments(params_file, task="LaMP_9")) == 2
    assert main(arguments("nowhere.yaml")) == 2
    assert main(arguments(params_file, "interrupted")) == 130
    assert main(arguments(params_file, "full")) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.split(":")[0] for line in err.splitlines()] == ["count"] * 5
    assert "Traceback" not in err


def test_run_gives_the_summary_or_raises_and_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    task, params = get_task("LaMP_2N"), Params(seed=5)
    told = main.run(task, params, places={"prepared": Path("in"), "out": Path("there")})
    assert (told["stage"], told["given"]) == ("count", ["in", "there", "LaMP-2N", 5])
    with pytest.raises(DataError, match="bad: unfit"):
        main.run(task, params, places={"prepared": Path("bad")})
    assert capsys.readouterr() == ("", "")


def test_folders_lie_where_the_layout_has_them_unless_told(tmp_path: Path) -> None:
    def tell(
        *,
        prepared: Path,
        reranker: Path,
        out: Path,
        cache: Path,
        frozen: Path | None = None,
        task: Task,
        params: Params,
    ) -> dict[str, Any]:
        return {"folders": [prepared, reranker, out, cache, frozen]}

    command = stage_command(tell)
    task = get_task("LaMP_2N")
    usual = [Path("d/prepare/LaMP_2N"), Path("d/train_reranker/LaMP_2N"), Path("d/tell/LaMP_2N"), Path("c"), None]
    assert command.run(task, Params(), data=Path("d"), cache=Path("c"))["folders"] == usual
    other = command.run(task, Params(), data=Path("d"), places={"frozen": Path("f"), "reranker": Path("r")})
    assert other["folders"] == [usual[0], Path("r"), usual[2], Path(".cache"), Path("f")]


def test_a_task_must_be_named(params_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--params", params_file])
    assert caught.value.code == 2
    assert "--task" in capsys.readouterr().err


@pytest.mark.parametrize("stage", ["prepare", "validate", "retrieve"])
def test_help_of_our_stages_is_told_without_heavy_imports(stage: str) -> None:
    shown = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", f"hydra_ml.stages.{stage}", "--help"], capture_output=True, text=True
    )
    assert shown.returncode == 0
    assert f"usage: python -m hydra_ml.stages.{stage}" in shown.stdout
    assert "--out FOLDER" in shown.stdout
    loaded = {line.rsplit("|", 1)[-1].strip() for line in shown.stderr.splitlines()}
    assert not loaded & {"torch", "transformers", "great_expectations"}
