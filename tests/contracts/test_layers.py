"""Imports go one way, and the core knows nothing of the world."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "hydra_ml"

# Lowest first. A module imports from its own layer or a lower one.
LAYERS = [
    {"records", "errors", "shown_text"},
    {"params", "tasks", "measures", "terminal", "predictions"},
    {"release", "learning", "model", "llm", "offline", "sample"},
    {"answering"},
    {"evaluation"},
    {"io"},
    {"serving"},
    {"stages"},
    {"jobs", "library"},
    {"cli", "__main__"},
]
# What only some places may import; "core" is everything below io.
WORLD = {
    "os",
    "pathlib",
    "socket",
    "sqlite3",
    "subprocess",
    "shutil",
    "tempfile",
    "urllib",
    "httpx",
    "httpx2",
    "requests",
}
ONLY_IN_IO = {"mlflow", "great_expectations", "dvc"}


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def level(part: str) -> int:
    found = [i for i, parts in enumerate(LAYERS) if part in parts]
    assert found, f"hydra_ml/{part} stands in no layer of this test: decide where it belongs"
    return found[0]


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names if node.module == "hydra_ml"}
    return names


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_downwards(path):
    for name in imported(path):
        parts = name.split(".")
        if parts[0] == "hydra_ml" and len(parts) > 1:
            assert level(parts[1]) <= level(part_of(path)), f"{path.name} imports {name}, which is a later layer"
        assert not (parts[0] in ONLY_IN_IO and part_of(path) != "io"), f"{name} belongs in hydra_ml/io"
        assert parts[0] not in {"prefect", "flows"}, f"{name} belongs in flows/"


@pytest.mark.parametrize(
    "path", [p for p in modules() if level(part_of(p)) < level("io")], ids=lambda p: str(p.relative_to(PACKAGE))
)
def test_the_core_does_not_touch_the_world(path):
    touched = {name.split(".")[0] for name in imported(path)} & WORLD
    assert not touched, f"{path.name} imports {touched}; files, network and environment are io's"
    calls = {ast.unparse(n.func) for n in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(n, ast.Call)}
    assert not calls & {"open", "print", "time.time", "datetime.now", "np.random.seed", "torch.set_num_threads"}


@pytest.mark.parametrize("path", [p for p in modules() if part_of(p) == "io"], ids=lambda p: p.stem)
def test_io_never_computes_an_answer_or_a_fit(path):
    rooms = {"hydra_ml.answering", "hydra_ml.model.factored", "hydra_ml.model.fit_heads", "hydra_ml.model.refit"}
    assert not {name for name in imported(path) if any(name.startswith(room) for room in rooms)}


def test_reranker_and_adapter_and_model_stand_apart():
    assert not any("hydra_ml.answering.adapter" in name for name in imported(PACKAGE / "answering/reranker.py"))
    assert not any("hydra_ml.answering.reranker" in name for name in imported(PACKAGE / "answering/adapter.py"))


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("hydra_ml.cli.main", {"torch", "transformers", "pandas", "great_expectations", "openai", "matplotlib"}),
        ("hydra_ml.stages.prepare", {"torch", "transformers", "great_expectations", "openai", "matplotlib"}),
        ("hydra_ml.stages.validate", {"torch", "transformers", "openai", "matplotlib"}),
        ("hydra_ml.stages.retrieve", {"torch", "transformers", "great_expectations", "openai", "matplotlib"}),
        ("hydra_ml.stages.annotate", {"torch", "transformers", "great_expectations", "matplotlib"}),
        ("hydra_ml.stages.generate", {"torch", "transformers", "great_expectations", "matplotlib"}),
    ],
)
def test_a_stage_loads_only_what_it_uses(module, heavy):
    code = f"import sys, {module}; print(*(name for name in {sorted(heavy)!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == []
