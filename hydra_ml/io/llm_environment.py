"""What the environment says of the LLM: OPENAI_BASE_URL, OPENAI_API_KEY and OPENAI_MODEL, read nowhere else."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from hydra_ml.errors import ParamsError
from hydra_ml.params import LLM

OFFLINE = "offline-minilm"  # the embedded model's name, `offline.model.MODEL_NAME`

_NIGHT = "HYDRA_NIGHT"


def variable(name: str) -> str:
    """The variable's value without blanks around it; "" if it is not set."""
    return os.environ.get(name, "").strip()


def named_model() -> str:
    """OPENAI_MODEL; "" where that is not set, and llm.model in params.yaml stays as it is."""
    return variable("OPENAI_MODEL")


def check_server(params: LLM) -> None:
    """Raises ParamsError that lists everything amiss with the server's address and key, unless none is needed."""
    address = variable("OPENAI_BASE_URL")
    problems = []
    if not address:
        problems.append("OPENAI_BASE_URL is not set (the server's address, for example https://api.openai.com/v1)")
    elif urlsplit(address).scheme not in ("http", "https") or not urlsplit(address).hostname:
        problems.append(f"OPENAI_BASE_URL is no http or https address with a host (found {shown(address)!r})")
    if not variable("OPENAI_API_KEY"):
        problems.append("OPENAI_API_KEY is not set (the server's key, or any word if it needs none)")
    if problems and params.model != OFFLINE:
        raise ParamsError(
            f"llm.model {params.model!r} in params.yaml cannot be asked: {'; '.join(problems)}. For a run without any "
            f"server set llm.model to {OFFLINE!r}; for a model on this machine, `make run LLM=local`."
        )


def asked_model(params: LLM) -> str:
    """For people: which model a run asks, and where."""
    if params.model != OFFLINE:
        return f"{params.model} at {shown(variable('OPENAI_BASE_URL')) or 'no address yet: OPENAI_BASE_URL is not set'}"
    server = shown(variable("OPENAI_BASE_URL"))
    unasked = f"; {server} is not asked: neither OPENAI_MODEL nor llm.model names a model of it" if server else ""
    return f"{OFFLINE}, the stand-in of this package{unasked}"


def shown(address: str) -> str:
    """The address without user name, password and query, fit to be printed."""
    return address.rpartition("@")[2].partition("?")[0]


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
