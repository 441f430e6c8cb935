"""A request as params want it, and what of it one server takes, learned from its refusals, once a client."""

from __future__ import annotations

import json
import re
from typing import Any

import openai

from hydra_ml.llm.chat import Ask, request_seed
from hydra_ml.llm.failures import is_too_long
from hydra_ml.params import LLM

# Fields that may be left out, and what else a server may call one; none of them changes what is asked for.
RENAMED = {"max_tokens": "max_completion_tokens"}
OPTIONAL = ("seed", "temperature", "top_p", "stop", "n")


def build_request(params: LLM, ask: Ask, first_sample: int, n: int) -> dict[str, Any]:
    """The body of one request for n answers as the params want it, before the server's dialect."""
    system = [{"role": "system", "content": params.system}] if params.system else []
    request: dict[str, Any] = {
        "model": params.model,
        "messages": [*system, *ask.messages],
        "n": n,
        "temperature": ask.temperature,
        "max_tokens": ask.max_tokens,
        "seed": request_seed(ask, first_sample),
    }
    request |= {"top_p": params.top_p} if params.top_p is not None else {}
    request |= {"stop": params.stop} if params.stop else {}
    return {name: value for name, value in (request | params.extra_body).items() if name not in params.omit}


class Dialect:
    """Rewrites requests for one server."""

    def __init__(self) -> None:
        self.omitted: set[str] = set()
        self.renamed: dict[str, str] = {}

    @property
    def n_learned(self) -> int:
        """How many fields the server has refused so far."""
        return len(self.omitted) + len(self.renamed)

    def spoken(self, request: dict[str, Any]) -> dict[str, Any]:
        """The request as the server takes it."""
        kept = {name: value for name, value in request.items() if name not in self.omitted}
        return {self.renamed.get(name, name): value for name, value in kept.items()}

    def learn(self, error: Exception, request: dict[str, Any]) -> str:
        """What of the request the server refused by name and will not be sent again; "" if its words name nothing that
        can be spared. Asking for fewer answers at once is the client's affair, so `n` counts only where it is 1."""
        if not isinstance(error, openai.APIStatusError) or error.status_code not in (400, 422) or is_too_long(error):
            return ""
        named = _named(error)
        for name, other in RENAMED.items():
            if name in named and name not in self.renamed and name not in self.omitted:
                self.renamed[name] = other
                return f"{name} (sent as {other})"
        for name in OPTIONAL:
            if name in named and name not in self.omitted and not (name == "n" and request["n"] > 1):
                self.omitted.add(name)
                return name
        return ""


def _named(error: openai.APIStatusError) -> set[str]:
    """The request's fields that the error names: as its param, in quotes, or as a place in the body."""
    body = error.body if isinstance(error.body, dict) else {}
    param = body.get("param") or error.param
    if param:
        return {str(param)}
    text = json.dumps(error.body) if error.body else str(error)
    quoted = set(re.findall(r"[\"'`]+([a-z_]+)[\"'`]+", text.replace("\\", "")))
    return quoted & {*RENAMED, *OPTIONAL}
