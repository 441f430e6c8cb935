"""The names that programs may rely on: documented, typed, there; and `import hydra_ml` costs nothing."""

from __future__ import annotations

import inspect
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import hydra_ml

ROOT = Path(__file__).parents[2]
DOC = (ROOT / "docs/own_task.md").read_text("utf-8")


@pytest.mark.parametrize("name", hydra_ml.__all__)
def test_every_name_is_there_documented_and_typed(name: str) -> None:
    assert f"`{name}`" in DOC
    found = getattr(hydra_ml, name)
    if inspect.isfunction(found):
        signature = inspect.signature(found)
        assert signature.return_annotation is not inspect.Signature.empty
        assert all(one.annotation is not inspect.Parameter.empty for one in signature.parameters.values())
        assert found.__doc__


def test_another_name_is_refused_with_those_there_are() -> None:
    with pytest.raises(AttributeError, match="score_requests"):
        hydra_ml.something  # noqa: B018
    assert dir(hydra_ml) == sorted(hydra_ml.__all__)


def test_the_package_alone_imports_nothing_heavy() -> None:
    told = "import sys, hydra_ml; print([name for name in ('torch', 'pandas', 'mlflow') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_an_installed_package_holds_all_that_is_no_code():
    """An editable install finds everything in the checkout; a wheel, as in the image, only what is declared."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["package-data"]
    places = [(ROOT / package.replace(".", "/"), glob) for package, globs in declared.items() for glob in globs]
    shipped = {path for place, glob in places for path in place.glob(glob)}
    listed = subprocess.run(["git", "ls-files", "hydra_ml"], cwd=ROOT, capture_output=True, text=True, check=True)
    needed = {ROOT / name for name in listed.stdout.splitlines() if not name.endswith(".py")}
    assert needed, "no git here?"
    assert not needed - shipped
