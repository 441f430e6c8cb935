"""Habits of servers and models in what they answer with, each with its right value."""

from __future__ import annotations

import json
from typing import Any

import pytest
from starlette.responses import JSONResponse, Response

from hydra_ml.errors import LLMError
from tests.llm.scripted_server import always

HARMONY = (
    "<|channel|>analysis<|message|>Is it funny?<|end|><|start|>assistant<|channel|>final<|message|>comedy<|return|>"
)

WRITTEN = {  # what a model writes: its answer is "comedy" all the same
    "thoughts": "<think>\nfunny?\n</think>\n\ncomedy",
    "thoughts of Magistral": "[THINK]funny?[/THINK]comedy",
    "thoughts in other words": "<reasoning>funny?</reasoning>\ncomedy",
    "thoughts of Gemma": "<thought>funny?</thought>comedy",
    "thoughts of Kimi": "◁think▷funny?◁/think▷comedy",
    "thoughts of Cohere": "<|START_THINKING|>funny?<|END_THINKING|><|START_RESPONSE|>comedy<|END_RESPONSE|>",
    "thoughts of Sky": "<|begin_of_thought|>funny?<|end_of_thought|>\n\ncomedy",
    "thoughts without their beginning": "It is funny.</think>comedy",
    "thoughts, then an answer marked": "<think>funny?</think><answer>comedy</answer>",
    "channels": HARMONY,
    "channels without marks": "analysisIs it funny? It is.assistantfinalcomedy",
    "a final channel alone": "<|channel|>final<|message|>comedy",
    "ends a turn": "comedy<|im_end|>",
    "ends a sentence": "comedy</s>",
    "ends a text": "comedy<eos>",
    "ends Gemma's turn": "comedy<end_of_turn>\n<eos>",
    "ends Llama's turn": "comedy<|eot_id|><|start_header_id|>user<|end_header_id|>Next",
    "ends DeepSeek's sentence": "comedy<｜end▁of▁sentence｜>",
    "ends Phi's turn": "comedy<|end|>",
    "goes on as the user": "comedy<|user|>\nWhich",
    "goes on with an instruction": "comedy [INST] Which",
    "says who speaks": "assistant\n\ncomedy",
    "says who speaks, in marks": "<|im_start|>assistant\ncomedy<|im_end|>",
    "says who speaks, in Llama's marks": "<|start_header_id|>assistant<|end_header_id|>\n\ncomedy",
    "says who speaks, in Gemma's marks": "<start_of_turn>model\ncomedy<end_of_turn>",
    "speaks again": "comedyassistant\n\nIs there anything else",
    "begins a sentence": "<s> comedy</s>",
    "mark of byte order": "\ufeffcomedy",
    "spaces without width": "\u200bcom\u200bedy\u200b\u2060",
    "marks of direction": "\u200ecomedy\u200f",
    "zero bytes": "com\0edy\0",
    "control characters": "\x1bcomedy\x07",
}


def said(connect, start, ask, choice: dict[str, Any], **body: Any) -> tuple[str, str]:
    """The answer and the error that one choice of a server makes."""
    text = json.dumps({"choices": [choice], **body})
    _, address = start(always(Response(text, media_type="application/json")))
    (reply,) = connect(address, max_attempts=1).ask_all([ask("q")], label="test")
    return reply.answers[0].strip(), reply.error


@pytest.mark.parametrize("habit", WRITTEN)
def test_of_what_a_model_writes_the_answer_is_taken(scripted, connect, ask, habit: str) -> None:
    assert said(connect, scripted, ask, {"message": {"content": WRITTEN[habit]}}) == ("comedy", "")


@pytest.mark.parametrize("plain", ["A <b>bold</b> title", "x < y | z > w", "assistant professor", "I think", "a</p>"])
def test_what_only_looks_like_a_mark_is_left(scripted, connect, ask, plain: str) -> None:
    assert said(connect, scripted, ask, {"message": {"content": plain}}) == (plain, "")


TEXT = {"type": "text", "text": "comedy"}
CHOICES: dict[str, dict[str, Any]] = {  # where a server puts "comedy"
    "thoughts apart": {"message": {"content": "comedy", "reasoning_content": "funny?"}},
    "thoughts apart, otherwise": {"message": {"content": "comedy", "reasoning": "funny?", "reasoning_details": []}},
    "parts": {"message": {"content": [{"type": "thinking", "thinking": [{"text": "funny?"}]}, TEXT]}},
    "parts that reason": {"message": {"content": [{"type": "reasoning", "text": "funny?"}, TEXT]}},
    "parts that are texts": {"message": {"content": ["com", "edy"]}},
    "one part": {"message": {"content": TEXT}},
    "a plain completion": {"text": "comedy", "logprobs": None},
    "a delta": {"delta": {"content": "comedy"}},
    "a message that is a text": {"message": "comedy"},
    "index missing": {"message": {"content": "comedy"}, "index": None},
    "index absurd": {"message": {"content": "comedy"}, "index": -1e300},
    "no reason": {"message": {"content": "comedy"}, "finish_reason": None},
    "a reason that is no text": {"message": {"content": "comedy"}, "finish_reason": 0},
    "refusal that is no text": {"message": {"content": "comedy", "refusal": False}},
    "calls of tools beside it": {"message": {"content": "comedy", "tool_calls": []}, "finish_reason": "tool_calls"},
    **{
        f"ended by {reason}": {"message": {"content": "comedy"}, "finish_reason": reason}
        for reason in ("eos", "stop_sequence", "end_turn", "COMPLETE", "length", "eos_token", "abort", "stop")
    },
}


