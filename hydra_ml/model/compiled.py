"""Loops over numbers that no library has, in machine code made by numba."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function in machine code, which is kept beside the source or, if nobody can write there, in the user's own
    cache folder, or nowhere. Sums may be reordered; not from call to call."""
    options: dict[str, Any] = {"nogil": True, "fastmath": {"reassoc", "contract", "nsz"}}
    try:
        made: Callable[..., Any] = njit(cache=True, **options)(function)
    except RuntimeError:  # numba found no folder for it
        made = njit(**options)(function)
    return made
