"""A project as the jobs meet it: the chain's outputs below data/, a real MLflow store, a release registered and live.

`project`, `store`, `registry`, `data` and `champion` are made once and shared: read them. A test that changes something
takes `own_project`: a copy of its own, made in a moment.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from hydra_ml.io.mlflow.registry import Registry
from hydra_ml.io.params_file import load_params
from hydra_ml.jobs.nightly import register_chain
from hydra_ml.params import Params
from hydra_ml.tasks import get_task
from hydra_ml.tasks.task import Task


@dataclass(frozen=True)
class Project:
    """A working directory with one task, LaMP-2: root/params.yaml, root/data, root/.cache, root/.mlflow."""

    root: Path
    registry: Registry
    task: Task
    params: Params
    champion: str  # version of the release that is champion and challenger

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def cache(self) -> Path:
        return self.root / ".cache"

    @property
    def uri(self) -> str:
        return store_uri(self.root)


def store_uri(root: Path) -> str:
    return f"sqlite:///{root / '.mlflow' / 'mlflow.db'}"


@pytest.fixture(scope="session")
def project(chain, tmp_path_factory) -> Project:
    """LaMP-2, eight users, every stage run, one release registered and live. Read only."""
    root = tmp_path_factory.mktemp("project")
    task = get_task(chain.task)
    for stage in [path.name for path in chain.root.iterdir() if path.is_dir() and path.name != ".cache"]:
        shutil.copytree(chain.root / stage, root / "data" / stage / task.folder)
    shutil.copytree(chain.root / ".cache", root / ".cache")
    shutil.copy(chain.root / "params.yaml", root)
    registry = Registry(store_uri(root), cache=root / ".cache")
    params = load_params(root / "params.yaml")
    version = register_chain(task, params, data=root / "data", run_name="first", registry=registry)
    registry.point(task, {"champion": version})
    return Project(root, registry, task, params, version)


@pytest.fixture
def own_project(project, tmp_path, monkeypatch) -> Project:
    """A copy of `project` to change, which is the working directory meanwhile; its store holds the same versions.

    Files of those versions stay where they are, in `project`: a test that damages some registers them anew.
    """
    root = tmp_path / "project"
    shutil.copytree(project.root, root, ignore=shutil.ignore_patterns("artifacts"))
    monkeypatch.chdir(root)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store_uri(root))
    return Project(
        root, Registry(store_uri(root), cache=root / ".cache"), project.task, project.params, project.champion
    )


@pytest.fixture(scope="session")
def store(project) -> str:
    """The MLflow store's address."""
    return project.uri


@pytest.fixture(scope="session")
def registry(project) -> Registry:
    return project.registry


@pytest.fixture(scope="session")
def data(project) -> Path:
    """root/data, laid out as the jobs expect: data/<stage>/LaMP_2."""
    return project.data


@pytest.fixture(scope="session")
def champion(project) -> str:
    """The version of the release that is champion."""
    return project.champion