@pytest.mark.parametrize("habit", CHOICES)
def test_the_answer_is_found_wherever_a_server_puts_it(scripted, connect, ask, habit: str) -> None:
    assert said(connect, scripted, ask, CHOICES[habit]) == ("comedy", "")


NONE: dict[str, tuple[dict[str, Any], str]] = {  # a choice without an answer, and what is said of it
    "thoughts alone": ({"message": {"content": None, "reasoning_content": "funny?"}}, "Raise max_tokens"),
    "thoughts alone, otherwise": ({"message": {"content": "", "reasoning": "fun"}}, "Raise max_tokens"),
    "thoughts cut off": ({"message": {"content": "[THINK]funny?"}, "finish_reason": "length"}, "Raise max_tokens"),
    "channels cut off": ({"message": {"content": "<|channel|>analysis<|message|>funny?"}}, "Raise max_tokens"),
    "Gemini cut off": ({"message": {"role": "assistant"}, "finish_reason": "MAX_TOKENS"}, "Raise max_tokens"),
    "a call of a tool": (
        {"message": {"content": None, "tool_calls": [{"id": "1"}]}, "finish_reason": "tool_calls"},
        "a call of a tool",
    ),
    "a call of a function": (
        {"message": {"content": None, "function_call": {"name": "f"}}, "finish_reason": "function_call"},
        "a call of a tool",
    ),
    "spaces without width": ({"message": {"content": "\u200b\ufeff \u200d"}}, "without text"),
    "message null": ({"message": None, "finish_reason": "content_filter"}, "content filter"),
    **{
        f"half an answer, {reason}": ({"message": {"content": "half an"}, "finish_reason": reason}, "content filter")
        for reason in ("content_filter", "SAFETY", "RECITATION", "PROHIBITED_CONTENT")
    },
}


@pytest.mark.parametrize("habit", NONE)
def test_what_is_no_answer_is_none_and_says_why(scripted, connect, ask, habit: str) -> None:
    choice, says = NONE[habit]
    answer, error = said(connect, scripted, ask, choice)
    assert answer == ""
    assert says in error


INSIDE = {  # bodies under HTTP 200 that hold an error: what it says, whether it ends all asking
    "a text": ({"error": "model is overloaded"}, "overloaded", False),
    "detail": ({"detail": "model is overloaded"}, "overloaded", False),
    "message": ({"message": "model is overloaded"}, "overloaded", False),
    "vllm": ({"object": "error", "message": "boom", "type": "InternalServerError", "code": 500}, "boom", False),
    "openrouter, crowded": ({"error": {"message": "slow down", "code": 429}}, "HTTP 429: slow down", False),
    "openrouter, no money": ({"error": {"message": "Insufficient", "code": 402}}, "wants money", True),
    "openrouter, key": ({"error": {"message": "No auth", "code": 401}}, "refuses the key", True),
    "a gateway, key": ({"error": {"message": "bad key", "code": "invalid_api_key"}}, "refuses the key", True),
    "a gateway, model": ({"error": {"message": "none", "code": "model_not_found"}}, "check llm.model", True),
    "in a choice": ({"choices": [{"error": {"code": 402, "message": "broke"}}]}, "wants money", True),
}


@pytest.mark.parametrize("habit", INSIDE)
def test_an_error_inside_200_counts_as_the_status_it_names(scripted, connect, ask, habit: str) -> None:
    body, says, is_fatal = INSIDE[habit]
    _, address = scripted(always(JSONResponse(body)))
    client = connect(address, max_attempts=2)
    if is_fatal:
        with pytest.raises(LLMError, match=says):
            client.ask_all([ask("q")], label="test")
        assert client.usage.calls == 1
    else:
        (reply,) = client.ask_all([ask("q")], label="test")
        assert says in reply.error
        assert not reply.refused
        assert client.usage.calls == 2


def test_a_very_long_answer_and_half_characters_end_in_text_that_can_be_kept(scripted, connect, ask) -> None:
    answer, error = said(connect, scripted, ask, {"message": {"content": "\ud83d" + "x" * 3_000_000}})
    assert (answer, error) == ("?" + "x" * 3_000_000, "")
    assert answer.encode()
