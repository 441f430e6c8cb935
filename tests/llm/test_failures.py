import json

import httpx2
import openai
import pytest

from hydra_ml.llm.completion import read_answers
from hydra_ml.llm.dialect import Dialect
from hydra_ml.llm.failures import Failure, pause_s, read_failure
from hydra_ml.llm.faults import NoAnswerError

REQUEST = httpx2.Request("POST", "http://llm.test/v1/chat/completions")


def status_error(status: int, *, headers: dict[str, str] | None = None, body: object = None) -> openai.APIStatusError:
    response = httpx2.Response(status, headers=headers or {}, request=REQUEST)
    return openai.APIStatusError("it said no to sk-123", response=response, body=body)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *((status, "refused") for status in (400, 422)),
        *((status, "fatal") for status in (401, 403, 404)),
        *((status, "busy") for status in (408, 409, 429, 500, 503, 529)),
    ],
)
def test_each_status_means_one_thing(status: int, kind: str) -> None:
    assert read_failure(status_error(status), secret="sk-123").kind == kind


def test_an_empty_account_is_no_reason_to_wait() -> None:
    failure = read_failure(status_error(429, body={"code": "insufficient_quota"}), secret="")
    assert failure.kind == "fatal"
    assert "quota" in failure.what


def test_the_key_is_blotted_out() -> None:
    failure = read_failure(status_error(401), secret="sk-123")
    assert "sk-123" not in failure.what
    assert "said no to ***" in failure.what
    assert "OPENAI_API_KEY" in failure.what


def test_a_long_answer_is_cut() -> None:
    assert len(read_failure(ValueError("x" * 5000), secret="").what) < 400


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:30 GMT", "date": "Wed, 21 Oct 2026 07:28:00 GMT"}, 30.0),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:30 GMT"}, None),
        ({"retry-after-ms": "3000", "retry-after": "9"}, 3.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "-4"}, None),
        ({}, None),
    ],
)
def test_the_pause_a_server_asks_for(headers: dict[str, str], wait_s: float | None) -> None:
    assert read_failure(status_error(429, headers=headers), secret="").wait_s == wait_s


def test_pauses_double_and_are_capped() -> None:
    failure = Failure("busy", "")
    assert 0.25 <= pause_s(1, failure, 30) <= 0.5
    assert 1.0 <= pause_s(3, failure, 30) <= 2.0
    assert pause_s(12, failure, 30) <= 30
    assert pause_s(1, Failure("busy", "", wait_s=90), 30) == 30
    assert pause_s(5, Failure("busy", "", wait_s=0), 30) == 0


def test_a_connection_that_fails_differs_from_an_answer_that_is_late() -> None:
    refused = openai.APITimeoutError(request=REQUEST)
    refused.__cause__ = httpx2.ConnectTimeout("Cannot connect to host")
    late = openai.APITimeoutError(request=REQUEST)
    late.__cause__ = httpx2.ReadTimeout("")
    assert read_failure(openai.APIConnectionError(request=REQUEST), secret="").kind == "unreachable"
    assert read_failure(refused, secret="").kind == "unreachable"
    assert read_failure(late, secret="").kind == "busy"


@pytest.mark.parametrize(
    ("date", "told"),
    [("Thu, 26 Nov 2026 21:30:00 GMT", "before 2026-11-27 21:30 UTC"), ("", "for 24.0 hours")],
)
def test_who_asks_for_a_day_of_patience_is_not_waited_for_and_it_is_said_when(date: str, told: str) -> None:
    headers = {"retry-after": "86400", **({"date": date} if date else {})}
    failure = read_failure(status_error(429, headers=headers), secret="")
    assert failure.kind == "fatal"
    assert told in failure.what


def test_a_question_that_speaks_of_credits_does_not_make_the_account_guilty() -> None:
    detail = [{"loc": ["body", "n"], "msg": "Extra inputs", "input": "the credits and the balance of this film"}]
    assert read_failure(status_error(422, body={"detail": detail}), secret="").kind == "refused"


@pytest.mark.parametrize("words", ["Incorrect API key provided", "Your credit balance is too low", "quota exceeded"])
def test_an_account_to_blame_stops_all_under_whatever_status(words: str) -> None:
    assert read_failure(status_error(400, body={"message": words}), secret="").kind == "fatal"


def test_money_gone_stops_all() -> None:
    assert read_failure(status_error(402, body={"message": "Insufficient Balance"}), secret="").kind == "fatal"


def test_a_one_letter_key_is_not_starred_out_of_every_word() -> None:
    assert "it said no" in read_failure(status_error(500), secret="i").what


def test_a_proxys_page_is_told_in_its_own_words() -> None:
    page = "<html><head><title>502 Bad\n Gateway</title></head><body>nginx</body></html>"
    assert read_failure(status_error(502, body=page), secret="").what == "answered HTTP 502: 502 Bad Gateway"


def test_only_the_servers_words_are_searched_for_quotes_of_the_prompt() -> None:
    prompt = "A film for whoever is thinking of the stage: nothing was left on it, and the null room wrote no tag."
    cut_off = read_answers_failure({"content": None}, "length", prompt)
    assert "thinking, or nothing. Raise max_tokens of the stage in params.yaml" in cut_off.what
    assert "null leaves no room to think" in cut_off.what
    refusal = read_answers_failure({"content": None, "refusal": "whoever is thinking of that is ill"}, "stop", prompt)
    assert refusal.what == "gave a refusal: [...] that is ill"


def read_answers_failure(message: dict, ended: str, prompt: str) -> Failure:
    body = {"choices": [{"index": 0, "finish_reason": ended, "message": message}]}
    with pytest.raises(NoAnswerError) as caught:
        read_answers(body, 10, ())
    return read_failure(caught.value, secret="", prompt=prompt)


def answered(status: int, text: str, headers: dict[str, str]) -> openai.APIStatusError:
    response = httpx2.Response(status, headers=headers, content=text.encode(), request=REQUEST)
    return openai.APIStatusError("it said no", response=response, body=None)


MANY = 1_000_000
JSON, HTML = {"content-type": "application/json"}, {"content-type": "text/html"}
LONG_ERRORS = {
    "a pause of many digits": (json.dumps({"error": {"message": "wait", "retryDelay": "1" * MANY}}), JSON),
    "words of many digits": (json.dumps({"error": {"message": "try again in " + "1" * MANY}}), JSON),
    "many words": (json.dumps({"error": {"message": "no such film " * (MANY // 12)}}), JSON),
    "many fields": (json.dumps({f"field {i}": "a film " for i in range(MANY // 20)}), JSON),
    "a place of many words": (json.dumps({"detail": [{"loc": ["a film " * (MANY // 8)], "msg": "no"}]}), JSON),
    "a page of open brackets": ("<html>" + "<" * MANY, HTML),
    "a page of open titles": ("<html>" + "<title>" * (MANY // 7), HTML),
    "blanks": ("<" + " " * MANY, HTML),
    "a number of many digits": ('{"error": {"code": ' + "1" * 9000 + "}}", JSON),
}


@pytest.mark.timeout(100)
@pytest.mark.parametrize("name", LONG_ERRORS)
@pytest.mark.parametrize("status", [400, 429])
def test_a_long_error_is_read_in_little_time(name: str, status: int) -> None:
    error = answered(status, *LONG_ERRORS[name])
    failure = read_failure(error, secret="sk-123456", prompt="A film of no such kind. " * 400)
    assert len(failure.what) < 400
    Dialect().learn(error, {"messages": [{"role": "user", "content": "a film"}], "n": 1, "seed": 3})
