"""What lies in data/raw: the sample where nothing was ever brought, and a clear word where something is missing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from hydra_ml.errors import DataError
from hydra_ml.io.files import load_json
from hydra_ml.io.lamp.raw_data import bring_data

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
