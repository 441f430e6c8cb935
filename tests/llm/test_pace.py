"""How fast an LLM is asked and what is spared, as the log and a stage's figures have it."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.responses import JSONResponse, Response

from hydra_ml.llm.budget import Usage
from hydra_ml.llm.chat import Ask, MemoryStore
from hydra_ml.llm.completion import shared_tokens
from hydra_ml.llm.order import make_orders
from hydra_ml.llm.pace import Pace, llm_figures
from hydra_ml.params import LLM
from tests.llm.scripted_server import completion

LONG = "four " * 8  # about as many tokens as the scripted server counts, 10


def test_the_closing_line_tells_rates_and_what_was_spared(scripted, connect, ask, caplog) -> None:
    caplog.set_level("INFO", "hydra_ml")
    _, address = scripted()
    cache = MemoryStore()
    connect(address, cache=cache).ask_all([ask(LONG), ask(LONG)], label="first")
    assert "spared" not in caplog.text
    client = connect(address, cache=cache)
    client.ask_all([ask(LONG), ask(LONG, n=4, temperature=1.0)], label="second")
    told = [record.getMessage() for record in caplog.records if record.getMessage().startswith("second: ")]
    assert len(told) == 1
    assert told[0].startswith("second: 1 calls in ")
    assert told[0].endswith(
        "10 tokens in and 2 out spared by answers kept from before; 30 in by samples that share a prompt"
    )
    assert "four" not in caplog.text, "no text of a prompt"

    figures = llm_figures(client.usage, LLM(price_in=1.0, price_out=1.0))
    assert {name: figures[name] for name in ("calls", "paid_in", "paid_out", "kept_in", "kept_out", "shared_in")} == {
        "calls": 1,
        "paid_in": 10,
        "paid_out": 8,
        "kept_in": 10,
        "kept_out": 2,
        "shared_in": 30,
    }
    assert figures["in_per_s"] / figures["out_per_s"] == pytest.approx(10 / 8, rel=0.05)


def test_rates_are_those_of_the_time_it_took() -> None:
    usage, now = Usage(calls=5, tokens_in=100), [50.0]
    orders = make_orders([Ask(({"role": "user", "content": "q"},))], "m", MemoryStore())[1]
    pace = Pace(usage, orders, lambda: now[0])
    usage.calls, usage.tokens_in, usage.tokens_out, now[0] = 7, 700, 30, 54.0
    assert pace.end() == "2 calls in 4.0 s, 150 tokens/s in, 8 out"
    assert usage.seconds == 4.0
    assert llm_figures(Usage(), LLM())["in_per_s"] is None, "nothing was asked"


@pytest.mark.parametrize(
    ("usage", "spared"),
    [
        ({"prompt_tokens": 10}, 30),
        ({"prompt_tokens": 40}, 0),  # counted once for each answer
        ({"prompt_tokens": None}, 0),
        (None, 0),
    ],
)
def test_prompts_are_shared_where_the_usage_shows_it(usage: dict[str, Any] | None, spared: int) -> None:
    assert shared_tokens({"usage": usage}, 4, prompt_tokens=11) == spared
    assert shared_tokens({"usage": usage}, 1, prompt_tokens=40) == 0
    assert shared_tokens("text", 4, prompt_tokens=11) == 0


def test_an_asking_that_is_stopped_tells_what_it_took(scripted, connect, ask, caplog) -> None:
    caplog.set_level("INFO", "hydra_ml")

    async def behave(number: int, body: dict[str, Any]) -> Response:
        return JSONResponse({"error": {"message": "no money"}}, 402) if number > 3 else completion(body, 1)

    _, address = scripted(behave)
    with pytest.raises(Exception, match="no money"):
        connect(address, concurrency=1).ask_all([ask(f"q{i}") for i in range(9)], label="test")
    assert "test: 4 calls in " in caplog.text
