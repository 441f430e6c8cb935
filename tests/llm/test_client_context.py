"""Prompts longer than the model's context: shortened by whole demos, least useful first, and never paid twice."""

from typing import Any

import pytest
from starlette.responses import Response

from hydra_ml.answering.prompts import build_asks
from hydra_ml.llm.chat import MemoryStore
from hydra_ml.params import Generate
from hydra_ml.tasks import get_task
from tests.llm.scripted_server import answer, refuse

TASK = get_task("LaMP_4")
TOLD = {
    "openai": (400, "This model's maximum context length is 40 tokens. However, your messages resulted in 51 tokens."),
    "vllm": (
        400,
        "'max_tokens' or 'max_completion_tokens' is too large: 64. This model's maximum context length is 40 tokens "
        "and your request has 39 input tokens",
    ),
    "llama.cpp": (400, "the request exceeds the available context size, try increasing it"),
    "tgi": (422, "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 40. Given: 51 and 9"),
    "mistral": (
        400,
        "Prompt contains 51 tokens and 0 draft tokens, too large for model with 40 maximum context length",
    ),
    "gemini": (400, "The input token count (51) exceeds the maximum number of tokens allowed (40)."),
    "anthropic": (400, "prompt is too long: 51 tokens > 40 maximum"),
    "a proxy": (413, "Request entity too large"),
}


def chat(*demos: str, question: str = "q") -> list[dict[str, str]]:
    turns = [turn for demo in demos for turn in (("user", demo), ("assistant", f"{demo}!"))]
    return [{"role": role, "content": content} for role, content in [*turns, ("user", question)]]


def short_sighted(most_turns: int, status: int, words: str) -> Any:
    """A server that reads at most so many turns."""

    async def behave(number: int, body: dict[str, Any]) -> Response:
        return refuse(status, words) if len(body["messages"]) > most_turns else await answer(number, body)

    return behave


@pytest.mark.parametrize("server", TOLD)
def test_the_least_useful_records_are_left_out_until_it_fits(scripted, connect, server: str) -> None:
    seen, address = scripted(short_sighted(5, *TOLD[server]))
    asks, _ = build_asks(
        [chat("best", "second", "third", "last")], [True], TASK, Generate(n_samples=2), seed=0, user_ids=["u"]
    )
    greedy, sampled = connect(address).ask_all(asks, label="test")
    assert (greedy.dropped, sampled.dropped) == (2, 2)
    assert not greedy.error
    assert len(sampled.answers) == 2
    assert all(sampled.answers)
    fitting = [body for body in seen.bodies if len(body["messages"]) <= 5]
    assert len(fitting) == 2
    for body in fitting:
        assert [message["content"] for message in body["messages"]] == ["best", "best!", "second", "second!", "q"]
        assert "max_tokens" in body, "the words name max_tokens, but it is not what was refused"


def test_a_question_too_long_by_itself_is_refused_alone(scripted, connect) -> None:
    async def behave(number: int, body: dict[str, Any]) -> Response:
        is_long = body["messages"][-1]["content"] == "long"
        return refuse(*TOLD["openai"]) if is_long else await answer(number, body)

    _, address = scripted(behave)
    asks, _ = build_asks(
        [chat("a", "b", question="long"), chat("a")], [False, False], TASK, Generate(), seed=0, user_ids=["u", "v"]
    )
    long, other = connect(address).ask_all(asks, label="test")
    assert long.refused
    assert long.dropped == 2
    assert "no record left to spare" in long.error
    assert other.answers == ("q 0",)


def test_what_becomes_equal_by_shortening_is_paid_once_and_found_by_the_next_run(scripted, connect) -> None:
    seen, address = scripted(short_sighted(5, *TOLD["openai"]))
    cache = MemoryStore()
    prompts = [chat("a", "b", "c"), chat("a", "b", "d"), chat("a", "b")]
    asks, _ = build_asks(prompts, [False] * 3, TASK, Generate(), seed=0, user_ids=["u"] * 3)
    replies = connect(address, cache=cache).ask_all(asks, label="test")
    assert [reply.dropped for reply in replies] == [1, 1, 0]
    assert len({reply.answers for reply in replies}) == 1
    assert sum(len(body["messages"]) <= 5 for body in seen.bodies) == 1

    again = connect(address, cache=cache).ask_all(asks, label="test")
    assert [reply.dropped for reply in again] == [1, 1, 0], "the count is the same, whoever bought the answers"
    assert sum(len(body["messages"]) <= 5 for body in seen.bodies) == 1
