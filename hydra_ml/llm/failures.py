"""What a failed attempt means: try again, give up on this request, or stop asking altogether.

Reads the exceptions of the openai package, and what they do not cover: bodies that are no chat completion. Its texts
are ready to print and never hold the key.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import Literal

import openai

FIRST_PAUSE_S = 0.5
LONGEST_WAIT_S = 3600.0  # a server that asks for more is not waited for
SHORTEST_SECRET = 6  # "x", given to a server that wants no key, would be starred out of every word
_RETRIED = (408, 409, 425, 429)  # and 5xx
_CROWDED = (429, 503, 529)
_FOR_GOOD = {
    401: "refuses the key: check OPENAI_API_KEY",
    402: "wants money first: check the account",
    403: "forbids the request: check what OPENAI_API_KEY may use",
    404: "does not know the address or the model: check OPENAI_BASE_URL (most end in /v1) and llm.model",
}


class MalformedAnswerError(ValueError):
    """The server said 200, but its body is no chat completion."""


class NoAnswerError(ValueError):
    """The server said 200 and sent a chat completion, but no answer in it."""

    def __init__(self, kind: Literal["busy", "refused", "cut off"], told: str) -> None:
        super().__init__(told)
        self.kind = kind
        self.tokens = (0, 0)  # prompt and answer: paid for all the same


# What a server says where the account, not the request, is to blame, under whatever status.
_ACCOUNT = re.compile(r"api[ _-]?key|quota|balance|\bcredits?\b|billing|payment", re.IGNORECASE)
_PAGE = re.compile(r"\s*<(?:!doctype|html|head|body)\b", re.IGNORECASE)
# A prompt longer than the model's context, in the words of OpenAI, vLLM, llama.cpp, TGI, Mistral, Gemini, Anthropic.
_TOO_LONG = re.compile(
    r"context[ _-]?(?:length|window|size)|maximum context|max_model_len|prompt is too long|input is too long"
    r"|too many (?:input |prompt )?tokens|reduce the length|exceeds the maximum number of tokens"
    r"|inputs?`? tokens \+ `?max_new_tokens",
    re.IGNORECASE,
)
# Everything that one attempt may raise; malformed JSON comes out of the openai package as a bare ValueError.
ATTEMPT_ERRORS = (openai.APIError, ValueError)


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed attempt."""

    # The first two are worth another attempt; of "refused", "cut off" and "too long" the request itself is to blame.
    kind: Literal["busy", "unreachable", "refused", "cut off", "too long", "fatal"]
    what: str  # continues a sentence that begins with the server's address
    wait_s: float | None = None  # the pause the server asked for
    is_late: bool = False  # it may have been at work on it


def read_failure(error: Exception, *, secret: str) -> Failure:
    """What an attempt's exception means; `secret` is blotted out wherever the server echoes it."""
    if _is_late(error):
        return Failure("busy", "gave no answer in time", is_late=True)
    if isinstance(error, openai.APIStatusError):
        return _read_status(error, secret)
    if isinstance(error, openai.APIConnectionError):
        return Failure("unreachable", f"cannot be reached ({_short(error.__cause__ or error, secret)})")
    if isinstance(error, UnicodeError):  # half a surrogate pair in the prompt
        return Failure("refused", f"cannot be sent this text ({_short(error, secret)})")
    if isinstance(error, NoAnswerError):
        return Failure(error.kind, f"gave {_short(error, secret)}")
    return Failure("busy", f"answered with a body that is no chat completion ({_short(error, secret)})")


def is_too_long(error: openai.APIStatusError) -> bool:
    """Whether the server says that the prompt does not fit into the model's context."""
    words = words_of(error.body) or str(error)
    by_words = error.status_code in (400, 422) and _TOO_LONG.search(words) is not None
    return error.status_code == 413 or error.code == "context_length_exceeded" or by_words


def is_crowded(error: Exception) -> bool:
    """Whether the server had more to do than it could: it was late, or asked for patience."""
    return _is_late(error) or (isinstance(error, openai.APIStatusError) and error.status_code in _CROWDED)


