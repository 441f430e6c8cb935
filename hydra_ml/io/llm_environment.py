"""What the environment says of the LLM: OPENAI_BASE_URL, OPENAI_API_KEY and OPENAI_MODEL, read nowhere else."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from hydra_ml.errors import ParamsError
from hydra_ml.params import LLM

OFFLINE = "offline-minilm"  # the embedded model's name, `offline.model.MODEL_NAME`

_NIGHT = "HYDRA_NIGHT"


def variable(name: str) -> str:
    """The variable's value without blanks around it; "" if it is not set."""
    return os.environ.get(name, "").strip()


def model_from_environment() -> str:
    """OPENAI_MODEL, or the offline model where that is not set."""
    return variable("OPENAI_MODEL") or OFFLINE


def night() -> str:
    """The name of the night whose budget counts, `llm.night` in params.yaml; "" if there is none."""
    return variable(_NIGHT)


@contextmanager
def in_night(name: str) -> Iterator[None]:
    """What asks the LLM meanwhile, here and in processes begun here, draws on one night's budget. Within another
    night, that one goes on."""
    if night():
        yield
        return
    os.environ[_NIGHT] = name
    try:
        yield
    finally:
        del os.environ[_NIGHT]


def check_named_model(params: LLM) -> None:
    """Raises ParamsError if OPENAI_MODEL names another model than params.yaml: a run would not ask the one meant.

    For what is made anew from params.yaml. A release keeps the LLM it was made with, whatever OPENAI_MODEL says.
    """
    named = variable("OPENAI_MODEL")
    if named and named != params.model:
        raise ParamsError(
            f"OPENAI_MODEL is {named!r}, but llm.model in params.yaml is {params.model!r}. `make run` writes the first "
            "into params.yaml (or edit it); or unset OPENAI_MODEL."
        )
