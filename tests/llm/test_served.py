"""What a server tells of its model is part of the key of its answers; one that tells nothing keeps the old keys."""

from __future__ import annotations

import json
from typing import Any

import pytest
from starlette.responses import JSONResponse, PlainTextResponse, Response

from hydra_ml.llm.chat import MemoryStore
from hydra_ml.llm.served import Fingerprints, identity_of, read_served, served_of
from hydra_ml.params import LLM
from tests.llm.scripted_server import ScriptedServer, completion, refuse

GGUF = {"vocab_type": 2, "n_vocab": 49152, "n_ctx_train": 8192, "n_embd": 576, "n_params": 134515008, "size": 96576768}
LLAMA_CPP = {
    "id": "m",
    "aliases": ["m"],
    "created": 1795814060,
    "owned_by": "llamacpp",
    "meta": {**GGUF, "n_ctx": 4096},
}
VLLM = {
    "id": "m",
    "created": 1700000000,
    "owned_by": "vllm",
    "root": "org/some-7b",
    "parent": None,
    "max_model_len": 4096,
    "permission": [{"id": "modelperm-1f0a", "created": 1700000000}],
}


def listed(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"object": "list", "data": list(entries)}


def restarted(entry: dict[str, Any]) -> dict[str, Any]:
    """The same model after the server was started again, with more room."""
    again = {**entry, "created": 1800000000, "max_model_len": 9999, "permission": [{"id": "modelperm-77"}]}
    return again | ({"meta": {**entry["meta"], "n_ctx": 8192}} if "meta" in entry else {})


@pytest.mark.parametrize("entry", [LLAMA_CPP, VLLM])
def test_a_server_started_again_is_the_same(entry: dict[str, Any]) -> None:
    told = read_served(listed(entry), "m")
    assert told
    assert read_served(listed(restarted(entry)), "m") == told
    assert (
        not {"created", "permission", "max_model_len", "n_ctx"}
        & (json.loads(told) | json.loads(told).get("meta", {})).keys()
    )


@pytest.mark.parametrize(
    "other",
    [
        {**LLAMA_CPP, "meta": {**GGUF, "size": 96576769}},
        {**LLAMA_CPP, "meta": {**GGUF, "n_params": 1}},
        {**LLAMA_CPP, "owned_by": "vllm"},
        {**LLAMA_CPP, "root": "org/other"},
        {**LLAMA_CPP, "digest": "sha256:77"},
    ],
)
def test_another_file_or_server_under_the_name_is_another(other: dict[str, Any]) -> None:
    assert read_served(listed(other), "m") != read_served(listed(LLAMA_CPP), "m")


def test_of_several_models_it_is_the_one_that_is_asked() -> None:
    other = {"id": "other", "owned_by": "someone"}
    assert read_served(listed(other, VLLM), "m") == read_served(listed(VLLM), "m")
    assert read_served(listed(other, {**LLAMA_CPP, "id": "file.gguf"}), "m"), "found by its alias"
    assert "llama3:latest" in read_served(listed(other, {"id": "llama3:latest", "owned_by": "library"}), "llama3")
    assert read_served(listed({"id": "/models/some.gguf"}), "m"), "a server of one file answers to any name"


@pytest.mark.parametrize(
    "body",
    [
        None,
        "text",
        [],
        {},
        {"data": None},
        {"data": ["m", 3]},
        listed(),
        listed({"id": "other"}, {"id": "another"}),
        listed({"id": "m", "created": 3, "meta": None, "owned_by": "", "root": {"a": 1}}),
    ],
)
def test_a_server_that_tells_no_more_than_the_name_keeps_the_keys_it_had(body: object) -> None:
    assert read_served(body, "m") == ""
    assert identity_of(LLM(model="m"), "") == "m"


@pytest.mark.parametrize(
    "told", [None, PlainTextResponse("<html>hello</html>"), refuse(403), refuse(500), PlainTextResponse("{")]
)
def test_a_server_that_cannot_tell_is_asked_all_the_same(scripted, connect, ask, told: Response | None) -> None:
    server, address = scripted()
    server.models = told
    client = connect(address)
    assert client.ask_all([ask("q")], label="test")[0].answers == ("q 0",)
    assert client.identity() == "some-model"
    client.ask_all([ask("r")], label="test")
    assert server.n_listed == 1, "once a client"


def ask_it(server: ScriptedServer, address: str, entry: dict[str, Any], connect, ask, cache: MemoryStore) -> int:
    """How many requests one question takes."""
    server.models = JSONResponse(listed(entry))
    before = len(server.bodies)
    connect(address, cache=cache).ask_all([ask("q")], label="test")
    return len(server.bodies) - before


def test_another_file_under_the_name_does_not_get_the_old_answers(scripted, connect, ask) -> None:
    server, address = scripted()
    cache = MemoryStore()
    assert ask_it(server, address, LLAMA_CPP, connect, ask, cache) == 1
    assert ask_it(server, address, restarted(LLAMA_CPP), connect, ask, cache) == 0
    assert ask_it(server, address, {**LLAMA_CPP, "meta": {**GGUF, "size": 7}}, connect, ask, cache) == 1
    assert ask_it(server, address, LLAMA_CPP, connect, ask, cache) == 0


@pytest.mark.parametrize("trouble", [503, 429])
def test_a_server_too_busy_to_tell_is_what_it_last_said(scripted, connect, ask, trouble: int) -> None:
    server, address = scripted()
    cache = MemoryStore()
    assert ask_it(server, address, LLAMA_CPP, connect, ask, cache) == 1
    server.models = refuse(trouble)
    client = connect(address, cache=cache)
    assert client.ask_all([ask("q")], label="test")[0].cached
    assert "llamacpp" in client.identity()


def test_a_change_of_fingerprint_is_said_once(scripted, connect, ask, caplog) -> None:
    async def behave(number: int, body: dict[str, Any]) -> Response:
        content = json.loads(bytes(completion(body, body["n"]).body))
        return JSONResponse({**content, "system_fingerprint": f"fp_{number // 3}"})

    _, address = scripted(behave)
    connect(address, concurrency=1).ask_all([ask(f"q{i}") for i in range(8)], label="test")
    assert caplog.text.count("system_fingerprint was 'fp_0', now 'fp_1'") == 1
    assert caplog.text.count("system_fingerprint") == 1


def test_a_fingerprint_that_is_none_changes_nothing() -> None:
    seen = Fingerprints()
    bodies = [{"system_fingerprint": found} for found in (None, "", 3, "fp_1", None, "fp_1")]
    assert [seen.changed(body) for body in [*bodies, "text"]] == [""] * 7


def test_what_was_told_comes_back_out_of_an_identity():
    told = read_served(listed(LLAMA_CPP), "m")
    assert served_of(identity_of(LLM(model="m"), told)) == told
    assert served_of(identity_of(LLM(model="m"), "")) == ""
