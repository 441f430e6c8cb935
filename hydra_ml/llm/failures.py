"""What a failed attempt means: try again, give up on this request, or stop asking altogether.

Reads the exceptions of the openai package, and what they do not cover: bodies that are no chat completion. Its texts
are ready to print and never hold the key.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Literal

import openai

FIRST_PAUSE_S = 0.5
_RETRIED = (408, 409, 425, 429)  # and 5xx
_FOR_GOOD = {
    401: "refuses the key: check OPENAI_API_KEY",
    403: "forbids the request: check what OPENAI_API_KEY may use",
    404: "does not know the address or the model: check OPENAI_BASE_URL (most end in /v1) and llm.model",
}


class MalformedAnswerError(ValueError):
    """The server said 200, but its body is no chat completion."""


# Everything that one attempt may raise; malformed JSON comes out of the openai package as a bare ValueError.
ATTEMPT_ERRORS = (openai.APIError, ValueError)


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed attempt."""

    kind: Literal["busy", "unreachable", "refused", "fatal"]  # the first two are worth another attempt
    what: str  # continues a sentence that begins with the server's address
    wait_s: float | None = None  # the pause the server asked for


def read_failure(error: Exception, *, secret: str) -> Failure:
    """What an attempt's exception means; `secret` is blotted out wherever the server echoes it."""
    # The aiohttp transport turns every connection that is refused or breaks into its ConnectTimeout.
    if isinstance(error, openai.APITimeoutError) and type(error.__cause__).__name__ != "ConnectTimeout":
        return Failure("busy", "gave no answer in time")
    if isinstance(error, openai.APIStatusError):
        return _read_status(error, secret)
    if isinstance(error, openai.APIConnectionError):
        return Failure("unreachable", f"cannot be reached ({_short(error.__cause__ or error, secret)})")
    if isinstance(error, UnicodeError):  # half a surrogate pair in the prompt
        return Failure("refused", f"cannot be sent this text ({_short(error, secret)})")
    return Failure("busy", f"answered with a body that is no chat completion ({_short(error, secret)})")


def pause_s(attempt: int, failure: Failure, max_wait_s: float) -> float:
    """Seconds to wait after the `attempt`-th failure (from 1): what the server asked for, else doubling with jitter."""
    if failure.wait_s is not None:
        return min(failure.wait_s, max_wait_s)
    longest = min(FIRST_PAUSE_S * 2.0 ** (attempt - 1), max_wait_s)
    return longest * random.uniform(0.5, 1.0)  # clients that failed together must not come back together


def _read_status(error: openai.APIStatusError, secret: str) -> Failure:
    status = error.status_code
    said = f"HTTP {status}: {_short(error, secret)}"
    if status in _FOR_GOOD:
        return Failure("fatal", f"{_FOR_GOOD[status]} ({said})")
    if error.code == "insufficient_quota":  # comes as 429, but waiting does not help
        return Failure("fatal", f"says that the account's quota is used up ({said})")
    if status in _RETRIED or status >= 500:
        return Failure("busy", f"answered {said}", _asked_wait_s(error.response.headers))
    return Failure("refused", f"refused the request ({said})")


def _asked_wait_s(headers: Mapping[str, str]) -> float | None:
    """The Retry-After of a response in seconds; None if there is none that can be read."""
    value = headers.get("retry-after", "")
    try:
        seconds = float(value)
    except ValueError:
        try:  # a date: measured against the server's own clock
            asked_for = parsedate_to_datetime(value) - parsedate_to_datetime(headers.get("date", ""))
            seconds = asked_for.total_seconds()
        except (ValueError, TypeError):
            return None
    return seconds if seconds >= 0 else None


def _short(error: BaseException, secret: str) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return (text.replace(secret, "***") if secret else text)[:300]
