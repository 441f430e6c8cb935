"""What may hold personal data is closed to other accounts, and told; what was lent to them by intent stays."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hydra_ml.io.private_files import close_to_others, closed_text, open_to_others

ROOT = Path(__file__).parents[2]


def put(path: Path, mode: int = 0o644) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("of a user")
    path.chmod(mode)
    return path


@pytest.fixture
def project(tmp_path):
    before = os.umask(0o022)
    for name in ("data/raw/LaMP_2/train.json", ".cache/responses.sqlite", ".mlflow/mlflow.db", "hydra_ml/errors.py"):
        put(tmp_path / name)
    yield tmp_path
    os.umask(before)


def test_what_lies_open_is_named_closed_and_told(project):
    found = [str(path) for path in open_to_others(project)]
    assert "data/raw/LaMP_2/train.json" in found
    assert ".mlflow" in found
    assert not any(path.startswith("hydra_ml") for path in found)
    closed = close_to_others(project)
    assert [str(path) for path in closed] == found
    assert closed_text(closed) == (
        f"Closed to other accounts of this machine: {len(found)} files and folders below .cache, .mlflow, data."
    )
    assert open_to_others(project) == []
    assert (project / "data/raw").stat().st_mode & 0o777 == 0o700
    assert (project / "data/raw/LaMP_2/train.json").stat().st_mode & 0o777 == 0o600
    assert (project / "hydra_ml/errors.py").stat().st_mode & 0o777 == 0o644, "the code is no secret"
    assert close_to_others(project) == []
    assert closed_text([]) == ""


def test_one_file_is_named(project):
    close_to_others(project)
    put(project / ".cache/new.json")
    assert closed_text(close_to_others(project)).endswith(": .cache/new.json below .cache.")


def test_a_folder_lent_to_others_stays(project):
    incoming = project / "data/incoming"
    incoming.mkdir()
    incoming.chmod(0o1733)
    close_to_others(project)
    assert incoming.stat().st_mode & 0o7777 == 0o1733
    assert (project / "data").stat().st_mode & 0o777 == 0o755, "it can be reached"
    assert (project / "data/raw").stat().st_mode & 0o777 == 0o700
    assert open_to_others(project) == []


def test_dvcs_files_keep_their_mode_in_closed_folders(project):
    kept = put(project / ".dvc/cache/files/md5/ab/cdef", 0o444)
    assert [str(path) for path in close_to_others(project) if path.parts[0] == ".dvc"] == [
        ".dvc/cache",
        ".dvc/cache/files",
        ".dvc/cache/files/md5",
        ".dvc/cache/files/md5/ab",
    ]
    assert kept.stat().st_mode & 0o777 == 0o444
    assert open_to_others(project) == []


def test_links_are_not_followed(project, tmp_path_factory):
    elsewhere = put(tmp_path_factory.mktemp("elsewhere") / "file")
    (project / "data/link").symlink_to(elsewhere)
    (project / "data/folder").symlink_to(elsewhere.parent)
    close_to_others(project)
    assert elsewhere.stat().st_mode & 0o777 == 0o644


def test_commands_make_private_files(project):
    (project / "params.yaml").write_text("seed: 1\n")
    line = [sys.executable, "-m", "hydra_ml", "data", "sample"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(line, cwd=project, env=environment, check=True, capture_output=True)
    made = [*(project / "data/raw").rglob("*.json")]
    assert len(made) > 5
    close = {path for path in made if path.stat().st_mode & 0o077}
    assert close == {project / "data/raw/LaMP_2/train.json"}, "but for what lay there before"
