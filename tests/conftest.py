"""One small chain of all stages per session, run through the stages' own mains; each stage's tests look at its part."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import logging
import shutil
import subprocess
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ruamel.yaml import YAML

from hydra_ml.io.lamp.files import Question, write_split
from hydra_ml.params import Params
from hydra_ml.sample import generate
from hydra_ml.tasks import get_task
from tests.servers import RunningServer

# Option of each stage -> the folder it names, in the order of dvc.yaml.
CHAIN = {
    "prepare": {"raw": "raw", "history": "history", "feedback": "feedback"},
    "validate": {"prepared": "prepare"},
    "retrieve": {"prepared": "prepare"},
    "annotate": {"prepared": "prepare", "retrieved": "retrieve"},
    "train_reranker": {"prepared": "prepare", "retrieved": "retrieve", "annotated": "annotate"},
    "rerank": {"prepared": "prepare", "retrieved": "retrieve", "reranker": "train_reranker"},
    "generate": {"prepared": "prepare", "retrieved": "retrieve", "reranked": "rerank"},
    "train_adapter": {"prepared": "prepare", "generated": "generate"},
    "evaluate": {
        "prepared": "prepare",
        "retrieved": "retrieve",
        "annotated": "annotate",
        "reranked": "rerank",
        "generated": "generate",
        "adapter": "train_adapter",
    },
    "arena": {"prepared": "prepare", "retrieved": "retrieve", "reranked": "rerank", "evaluated": "evaluate"},
}
WITHOUT_CACHE = {"prepare", "validate", "arena"}


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With several workers a file's tests stay together, and those of the flows, which share one stack of servers."""
    for item in items:
        folder = item.path.parent
        item.add_marker(pytest.mark.xdist_group("flows" if folder.name == "flows" else str(item.path)))


@dataclass
class Chain:
    """A workspace of one task in which stages have run."""

    root: Path
    task: str
    summaries: dict[str, dict]

    def run(self, stage: str, *extra: str) -> int:
        """Run one stage's main; its exit code."""
        options = ["--task", self.task, "--params", str(self.root / "params.yaml"), "--out", str(self.root / stage)]
        for option, folder in CHAIN[stage].items():
            options += [f"--{option}", str(self.root / folder)]
        if stage not in WITHOUT_CACHE:
            options += ["--cache", str(self.root / ".cache")]
        return importlib.import_module(f"hydra_ml.stages.{stage}").main([*options, *extra])

    def path(self, stage: str, name: str) -> Path:
        return self.root / stage / name


def small_params() -> dict:
    document = Params().model_dump(by_alias=True)
    document["annotate"]["queries_per_user"] = 4
    document["generate"].update(queries_per_user=8, n_samples=4)
    for section in ("train_reranker", "train_adapter"):
        # Eight users tell too little for a gain to be sure of: heads are asked for, since most tests are about them.
        document[section].update(epochs=2, width=8, ridge=[3.0, 30.0], personal="always")
    document["evaluate"]["resamples"] = 200
    return document


def build_chain(root: Path, task: str, *, n_users: int, seed: int, dated: bool = True) -> Chain:
    """dated: time-based files; else user-based ones, where every question is a user of its own."""
    sample = generate(task, seed=seed, n_users=n_users)
    for split, entries in sample.questions.items():
        questions = [Question(e["id"], e["input"], tuple(e["profile"]), e["user_id"], e["date"]) for e in entries]
        if not dated:
            bare = [tuple({k: v for k, v in item.items() if k != "date"} for item in q.profile) for q in questions]
            questions = [Question(q.question_id, q.input, items) for q, items in zip(questions, bare, strict=True)]
        write_split(root / "raw", split, get_task(task), questions, sample.golds[split])
    with (root / "params.yaml").open("w") as file:
        YAML().dump(small_params(), file)
    return Chain(root, task, {})


def run_chain(built: Chain) -> Chain:
    """Every stage run once, its summary kept."""
    for stage in CHAIN:
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            assert built.run(stage) == 0, stage
        built.summaries[stage] = json.loads(out.getvalue())
    return built


@pytest.fixture(scope="session")
def chain(tmp_path_factory) -> Chain:
    """LaMP-2, eight users, every stage run once."""
    return run_chain(build_chain(tmp_path_factory.mktemp("chain"), "LaMP_2", n_users=8, seed=3))


def small_chain(root: Path, task: str = "LaMP_2", *, dated: bool = True, **sections: dict) -> Chain:
    """A chain of four users, run, with sections of params.yaml changed."""
    built = build_chain(root, task, n_users=4, seed=3, dated=dated)
    document = small_params()
    document["annotate"]["queries_per_user"] = document["generate"]["queries_per_user"] = 3
    document["prepare"].update(train_users=12, evaluate_users=12)
    for section, changes in sections.items():
        document[section].update(changes)
    with (built.root / "params.yaml").open("w") as file:
        YAML().dump(document, file)
    return run_chain(built)


@pytest.fixture
def make_chain(tmp_path) -> Callable[..., Chain]:
    """Builds and runs a small chain of one's own: `make_chain(task, dated=True, **sections of params.yaml)`."""
    return lambda task, **changes: small_chain(tmp_path / task, task, **changes)


@pytest.fixture(autouse=True)
def no_stale_log_handlers():
    """A stage run in process logs to the stderr of its test, which is closed when the test ends: take it away again."""
    yield
    for handler in [h for h in logging.root.handlers if type(h) is logging.StreamHandler]:
        logging.root.removeHandler(handler)


def make_versioned(root: Path) -> Path:
    """Make a folder a git repository with this project's settings of DVC; `.dvc-remote` inside is its remote."""
    source = Path(__file__).parents[1]
    for name in (
        ".dvcignore",
        ".gitignore",
        ".dvc/config",
        ".dvc/.gitignore",
        "data/.gitignore",
        "dvc.yaml",
        "tasks/README.md",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source / name, root / name)
    for arguments in (["init", "-q"], ["config", "user.email", "ann@example.org"], ["config", "user.name", "Ann"]):
        subprocess.run(["git", *arguments], cwd=root, check=True)
    return root


@pytest.fixture
def versioned(tmp_path) -> Path:
    """A project that is versioned and has nothing in data/ yet."""
    root = make_versioned(tmp_path / "versioned")
    shutil.copy(Path(__file__).parents[1] / "params.yaml", root)
    subprocess.run(["git", "add", "."], cwd=root, check=True)
    subprocess.run(["git", "commit", "-qm", "start"], cwd=root, check=True)
    return root


def bag_of_words(texts: Sequence[str]) -> np.ndarray:
    """Unit vectors [N, 64] that share direction where texts share words."""
    vectors = np.full((len(texts), 64), 1e-3, dtype=np.float32)
    for row, text in enumerate(texts):
        for word in text.lower().replace(".", " ").replace(",", " ").split():
            vectors[row, zlib.crc32(word.encode()) % 64] += 1.0
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture
def encode() -> Callable[[Sequence[str]], np.ndarray]:
    return bag_of_words


@pytest.fixture
def start_server() -> Iterator[Callable[[Any], RunningServer]]:
    servers: list[RunningServer] = []

    def start(app: Any) -> RunningServer:
        servers.append(RunningServer(app))
        return servers[-1]

    yield start
    for server in servers:
        server.close()
