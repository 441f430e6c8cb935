"""What of a request one server takes, learned from its refusals, once a client."""

from __future__ import annotations

import re
from typing import Any

from hydra_ml.llm.complaint import Complaint, complaint_of, refused_places
from hydra_ml.llm.failures import is_too_long

# Fields that may be left out, and what else a server may call one; none of them changes what is asked for: where an
# answer ends is also seen from here (`cut_at`).
RENAMED = {"max_tokens": "max_completion_tokens"}
OPTIONAL = ("seed", "temperature", "top_p", "stop", "n")
SYSTEM = "system"  # the turn, said at the beginning of the user's first where a chat template knows none
_ALIASES = {"best_of": "n", "n_cmpl": "n", "max_new_tokens": "max_tokens"}
_ANY = "|".join((*RENAMED, *OPTIONAL, *_ALIASES))
# A field named without quotes, as the subject or the object of what servers say of fields.
_SUBJECT = re.compile(
    rf"(?<![\w'])({_ANY})\b[\"'`]?:? (?:does not support|(?:is|are) (?:not|un)|must|not (?:permitted|allowed|supported)"
    r"|cannot|should be|array too long|extra)"
)
_OBJECT = re.compile(
    rf"(?:un(?:known|supported|recognized|expected)|not support|extra)\b[^.\"'`]{{0,40}}? ({_ANY})\b", re.IGNORECASE
)
_QUOTED = re.compile(r"[\"'`]([a-z_]+)[\"'`]")
_NO_SYSTEM = re.compile(
    r"system (?:role|message|prompt)s?(?: is| are)? not supported|does not support '?system|not support (?:the )?"
    r"(?:system|developer)|roles? must alternate|only user(?:,| and) assistant|unsupported role.{0,20}system",
    re.IGNORECASE,
)
# max_tokens is sent under another name only if the name, not the number, is what is refused.
_NO_NAME = re.compile(r"max_completion_tokens|unsupported|not supported|unrecognized|unknown|extra|unexpected", re.I)


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
        if SYSTEM in self.omitted:
            kept["messages"] = _without_system(request["messages"])
        return {self.renamed.get(name, name): value for name, value in kept.items()}

    def learn(self, error: Exception, request: dict[str, Any]) -> str:
        """What of the request the server refused by name and will not be sent again; "" if its words name nothing that
        can be spared. Asking for fewer answers at once is the client's affair, so `n` counts only where it is 1."""
        complaint = complaint_of(error)
        if complaint is None or is_too_long(complaint):
            return ""
        if self._refuses_system(complaint, request):
            self.omitted.add(SYSTEM)
            return "a system turn (said at the beginning of the first question)"
        if complaint.status not in (0, 400, 422):
            return ""
        named = _named(complaint) & set(request)
        for name, other in RENAMED.items():
            if name in named and name not in {*self.renamed, *self.omitted} and _NO_NAME.search(complaint.words):
                self.renamed[name] = other
                return f"{name} (sent as {other})"
        for name in OPTIONAL:
            if name in named and name not in self.omitted and not (name == "n" and request["n"] > 1):
                self.omitted.add(name)
                return name
        return ""

    def _refuses_system(self, complaint: Complaint, request: dict[str, Any]) -> bool:
        has_system = request["messages"][0]["role"] == "system" and SYSTEM not in self.omitted
        return has_system and complaint.status in (400, 422, 500) and bool(_NO_SYSTEM.search(complaint.words))


def _named(complaint: Complaint) -> set[str]:
    """The request's fields that the error names: as its param, as a place in the body, or in its words; what it echoes
    of the request names nothing."""
    known = {*RENAMED, *OPTIONAL, *_ALIASES}
    places = refused_places(complaint.body) & known
    found = places or set(_QUOTED.findall(complaint.words)) & known
    if not found:
        found = {*_SUBJECT.findall(complaint.words), *_OBJECT.findall(complaint.words)}
    return {_ALIASES.get(name, name) for name in found}


def _without_system(messages: list[dict[str, str]]) -> list[dict[str, str]]:
    """The chat with its system turn said at the beginning of the first question."""
    if messages[0]["role"] != "system":
        return messages
    first = messages[1]
    return [{**first, "content": f"{messages[0]['content']}\n\n{first['content']}"}, *messages[2:]]
