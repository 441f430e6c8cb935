"""Machine code is kept if it can be, and made all the same if not."""

import numpy as np

from hydra_ml.model import compiled as compiling
from hydra_ml.model.compiled import compiled
from hydra_ml.model.newton import _dot


def test_without_a_folder_to_keep_machine_code_in_it_is_made_anew(monkeypatch):
    real = compiling.njit

    def njit(**options):
        if options.pop("cache", False):
            raise RuntimeError("cannot cache function: no locator available")
        return real(**options)

    monkeypatch.setattr(compiling, "njit", njit)
    again = compiled(_dot.py_func)
    assert again(np.arange(3.0), np.ones(3)) == 3.0
