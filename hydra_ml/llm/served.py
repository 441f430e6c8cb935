"""Which model a server has behind a name, as far as it tells: part of the key of every answer it gives.

Another file, or another server, under the same name is another model, whose answers are not these.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import openai

from hydra_ml.llm.chat import AnswerStore
from hydra_ml.params import LLM

TELL_S = 5.0  # a server that takes longer to say what it serves is as one that does not say
# What stays as it is while the model does. Left out: dates and permissions, which are new at each start, and what says
# how the model is run (context, slots), not which it is.
_STABLE = ("id", "root", "parent", "owned_by", "digest", "sha256", "revision")
_STABLE_META = ("digest", "sha256", "ftype", "n_params", "n_vocab", "n_embd", "n_ctx_train", "size", "vocab_type")
_NO_ANSWER = (408, 425, 429)  # and 5xx: another time it may say more


def identity_of(params: LLM, served: str) -> str:
    """Whose answers these are, as the cache's keys have it; as ever where the server tells nothing of its model."""
    return json.dumps([params.identity, served]) if served else params.identity


def served_of(identity: str) -> str:
    """What the server told, of an identity of `identity_of`; "" where it told nothing."""
    try:
        found = json.loads(identity)
    except ValueError:
        return ""
    return found[1] if isinstance(found, list) and len(found) == 2 and isinstance(found[1], str) else ""


def read_served(listed: object, model: str) -> str:
    """What stays the same of the model's entry in a /models body, as text; "" if that is no more than its name."""
    entries = listed.get("data") if isinstance(listed, Mapping) else None
    found = (
        _entry([entry for entry in entries if isinstance(entry, Mapping)], model) if isinstance(entries, list) else {}
    )
    told: dict[str, Any] = {**_plain(found, _STABLE)}
    meta = found.get("meta")
    if isinstance(meta, Mapping) and (plain := _plain(meta, _STABLE_META)):
        told["meta"] = plain
    return "" if told.keys() <= {"id"} and told.get("id", model) == model else json.dumps(told, sort_keys=True)


async def ask_served(client: openai.AsyncOpenAI, model: str, memory: AnswerStore) -> str:
    """What the server tells of the model, as `read_served`; what it last told, if it cannot be asked at the moment: an
    answer is not bought twice because a server was busy. Never raises for the server's sake."""
    # A digest, for an address may hold a password.
    name = hashlib.blake2b(f"{client.base_url} {model}".encode(), digest_size=16).hexdigest()
    try:
        async with asyncio.timeout(TELL_S):
            listed = await client.with_options(max_retries=0).get("/models", cast_to=object)
    except (openai.APIConnectionError, TimeoutError):
        return memory.told(name)
    except openai.APIStatusError as error:
        if error.status_code in _NO_ANSWER or error.status_code >= 500:
            return memory.told(name)
        listed = None
    except (openai.APIError, ValueError, RecursionError):  # no JSON, though it says so, or too deep
        listed = None
    served = read_served(listed, model)
    if served != memory.told(name):
        memory.tell(name, served)
    return served


class Fingerprints:
    """Notices when a server says in mid-run that its answers come from another setup than before."""

    def __init__(self) -> None:
        self._first = ""
        self._has_told = False

    def changed(self, body: object) -> str:
        """The first and the new `system_fingerprint`, the first time that they differ; else ""."""
        found = body.get("system_fingerprint") if isinstance(body, Mapping) else None
        if not isinstance(found, str) or not found or self._has_told:
            return ""
        self._first = self._first or found
        self._has_told = found != self._first
        return f"{self._first[:80]!r}, now {found[:80]!r}" if self._has_told else ""


def _entry(entries: list[Mapping[str, Any]], model: str) -> Mapping[str, Any]:
    """The model's own entry, or the only one: servers of a single file answer to any name."""
    for entry in entries:
        aliases = entry.get("aliases")
        if entry.get("id") in (model, f"{model}:latest") or (isinstance(aliases, list) and model in aliases):
            return entry
    return entries[0] if len(entries) == 1 else {}


def _plain(entry: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, str | int | float]:
    """The named values that are text or numbers; what a server leaves empty, it does not tell."""
    values = {name: entry.get(name) for name in names}
    return {name: value for name, value in values.items() if isinstance(value, str | int | float) and value != ""}
