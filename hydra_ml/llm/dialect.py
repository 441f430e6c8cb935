"""What one server takes of a request: learned from its refusals, once, and kept for the life of a client."""

from __future__ import annotations

import json
import re
from typing import Any

import openai

from hydra_ml.llm.failures import is_too_long

# Fields that may be left out, and what else a server may call one; none of them changes what is asked for.
RENAMED = {"max_tokens": "max_completion_tokens"}
OPTIONAL = ("seed", "temperature", "top_p", "stop", "n")


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
