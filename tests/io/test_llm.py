import logging
import socket
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hydra_ml.errors import BudgetExceeded, LLMError, ParamsError
from hydra_ml.io.llm import open_llm
from hydra_ml.io.llm_environment import (
    OFFLINE,
    asked_model,
    check_named_model,
    check_server,
    in_night,
    named_model,
    shown,
)
from hydra_ml.llm.chat import Ask
from hydra_ml.offline.model import MODEL_NAME
from hydra_ml.params import LLM, Allowance

ASKS = [
    Ask(
        ({"role": "user", "content": f"Which? tags: [funny, sad] text: a funny thing number {i}"},),
        n=3,
        temperature=1.0,
    )
    for i in range(10)
]


def encode(texts: Sequence[str]) -> np.ndarray:
    rows = np.array([[1.0 + ("funny" in text), 1.0 + ("sad" in text)] for text in texts], dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture(autouse=True)
def no_server_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY", "OPENAI_MODEL"):
        monkeypatch.delenv(name, raising=False)


def test_the_offline_model_needs_no_network_and_remembers(tmp_path: Path) -> None:
    with open_llm(LLM(), cache=tmp_path / "cache.sqlite", encode=encode) as llm:
        first = llm.ask_all(ASKS, label="test")
        assert llm.usage.calls == 10
    with open_llm(LLM(), cache=tmp_path / "cache.sqlite", encode=encode) as llm:
        second = llm.ask_all(ASKS, label="test")
        assert llm.usage.calls == 0
    assert [reply.answers for reply in second] == [reply.answers for reply in first]
    assert {answer for reply in first for answer in reply.answers} == {"funny", "sad"}


def test_the_cache_holds_no_prompt(tmp_path: Path) -> None:
    with open_llm(LLM(), cache=tmp_path / "cache.sqlite", encode=encode) as llm:
        llm.ask_all(ASKS, label="test")
    content = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"funny" in content  # an answer
    assert b"thing number" not in content


def test_the_offline_model_says_that_it_needs_an_encoder() -> None:
    with pytest.raises(ParamsError, match="text encoder"), open_llm(LLM(), cache=None):
        pass


def test_everything_missing_is_named_at_once() -> None:
    with pytest.raises(ParamsError) as caught, open_llm(LLM(model="gpt-x"), cache=None):
        pass
    message = str(caught.value)
    assert "OPENAI_BASE_URL" in message
    assert "OPENAI_API_KEY" in message
    assert "offline-minilm" in message


@pytest.mark.parametrize("address", ["api.example.com/v1", "ftp://example.com", "http://"])
def test_an_address_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", address)
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    with pytest.raises(ParamsError, match="no http or https address"), open_llm(LLM(model="gpt-x"), cache=None):
        pass


@pytest.mark.parametrize("model", ["offline-minilm", "gpt-x"])
def test_two_model_names_are_one_too_many(monkeypatch: pytest.MonkeyPatch, model: str) -> None:
    monkeypatch.setenv("OPENAI_MODEL", "gpt-y")
    assert named_model() == "gpt-y"
    with pytest.raises(ParamsError, match=r"gpt-y.*make run"):
        check_named_model(LLM(model=model))
    check_named_model(LLM(model="gpt-y"))


def test_what_a_release_was_made_with_is_asked_whatever_the_environment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_MODEL", "gpt-y")
    with open_llm(LLM(), cache=None, encode=encode) as llm:
        assert llm.ask_all(ASKS[:1], label="test")[0].answers


def test_without_a_named_model_params_decide() -> None:
    assert named_model() == ""
    assert OFFLINE == MODEL_NAME == LLM().model


def test_which_model_a_run_asks_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked_model(LLM()) == "offline-minilm, the stand-in of this package"
    check_server(LLM())
    assert asked_model(LLM(model="gpt-x")).endswith("OPENAI_BASE_URL is not set")
    monkeypatch.setenv("OPENAI_BASE_URL", "https://me:secret@host/v1")
    assert asked_model(LLM(model="gpt-x")) == "gpt-x at host/v1"
    assert "host/v1 is not asked: neither OPENAI_MODEL nor llm.model" in asked_model(LLM())


def test_secrets_of_an_address_are_not_shown() -> None:
    assert shown("https://me:secret@host/v1?token=abc") == "host/v1"


def test_an_unreachable_server_is_named_and_the_key_is_never_shown(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{port}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret-0042")
    params = LLM(model="gpt-x", max_attempts=2, max_wait_s=0.05)
    with open_llm(params, cache=None) as llm:
        assert "sk-very" not in repr(llm) + repr(vars(llm))
        with pytest.raises(LLMError, match=f"127.0.0.1:{port} cannot be reached") as told:
            llm.ask_all(ASKS, label="test")
    assert "sk-very" not in caplog.text + str(told.value)


def test_all_that_asks_in_a_night_draws_on_one_budget(tmp_path: Path) -> None:
    cache = tmp_path / "cache.sqlite"
    params = LLM(night=Allowance(max_calls=14))
    more = [replace(ask, seed=ask.seed + 1) for ask in ASKS]
    with in_night("monday"), in_night("a run within it"):
        with open_llm(params, cache=cache, encode=encode) as llm:
            llm.ask_nearly_all(ASKS, label="annotate")
        with (
            open_llm(params, cache=cache, encode=encode) as llm,
            pytest.raises(BudgetExceeded, match=r"10 calls, but 10 of llm\.night\.max_calls = 14 are used"),
        ):
            llm.ask_nearly_all(more, label="generate")
    with in_night("tuesday"), open_llm(params, cache=cache, encode=encode) as llm:
        assert all(reply.answers[0] for reply in llm.ask_nearly_all(more, label="generate"))
    with open_llm(params, cache=cache, encode=encode) as llm:
        llm.ask_all(ASKS, label="by hand")
