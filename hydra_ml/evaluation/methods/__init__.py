"""The methods of the arena, one file each: its prompts, and how it answers. A new file with a METHOD is a new method.

`evaluate.methods` in params.yaml names those that run; nothing that no chosen method needs is asked of the LLM. Other
papers' methods stand in `evaluation.rivals`, and run only where they are named.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Sequence
from functools import lru_cache

from hydra_ml.answering.arms import SERVED, Arm, writings_of
from hydra_ml.errors import ParamsError
from hydra_ml.evaluation import rivals
from hydra_ml.evaluation.methods.method import Bench, Method, Predictions, swapped_control
from hydra_ml.params import LLM
from hydra_ml.tasks.task import Task

__all__ = [
    "Bench",
    "Method",
    "Predictions",
    "all_methods",
    "arms_of",
    "askable",
    "chosen_methods",
    "fitting_methods",
    "is_control",
    "is_floor",
    "is_hydra",
    "is_rival",
    "method_order",
    "named_by_all",
    "others_shown",
    "taught_arms",
    "unasked",
]
NEEDS_WRITER = "needs an LLM that writes; asked of a real one only"


def all_methods() -> dict[str, Method]:
    """Every method there is by name, floors first, then in the order of their place; each rival with its control."""
    own = [f"{__name__}.{module.name}" for module in pkgutil.iter_modules(__path__) if module.name != "method"]
    return _loaded((*own, *(f"{rivals.__name__}.{module.name}" for module in pkgutil.iter_modules(rivals.__path__))))


@lru_cache(maxsize=4)
def _loaded(modules: tuple[str, ...]) -> dict[str, Method]:
    found: list[Method] = [importlib.import_module(module).METHOD for module in modules]
    found += [swapped_control(method) for method in found if method.swapped]
    return {method.name: method for method in sorted(found, key=lambda method: (method.place, method.name))}


def chosen_methods(names: Sequence[str] | None) -> list[Method]:
    """The methods of these names (None: all but rivals), in order; rivals bring their controls, unless these show other
    users' data. Raises ParamsError for a name that is none."""
    known = all_methods()
    if names is None:
        return [method for method in known.values() if not method.paper]
    strange = [name for name in names or () if name not in known]
    if strange:
        raise ParamsError(
            f"evaluate.methods: there is no method {strange[0]!r}; there are {', '.join(known)}. Name some of these, "
            "or null for all but the rivals; a new one is a file in hydra_ml/evaluation/methods/."
        )
    controls = [f"{name}_swapped" for name in names if known[name].swapped and not is_control(name)]
    wanted = {*names, *(control for control in controls if not known[control].others)}
    return [method for method in known.values() if method.name in wanted]


def fitting_methods(
    names: Sequence[str] | None, task: Task, *, has_reranker: bool, llm: LLM | None = None
) -> list[Method]:
    """Those of `chosen_methods` that the task has, and that tell something of it without a reranker. Raises ParamsError
    if that leaves none, or none that the LLM can be asked for."""
    chosen = [method for method in chosen_methods(names) if method.fits(task)]
    telling = [method for method in chosen if has_reranker or not method.tells_of_reranker]
    if not telling:
        without = " without a reranker (annotate.queries_per_user is 0)" if chosen else ""
        raise ParamsError(
            f"evaluate.methods: {', '.join(names or ())} is no method that {task.name} has{without}. "
            "Name another one too, or null for all; `hydra-ml methods` lists them."
        )
    if llm and not askable(telling, llm):
        raise ParamsError(
            f"evaluate.methods: {', '.join(names or ())}, of {llm.model}: {NEEDS_WRITER}. Name another too."
        )
    return telling


def named_by_all() -> list[str]:
    """All methods but those whose prompts show other users' data: these run only where they are named themselves."""
    return [method.name for method in all_methods().values() if not method.others]


def unasked(methods: Iterable[Method], llm: LLM) -> dict[str, str]:
    """Of the methods that have no honest result with this LLM: why."""
    return {method.name: NEEDS_WRITER for method in methods if writings_of(method.arms) and not llm.writes}


def askable(methods: Iterable[Method], llm: LLM) -> list[Method]:
    """The methods that are asked of this LLM."""
    without = unasked(methods := list(methods), llm)
    return [method for method in methods if method.name not in without]


def others_shown(methods: Iterable[Method]) -> list[str]:
    """A sentence on each method whose prompts show other users' data."""
    return [f"{method.name} shows the LLM {method.others}." for method in methods if method.others]


def arms_of(methods: Iterable[Method]) -> list[Arm]:
    """The prompts the methods need, each once."""
    return list(dict.fromkeys(arm for method in methods for arm in method.arms))


def taught_arms(methods: Iterable[Method]) -> list[Arm]:
    """The prompts under which training queries are asked, each once: the served ones, and what methods learn from."""
    return list(dict.fromkeys((*SERVED, *(arm for method in methods for arm in method.taught))))


def method_order(methods: Sequence[str]) -> list[str]:
    """The methods once each, in the order of `all_methods`, unknown ones after these by name."""
    known = list(all_methods())
    return sorted(set(methods), key=lambda m: (known.index(m) if m in known else len(known), m))


def is_rival(method: str) -> bool:
    """Whether a method is another paper's, or the control of such."""
    return method in all_methods() and all_methods()[method].paper != ""


def is_hydra(method: str) -> bool:
    """Whether a method is one of HYDRA's own variants."""
    return method in all_methods() and all_methods()[method].family == "hydra"


def is_control(method: str) -> bool:
    """Whether a method cannot be had: a stranger's heads, or a choice by who knows the answer."""
    return method in all_methods() and all_methods()[method].family == "control"


def is_floor(method: str) -> bool:
    """Whether a method needs no LLM: what a person could do without one."""
    return method in all_methods() and all_methods()[method].family == "floor"
