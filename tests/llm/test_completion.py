from typing import Any

import pytest

from hydra_ml.llm.chat import Answer
from hydra_ml.llm.complaint import words_of
from hydra_ml.llm.completion import read_answers, rough_tokens
from hydra_ml.llm.faults import MalformedAnswerError, NoAnswerError


def body(*contents: str | None, **more: Any) -> dict[str, Any]:
    return {"choices": [{"message": {"content": content}} for content in contents], **more}


def test_tokens_of_a_call_are_shared_out_so_that_they_add_up() -> None:
    usage = {"prompt_tokens": 100, "completion_tokens": 8}
    answers = read_answers(body("a", "b", "c", usage=usage), prompt_tokens=7)
    assert answers == [Answer("a", 100, 3), Answer("b", 0, 3), Answer("c", 0, 2)]


@pytest.mark.parametrize("usage", [{}, {"usage": None}])
def test_a_server_that_reports_no_usage_is_counted_roughly(usage: dict[str, Any]) -> None:
    assert read_answers(body("12345678", **usage), prompt_tokens=7) == [Answer("12345678", 7, 3)]


def text_of(message: dict[str, Any], **choice: Any) -> str:
    return read_answers({"choices": [{"message": message, **choice}]}, prompt_tokens=1)[0].text


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("<think>\nIs it funny?\n</think>\n\ncomedy", "\n\ncomedy"),
        ("Is it funny? It is.</think>comedy", "comedy"),  # the opening tag was in the template
        ("<thinking>x</thinking> comedy", " comedy"),
        ("comedy<|im_end|>\n<|im_start|>user\nWhich tag", "comedy"),  # a base model asked through a chat template
        ("comedy<end_of_turn>", "comedy"),
        ("comedy</s><s>[INST]", "comedy"),
        ([{"type": "thinking", "thinking": "Hmm."}, {"type": "text", "text": "comedy"}], "comedy"),
        ([{"type": "text", "text": "com"}, {"type": "text", "text": "edy"}], "comedy"),
    ],
)
def test_thoughts_and_parts_are_not_the_answer(content: Any, text: str) -> None:
    assert text_of({"content": content}) == text


@pytest.mark.parametrize(
    ("message", "choice", "kind", "says"),
    [
        ({"content": None}, {"finish_reason": "length"}, "cut off", "Raise max_tokens .*generate.max_tokens"),
        ({"content": ""}, {"finish_reason": "length"}, "cut off", "within max_tokens"),
        ({"content": "<think>Hmm, is it"}, {"finish_reason": "length"}, "cut off", "thinking"),
        ({"content": "<|im_end|>\n<|im_start|>user"}, {"finish_reason": "stop"}, "refused", "without text"),
        ({"content": None, "refusal": "I cannot help."}, {}, "refused", "a refusal: I cannot help"),
        ({"content": ""}, {"finish_reason": "content_filter"}, "refused", "content filter"),
        ({"content": None}, {"finish_reason": "stop"}, "refused", "without text"),
        ({"content": " \n"}, {}, "refused", "without text"),
        ({"content": "half an"}, {"finish_reason": "error"}, "busy", "an error instead"),
        ({"content": ""}, {"error": {"message": "overloaded"}}, "busy", "overloaded"),
    ],
)
def test_an_answer_without_text_is_none_and_says_why(
    message: dict[str, Any], choice: dict[str, Any], kind: str, says: str
) -> None:
    with pytest.raises(NoAnswerError, match=says) as caught:
        text_of(message, **choice)
    assert caught.value.kind == kind


def test_of_several_choices_those_with_text_count() -> None:
    assert [answer.text for answer in read_answers(body("a", None, " ", "b"), prompt_tokens=1)] == ["a", "b"]


def test_choices_stand_in_the_order_of_their_indices() -> None:
    body = {"choices": [{"index": i, "message": {"content": str(i)}} for i in (2, 0, 1)]}
    assert [answer.text for answer in read_answers(body, 1)] == ["0", "1", "2"]


def test_an_error_inside_200_is_worth_another_attempt() -> None:
    inside = {"error": {"message": "Provider returned error", "metadata": {"raw": "rate-limited"}}, "choices": None}
    with pytest.raises(NoAnswerError, match=r"Provider returned error \(rate-limited\)") as caught:
        read_answers(inside, prompt_tokens=1)
    assert caught.value.kind == "busy"


@pytest.mark.parametrize(
    "usage",
    [{"prompt_tokens": 10, "total_tokens": 10}, {}, {"prompt_tokens": -1}, {"prompt_tokens": 10**12}, {"x": None}],
)
def test_counts_that_are_none_are_made_roughly(usage: dict[str, Any]) -> None:
    (answer,) = read_answers(body("12345678", usage=usage), prompt_tokens=7)
    assert (answer.tokens_in, answer.tokens_out) == (10 if usage.get("total_tokens") else 7, 3)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ({"error": {"message": "no", "code": 1}}, "no"),
        (
            {"detail": [{"loc": ["body", "seed"], "msg": "extra fields not permitted"}]},
            "body.seed: extra fields not permitted",
        ),
        ({"object": "error", "message": {"detail": [{"loc": ["body", "n"], "msg": "bad"}]}}, "body.n: bad"),
        ({"error": "Input validation error", "error_type": "validation"}, "Input validation error"),
        ([{"error": {"message": "quota"}}], "quota"),
        ("<html>Bad\n Gateway</html>", "Bad Gateway"),
    ],
)
def test_a_servers_words_are_found_wherever_it_puts_them(error: object, words: str) -> None:
    assert words_of(error) == words


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
        ({"choices": [{"index": 0}]}, "choices.0.message"),
        ({"choices": [{"message": {"content": 5}}]}, "choices.0.message.content"),
    ],
)
def test_a_body_that_is_no_completion_is_named(malformed: object, says: str) -> None:
    with pytest.raises(MalformedAnswerError, match=says):
        read_answers(malformed, prompt_tokens=1)


def test_rough_tokens_are_never_none() -> None:
    assert (rough_tokens(""), rough_tokens("abcdefgh")) == (1, 3)
