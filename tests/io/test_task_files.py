"""tasks/*.yaml: found by name, told with lines where unfit, read again when changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hydra_ml.errors import ParamsError
from hydra_ml.io.params_file import load_params
from hydra_ml.io.task_files import get_task, known_tasks, task_in
from hydra_ml.tasks import TASKS
from hydra_ml.tasks.definition import json_schema

YAML = """\
name: my-task
kind: label
instruction: "Which? {input}"
columns: {input: question, answer: said}
labels:
  - yes please
  - no thanks
"""


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks/my_task.yaml").write_text(YAML)
    return tmp_path / "tasks"


def test_a_task_is_found_however_its_name_is_typed(tasks: Path) -> None:
    found = {get_task(name) for name in ("my-task", "my_task", " My-Task ")}
    assert len(found) == 1, "one task, told apart by identity"
    assert get_task("lamp-2n") is TASKS["LaMP_2N"]
    assert list(known_tasks()) == [*TASKS, "my_task"]


def test_an_unknown_name_says_which_there_are(tasks: Path) -> None:
    with pytest.raises(ParamsError, match=r"unknown task 'other'.*of tasks/: my_task.*task new"):
        get_task("other")


def test_every_problem_is_told_with_its_line(tasks: Path) -> None:
    (tasks / "my_task.yaml").write_text(
        YAML.replace("{input}", "").replace("no thanks", "Yes  please") + "colour: red\n"
    )
    with pytest.raises(ParamsError) as caught:
        get_task("my-task")
    assert "line 8: colour" in str(caught.value)
    (tasks / "my_task.yaml").write_text(YAML.replace("{input}", "").replace("no thanks", "Yes  please"))
    with pytest.raises(ParamsError) as caught:
        get_task("my-task")
    assert [line.split(":")[0].strip() for line in str(caught.value).splitlines()[1:3]] == ["line 3", "line 7"]
    assert "my_task" not in known_tasks()
    assert get_task("LaMP-3") is TASKS["LaMP_3"], "one unfit file does not stop the others"


@pytest.mark.parametrize(
    "text", ["name: [", "a: &x [*x]", "- a list", "", "one word", "name: !!int x", "x: " + "[" * 100]
)
def test_no_yaml_is_told_as_such(tasks: Path, text: str) -> None:
    (tasks / "my_task.yaml").write_text(text)
    with pytest.raises(ParamsError, match=r"my_task\.yaml"):
        get_task("my-task")


def test_a_changed_file_is_read_again(tasks: Path) -> None:
    before = get_task("my-task")
    (tasks / "my_task.yaml").write_text(YAML.replace("no thanks", "maybe later"))
    assert get_task("my-task").labels == ("yes please", "maybe later") != before.labels


@pytest.mark.parametrize(
    ("file", "text", "told"),
    [
        ("other.yaml", YAML, "but the file is other.yaml"),
        ("lamp_9.yaml", YAML.replace("my-task", "LaMP-9"), "names that begin with LaMP"),
        ("my-task.yaml", YAML, "my-task.yaml and my_task.yaml"),
    ],
)
def test_a_name_is_the_files_and_nobody_elses(tasks: Path, file: str, text: str, told: str) -> None:
    (tasks / file).write_text(text)
    with pytest.raises(ParamsError, match=told):
        task_in(tasks / file)


def test_params_name_tasks_that_are_there_as_folders_spell_them(tasks: Path) -> None:
    params = tasks.parent / "params.yaml"
    params.write_text("tasks: [my_task, LaMP_3]")
    assert load_params(params).tasks == ["my_task", "LaMP_3"]
    params.write_text("tasks: [LaMP_9]")
    with pytest.raises(ParamsError, match="unknown task 'LaMP_9'"):
        load_params(params)
    params.write_text("tasks: [My_Task]")
    with pytest.raises(ParamsError, match="is spelled my_task here"):
        load_params(params)


def test_the_published_schema_is_the_present_one() -> None:
    published = Path(__file__).parents[2] / "tasks/schema.json"
    assert json.loads(published.read_text()) == json_schema(), "hydra-ml task schema > tasks/schema.json"
