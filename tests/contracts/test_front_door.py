"""The names that programs may rely on: documented, typed, there; and `import hydra_ml` costs nothing."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import hydra_ml

DOC = (Path(__file__).parents[2] / "docs/own_task.md").read_text("utf-8")


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
