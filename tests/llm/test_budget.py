"""Budgets: told before the first call, in calls, tokens and money, of a stage and of its night."""

from __future__ import annotations

from typing import Any

import pytest

from hydra_ml.errors import BudgetExceeded, ParamsError
from hydra_ml.llm.budget import OwnNight, Usage
from hydra_ml.llm.chat import MemoryStore
from hydra_ml.llm.cost import Cost, expected_cost
from hydra_ml.llm.order import make_orders
from hydra_ml.params import LLM, Allowance, parse_params
from tests.llm.conftest import client_of

PRICES: dict[str, Any] = {"price_in": 2.0, "price_out": 10.0}


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        ({"max_calls": 19}, r"20 calls, but 0 of llm\.max_calls = 19"),
        ({"max_tokens": 15}, r"at least 20 tokens, but 0 of llm\.max_tokens = 15"),
        ({"max_cost": 0.00003, **PRICES}, r"0\.0000 in money, but 0\.0000 of llm\.max_cost = 3e-05"),
        ({"night": Allowance(max_calls=24)}, r"20 calls, but 5 of llm\.night\.max_calls = 24"),
    ],
)
def test_a_stage_that_would_pass_its_budget_asks_nothing(scripted, ask, limits: dict[str, Any], told: str) -> None:
    server, address = scripted()
    with (
        client_of(address, books=OwnNight(Usage(calls=5)), **limits) as client,
        pytest.raises(BudgetExceeded, match=told),
    ):
        client.ask_nearly_all([ask(f"{i:4}") for i in range(20)], label="annotate")
    assert server.bodies == []


def test_a_stage_that_fits_its_budget_is_asked(scripted, ask) -> None:
    server, address = scripted()
    with client_of(address, max_calls=20) as client:
        replies = client.ask_nearly_all([ask(f"{i:4}") for i in range(20)], label="annotate")
    assert all(reply.answers[0] for reply in replies)
    assert len(server.bodies) == 20


def test_a_stage_that_may_pass_its_budget_is_warned_and_asked(scripted, ask, caplog) -> None:
    server, address = scripted()
    with client_of(address, max_tokens=1000) as client:
        client.ask_nearly_all([ask(f"{i:4}") for i in range(20)], label="annotate")
    assert "may pass the budget: if all answers are as long as they may be, 1320 tokens" in caplog.text
    assert len(server.bodies) == 20


def test_money_stops_a_job_before_the_call_that_could_pass_it(scripted, ask) -> None:
    server, address = scripted()  # 10 tokens in, 2 out: 40 millionths each
    with (
        client_of(address, max_cost=0.001, concurrency=1, **PRICES) as client,
        pytest.raises(BudgetExceeded, match=r"of llm\.max_cost = 0\.001 is spent"),
    ):
        client.ask_all([ask(f"q{i}", max_tokens=2) for i in range(50)], label="score")
    assert len(server.bodies) == 25


def test_what_is_to_be_asked_is_counted_without_what_is_kept(scripted, ask) -> None:
    _, address = scripted()
    cache = MemoryStore()
    asks = [ask("abcd" * 10, max_tokens=9), ask("abcd" * 10, max_tokens=9), ask("s", n=130, temperature=1.0)]
    with client_of(address, cache=cache) as client:
        client.ask_all([ask("s", n=1, temperature=1.0)], label="earlier")
        orders = make_orders(asks, LLM(model="some-model").identity, cache)[1]
        assert expected_cost(orders, most_at_once=128) == Cost(2, 0, 1 + 2, 11 + 2 * 1, 9 + 129 * 64)
        client.ask_all(asks, label="now")
        assert expected_cost(make_orders(asks, LLM(model="some-model").identity, cache)[1], 128) == Cost(2, 2)


def test_money_needs_both_prices() -> None:
    assert LLM(**PRICES).money(2_000_000, 500_000) == pytest.approx(9.0)
    assert LLM().money(2_000_000, 500_000) is None
    with pytest.raises(ParamsError, match="max_cost needs price_in and price_out"):
        parse_params({"llm": {"night": {"max_cost": 3.0}}}, "params.yaml")


def test_parts_of_a_job_share_its_money() -> None:
    params = LLM(max_cost=1.0, **PRICES)
    assert [params.share(i, i + 1, 4).max_cost for i in range(4)] == [0.25] * 4
    assert LLM().share(0, 1, 2).max_cost is None