def _is_late(error: Exception) -> bool:
    # The aiohttp transport turns every connection that is refused or breaks into its ConnectTimeout.
    return isinstance(error, openai.APITimeoutError) and type(error.__cause__).__name__ != "ConnectTimeout"


def pause_s(attempt: int, failure: Failure, max_wait_s: float) -> float:
    """Seconds to wait after the `attempt`-th failure (from 1): what the server asked for, else doubling with jitter."""
    if failure.wait_s is not None:
        return min(failure.wait_s, max_wait_s)
    longest = min(FIRST_PAUSE_S * 2.0 ** (attempt - 1), max_wait_s)
    return longest * random.uniform(0.5, 1.0)  # clients that failed together must not come back together


def _read_status(error: openai.APIStatusError, secret: str) -> Failure:
    status = error.status_code
    words = words_of(error.body) or str(error)
    said = f"HTTP {status}: {_short(words, secret)}"
    if status in _FOR_GOOD:
        return Failure("fatal", f"{_FOR_GOOD[status]} ({said})")
    # Some come as 429, but waiting does not help.
    if error.code == "insufficient_quota" or (status in (400, 422) and _ACCOUNT.search(words)):
        return Failure("fatal", f"says that the account is to blame: check key and quota ({said})")
    if status in _RETRIED or status >= 500:
        wait_s = _asked_wait_s(error.response.headers)
        if wait_s is not None and wait_s > LONGEST_WAIT_S:
            return Failure("fatal", f"is not to be asked {_until(wait_s, error.response.headers)} ({said})", wait_s)
        return Failure("busy", f"answered {said}", wait_s)
    if is_too_long(error):
        return Failure(
            "too long", f"has too short a context for the prompt, which has no record left to spare ({said})"
        )
    return Failure("refused", f"refused the request ({said})")


def _asked_wait_s(headers: Mapping[str, str]) -> float | None:
    """The retry-after-ms or Retry-After of a response in seconds; None if there is none that can be read."""
    value = headers.get("retry-after", "")
    try:
        seconds = float(headers["retry-after-ms"]) / 1000 if "retry-after-ms" in headers else float(value)
    except ValueError:
        try:  # a date: measured against the server's own clock
            asked_for = parsedate_to_datetime(value) - parsedate_to_datetime(headers.get("date", ""))
            seconds = asked_for.total_seconds()
        except (ValueError, TypeError):
            return None
    return seconds if 0 <= seconds < float("inf") else None


def _until(wait_s: float, headers: Mapping[str, str]) -> str:
    """When the server may be asked again, by its own clock where it tells the time."""
    try:
        now = parsedate_to_datetime(headers.get("date", ""))
    except (ValueError, TypeError):
        return f"for {wait_s / 3600:.1f} hours"
    return f"before {now + timedelta(seconds=wait_s):%Y-%m-%d %H:%M} UTC"


def words_of(body: object) -> str:
    """What a server says of an error, in one line, wherever it puts it: OpenAI's error.message, FastAPI's detail, a
    list of errors, plain text."""
    if isinstance(body, list):
        return words_of(body[0]) if body else ""
    if not isinstance(body, dict):
        text = " ".join(str(body or "").split())
        return _page_title(text) if _PAGE.match(text) else text
    for name in ("error", "message", "detail", "msg", "raw"):
        if found := body.get(name):
            words = words_of(found)
            inner = body.get("metadata")
            more = words_of(inner) if isinstance(inner, dict) else ""
            where = body.get("loc")
            told = f"{'.'.join(map(str, where))}: {words}" if isinstance(where, list) else words
            return f"{told} ({more})" if more else told
    return " ".join(str(body).split())


def _page_title(page: str) -> str:
    """What a proxy's HTML page says, without its markup."""
    title = re.search(r"<title>(.*?)</title>", page, re.IGNORECASE)
    return " ".join((title[1] if title else re.sub(r"<[^>]*>", " ", page)).split())


def _short(error: BaseException | str, secret: str) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return (text.replace(secret, "***") if len(secret) >= SHORTEST_SECRET else text)[:300]
