"""What lies in data/raw: the sample where nothing was ever brought, and a clear word where something is missing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from hydra_ml.errors import DataError
from hydra_ml.io.files import load_json
from hydra_ml.io.lamp.raw_data import assumed_text, bring_data, use_folder, use_sample, use_table, use_task
from hydra_ml.io.params_file import load_params
from hydra_ml.io.task_files import get_task

ROOT = Path(__file__).parents[3]


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    return tmp_path


def bring(workspace: Path, *tasks: str) -> bool:
    return bring_data(workspace / "data/raw", workspace / "params.yaml", tasks)


def test_a_fresh_clone_gets_the_sample_once(workspace):
    assert bring(workspace, "LaMP_2", "LaMP_3") is True
    assert load_json(workspace / "data/raw/source.json") == {"source": "sample"}
    assert (workspace / "data/raw/LaMP_2/test/test_outputs.json").exists()
    assert (workspace / "data/history/LaMP_2").is_dir()
    assert bring(workspace, "LaMP_2", "LaMP_3") is False


def test_a_task_that_the_data_lacks_is_named_with_the_remedy(workspace):
    (workspace / "data/raw/LaMP_2N").mkdir(parents=True)
    with pytest.raises(DataError, match=r"no data of LaMP_2; there is LaMP_2N. Run `make run`"):
        bring(workspace, "LaMP_2N", "LaMP_2")
    assert not (workspace / "data/raw/LaMP_2").exists(), "a sample beside somebody's data would be learned from"


def test_data_that_dvc_knows_of_is_pulled_and_not_replaced_by_the_sample(workspace):
    (workspace / "data/raw").mkdir(parents=True)
    (workspace / "data/raw/LaMP_2.dvc").write_text("outs: []")
    with pytest.raises(DataError, match="`dvc pull`"):
        bring(workspace, "LaMP_2")


def test_data_without_test_answers_is_evaluated_on_dev_until_other_data_comes(workspace):
    raw, params = workspace / "data/raw", workspace / "params.yaml"
    bring(workspace, "LaMP_2", "LaMP_3")
    own = workspace / "own/LaMP_2"
    shutil.copytree(raw / "LaMP_2", own)
    (own / "test/test_outputs.json").unlink()
    told = use_folder(own.parent, raw, params)
    assert assumed_text(told) == f"LaMP_2: no test answers: `prepare.evaluate_split` is dev in {params} from now on\n"
    assert load_json(raw / "source.json")["assumed"] == told
    assert load_params(params).prepare.evaluate_split == "dev"
    use_sample(raw, params)
    assert load_params(params).prepare.evaluate_split == "test"
    assert load_params(params).tasks == ["LaMP_2", "LaMP_3", "LaMP_4"]
    use_folder(own.parent, raw, params)
    shutil.copytree(raw / "LaMP_3", workspace / "other/LaMP_3")
    assert assumed_text(use_folder(workspace / "other", raw, params)) == ""
    assert load_params(params).prepare.evaluate_split == "test"


def test_own_tasks_and_the_sample_take_turns_and_each_comes_back(workspace, monkeypatch):
    monkeypatch.chdir(workspace)
    raw, params = workspace / "data/raw", workspace / "params.yaml"
    (workspace / "tasks").mkdir()
    for name in ("mine", "yours"):
        columns = "{user: who, input: asked, answer: said}"
        told = f"name: {name}\nkind: text\ninstruction: 'Q: {{input}}'\ncolumns: {columns}\n"
        (workspace / f"tasks/{name}.yaml").write_text(told)
    rows = [{"who": "ann", "asked": f"q{i}", "said": f"a{i}"} for i in range(8)]
    table = workspace / "table.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    sample = load_params(params).tasks

    use_table(table, get_task("mine"), raw, params)
    assert load_params(params).tasks == ["mine"]
    for _ in range(2):
        assert list(use_sample(raw, params)) == sample == load_params(params).tasks
        use_task(get_task("mine"), raw, params)
        assert load_params(params).tasks == ["mine"]
    use_table(table, get_task("yours"), raw, params)
    assert load_params(params).tasks == ["mine", "yours"]
    use_task(get_task("mine"), raw, params)
    assert load_params(params).tasks == ["mine", "yours"], "its neighbour stays"
    assert list(use_sample(raw, params)) == sample
    with pytest.raises(DataError, match="no data of LaMP-7"):
        use_task(get_task("LaMP-7"), raw, params)
