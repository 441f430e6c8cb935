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
from hydra_ml.tasks.task import Task


def count(*, some_input: Path, out: Path, task: Task, params: Params) -> dict[str, Any]:
    """A stage that tells what it was given, or fails as told."""
    if some_input.name == "bad":
        raise DataError(f"{some_input}: unfit")
    if some_input.name == "full":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(out))
    if some_input.name == "interrupted":
        raise KeyboardInterrupt
    return {"given": [some_input.name, out.name, task.name, params.seed]}


main = stage_command(count, {"some_input": "what to read", "out": "what to write"})


@pytest.fixture
def params_file(tmp_path: Path) -> str:
    path = tmp_path / "params.yaml"
    path.write_text("seed: 5\n")
    return str(path)


def arguments(params_file: str, some_input: str = "in", task: str = "LaMP_2N") -> list[str]:
    return ["--task", task, "--params", params_file, "--some-input", some_input, "--out", "there"]


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


def test_run_gives_the_summary_or_raises_and_prints_nothing(
    params_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    told = main.run(arguments(params_file))
    assert (told["stage"], told["given"]) == ("count", ["in", "there", "LaMP-2N", 5])
    with pytest.raises(DataError, match="bad: unfit"):
        main.run(arguments(params_file, "bad"))
    assert capsys.readouterr() == ("", "")


def test_an_optional_path_may_be_left_out(params_file: str) -> None:
    def sometimes(*, out: Path, frozen: Path | None = None, task: Task, params: Params) -> dict[str, Any]:
        return {"frozen": frozen and frozen.name}

    command = stage_command(sometimes, {"out": "what to write"}, optional={"frozen": "what to keep"})
    given = ["--task", "LaMP_2N", "--params", params_file, "--out", "there"]
    assert command.run(given)["frozen"] is None
    assert command.run([*given, "--frozen", "a/base"])["frozen"] == "base"


@pytest.mark.parametrize("missing", ["--task", "--params", "--some-input", "--out"])
def test_every_option_is_required(missing: str, params_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    given = arguments(params_file)
    at = given.index(missing)
    with pytest.raises(SystemExit) as caught:
        main(given[:at] + given[at + 2 :])
    assert caught.value.code == 2
    assert missing in capsys.readouterr().err


@pytest.mark.parametrize("stage", ["prepare", "validate", "retrieve"])
def test_help_of_our_stages_is_told_without_heavy_imports(stage: str) -> None:
    shown = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", f"hydra_ml.stages.{stage}", "--help"], capture_output=True, text=True
    )
    assert shown.returncode == 0
    assert f"usage: python -m hydra_ml.stages.{stage}" in shown.stdout
    assert "--out PATH" in shown.stdout
    loaded = {line.rsplit("|", 1)[-1].strip() for line in shown.stderr.splitlines()}
    assert not loaded & {"torch", "transformers", "great_expectations"}
