from typing import Any

import pytest

from hydra_ml.llm.chat import Answer
from hydra_ml.llm.completion import read_answers, rough_tokens
from hydra_ml.llm.failures import MalformedAnswerError


def body(*contents: str | None, **more: Any) -> dict[str, Any]:
    return {"choices": [{"message": {"content": content}} for content in contents], **more}


def test_tokens_of_a_call_are_shared_out_so_that_they_add_up() -> None:
    usage = {"prompt_tokens": 100, "completion_tokens": 8}
    answers = read_answers(body("a", "b", "c", usage=usage), prompt_tokens=7)
    assert answers == [Answer("a", 100, 3), Answer("b", 0, 3), Answer("c", 0, 2)]


@pytest.mark.parametrize("usage", [{}, {"usage": None}])
def test_a_server_that_reports_no_usage_is_counted_roughly(usage: dict[str, Any]) -> None:
    assert read_answers(body("12345678", **usage), prompt_tokens=7) == [Answer("12345678", 7, 3)]


def test_no_content_is_an_empty_answer() -> None:
    assert read_answers(body(None), prompt_tokens=1)[0].text == ""


def test_half_a_surrogate_pair_becomes_text_that_can_be_stored() -> None:
    assert read_answers(body("ok \ud83d"), prompt_tokens=1)[0].text == "ok ?"


@pytest.mark.parametrize(
    ("malformed", "says"),
    [
        ("<html>Welcome</html>", "text instead of JSON"),
        (None, "body"),
        ([], "body"),
        ({}, "choices"),
        ({"choices": None}, "choices"),
        ({"choices": []}, "choices"),
        ({"choices": [{"text": "old style"}]}, "choices.0.message"),
        ({"choices": [{"message": {"content": 5}}]}, "choices.0.message.content"),
    ],
)
def test_a_body_that_is_no_completion_is_named(malformed: object, says: str) -> None:
    with pytest.raises(MalformedAnswerError, match=says):
        read_answers(malformed, prompt_tokens=1)


def test_rough_tokens_are_never_none() -> None:
    assert (rough_tokens(""), rough_tokens("abcdefgh")) == (1, 3)
