"""A rival whose part for a user is a text that the LLM writes of them: it answers greedily, the text first in its
prompt.

Its control shows each user a stranger's text. That is another user's data in a prompt, so it runs only where it is
named; what the text adds, and to whom, is seen without it beside `zero_shot` and `rag_k1` or `rag_k4`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hydra_ml.answering.arms import Arm
from hydra_ml.answering.written import Writing
from hydra_ml.evaluation.methods.method import Method
from hydra_ml.tasks.task import Task


def written_rival(
    name: str,
    writing: Writing,
    told: str,
    *,
    paper: str,
    shown: Arm,
    fits: Callable[[Task], bool] = lambda task: True,
) -> Method:
    """The greedy answer to `shown`'s prompt, before it what the LLM wrote of the user."""
    arm = replace(shown, name=name, sampled=False, writing=writing)
    strange = replace(arm, name=f"{name}_swapped", of_stranger=True)
    return Method(
        name,
        told,
        75,
        "rival",
        lambda bench: bench.greedy(arm),
        (arm,),
        paper=paper,
        fits=fits,
        swapped=lambda bench: bench.greedy(strange),
        swapped_arms=(strange,),
    )
