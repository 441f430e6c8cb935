"""What a failed attempt means: try again, give up on this request, or stop asking altogether.

Reads what one attempt may raise (`faults`) and what the server said (`complaint`). Its texts are ready to print: they
hold neither the key nor what a server quotes of the prompt.
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

from hydra_ml.llm.complaint import Complaint, complaint_of
from hydra_ml.llm.faults import LateError, NoAnswerError
from hydra_ml.llm.quotes import without_quotes

FIRST_PAUSE_S = 0.5
LONGEST_WAIT_S = 3600.0  # a server that asks for more is not waited for
SHORTEST_SECRET = 6  # "x", given to a server that wants no key, would be starred out of every word
LONGEST_TOLD = 300  # characters of a server's words
_RETRIED = (0, 408, 409, 423, 424, 425, 429, 498, 499)  # and 5xx; 0: an error inside 200 that gives no status
_CROWDED = (429, 498, 503, 529)
_OF_THE_REQUEST = (0, 400, 403, 422, 451)  # statuses under which a content filter speaks
_ADDRESS = "does not know the address or the model: check OPENAI_BASE_URL (most end in /v1) and llm.model"
_MODEL = "does not know the model: check llm.model"
_FOR_GOOD = {
    401: "refuses the key: check OPENAI_API_KEY",
    402: "wants money first: check the account",
    403: "forbids the request: check what OPENAI_API_KEY may use",
    404: _ADDRESS,
    405: _ADDRESS,
}
_KEY_CODES = {"invalid_api_key", "authentication_error", "unauthorized", "unauthenticated"}
_MODEL_CODES = {"model_not_found", "model_not_found_error", "deploymentnotfound", "invalid_model", "model_not_exist"}
_MODEL_WORDS = re.compile(
    r"\bmodel\b.{0,120}(?:not (?:be )?found|not exist|unknown|is invalid|not a valid model)"
    r"|(?:invalid|unknown|no such|no) model\b|not a valid model|model_not_found|try pulling it",
    re.IGNORECASE,
)
_ACCOUNT_CODES = {
    "insufficient_quota",
    "insufficient_user_quota",
    "exceeded_current_quota_error",
    "billing_hard_limit_reached",
    "billing_not_active",
    "access_terminated",
}
# What a server says where the account, not the request, is to blame, under whatever status.
_ACCOUNT = re.compile(r"api[ _-]?key|quota|balance|\bcredits?\b|billing|payment", re.IGNORECASE)
_FILTER_CODES = {"content_filter", "content_policy_violation", "data_inspection_failed", "responsibleaipolicyviolation"}
_FILTER = re.compile(
    r"content[ _-]?(?:filter|management|policy|moderation)|moderation|flagged|responsible ?ai|guardrail"
    r"|safety (?:system|polic|filter)|inappropriate content",
    re.IGNORECASE,
)
_TOO_LONG_CODES = {"context_length_exceeded", "exceed_context_size_error", "string_above_max_length"}
# A prompt longer than the model's context, in the words of OpenAI, vLLM, SGLang, llama.cpp, TGI, Mistral, Gemini,
# Anthropic, Groq. The last but one is how vLLM counts what is left for the answer.
_TOO_LONG = re.compile(
    r"context[ _-]?(?:length|window|size)|maximum context|max_model_len|prompt is too long|input is too long"
    r"|too many (?:input |prompt )?tokens|reduce the length|exceeds the maximum number of tokens"
    r"|inputs?`? tokens \+ `?max_new_tokens|inputs?`? must have less than|request too large"
    r"|max_(?:completion_)?tokens must be at least 1, got -|context the overflows",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed attempt."""

    # The first two are worth another attempt; of "refused", "cut off" and "too long" the request itself is to blame.
    kind: Literal["busy", "unreachable", "refused", "cut off", "too long", "fatal"]
    what: str  # continues a sentence that begins with the server's address
    wait_s: float | None = None  # the pause the server asked for
    is_late: bool = False  # it may have been at work on it
    is_filtered: bool = False  # refused for what it says, whatever else is asked for
    asks_patience: bool = False  # whatever is asked
    is_reply: bool = False  # the server did its work, and its answer is none

    @property
    def is_servers(self) -> bool:
        """Whether the server itself failed: broke, was late, or answered something that is no answer."""
        return self.kind in ("busy", "unreachable") and not self.asks_patience


def read_failure(error: Exception, *, secret: str, prompt: str = "") -> Failure:
    """What an attempt's exception means; `secret` is blotted out wherever the server echoes it, and so is what it
    quotes of `prompt`."""

    def told(words: object) -> str:
        """Words fit to be shown."""
        return _short(without_quotes(str(words), prompt), secret)

    if _is_late(error):
        return Failure("busy", "gave no answer in time", is_late=True)
    if (complaint := complaint_of(error)) is not None:
        return _read_complaint(complaint, told(complaint.words))
    if isinstance(error, openai.APIConnectionError):
        cause = error.__cause__ or error
        return Failure("unreachable", f"cannot be reached ({told(str(cause) or type(cause).__name__)})")
    if isinstance(error, UnicodeError):  # half a surrogate pair in the prompt
        return Failure("refused", f"cannot be sent this text ({told(error)})")
    if isinstance(error, NoAnswerError):
        # Only the server's words are searched for quotes: ours say what to do, and a prompt may hold some of them.
        return Failure(error.kind, f"gave {error.told}{told(error.said)}", is_reply=True)
    return Failure("busy", f"answered with a body that is no chat completion ({told(error)})")


def is_too_long(complaint: Complaint) -> bool:
    """Whether the server says that the prompt does not fit into the model's context."""
    by_words = complaint.status in (0, 400, 422, 429, 500) and _TOO_LONG.search(complaint.words) is not None
    return complaint.status == 413 or bool(complaint.codes & _TOO_LONG_CODES) or by_words


def is_crowded(error: Exception) -> bool:
    """Whether the server had more to do than it could: it was late, or asked for patience."""
    return _is_late(error) or (isinstance(error, openai.APIStatusError) and error.status_code in _CROWDED)


def _is_late(error: Exception) -> bool:
    # The aiohttp transport turns every connection that is refused or breaks into its ConnectTimeout.
    timed_out = isinstance(error, openai.APITimeoutError) and type(error.__cause__).__name__ != "ConnectTimeout"
    return timed_out or isinstance(error, LateError)


def pause_s(attempt: int, failure: Failure, max_wait_s: float) -> float:
    """Seconds to wait after the `attempt`-th failure (from 1): what the server asked for, else doubling with jitter."""
    if failure.wait_s is not None:
        return min(failure.wait_s, max_wait_s)
    longest = min(FIRST_PAUSE_S * 2.0 ** (attempt - 1), max_wait_s)
    return longest * random.uniform(0.5, 1.0)  # clients that failed together must not come back together


def _read_complaint(complaint: Complaint, told: str) -> Failure:
    """told: its words, fit to be shown."""
    status, words, codes = complaint.status, complaint.words, complaint.codes
    said = f"HTTP {status}: {told}" if complaint.headers or status else f"an error inside HTTP 200: {told}"
    if 300 <= status < 400:
        return Failure("fatal", _sent_elsewhere(complaint.headers.get("location", "")))
    if status in _OF_THE_REQUEST and (codes & _FILTER_CODES or _FILTER.search(words)):
        return Failure("refused", f"refused the request for its content ({said})", is_filtered=True)
    if is_too_long(complaint):
        return Failure(
            "too long", f"has too short a context for the prompt, which has no record left to spare ({said})"
        )
    if for_good := _for_good(complaint):
        return Failure("fatal", f"{for_good} ({said})")
    if status in _RETRIED or status >= 500:
        wait_s = complaint.wait_s()
        if wait_s is not None and wait_s > LONGEST_WAIT_S:
            return Failure("fatal", f"is not to be asked {_until(wait_s, complaint.headers)} ({said})", wait_s)
        return Failure("busy", f"answered {said}", wait_s, asks_patience=status == 429 or wait_s is not None)
    return Failure("refused", f"refused the request ({said})")


def _for_good(complaint: Complaint) -> str:
    """What is to be mended before asking on has a point; "" if nothing is."""
    status, words, codes = complaint.status, complaint.words, complaint.codes
    if status == 403 and complaint.is_page:
        return "is kept from us by a proxy or firewall, which sent a page instead: check OPENAI_BASE_URL and the proxy"
    if codes & _MODEL_CODES or (status in (400, 404, 422) and _MODEL_WORDS.search(words)):
        return _MODEL
    if status in _FOR_GOOD:
        return _FOR_GOOD[status]
    # Some come as 429, but waiting does not help.
    if codes & _ACCOUNT_CODES or (status in (400, 422) and _ACCOUNT.search(words)):
        return "says that the account is to blame: check key and quota"
    return _FOR_GOOD[401] if status == 0 and codes & _KEY_CODES else ""


def _sent_elsewhere(location: str) -> str:
    """Where a redirect points, as the address to set: what is asked is not sent to whom a server names."""
    base = re.sub(r"/chat/completions/?$", "", location.partition("?")[0])
    base = re.sub(r"//[^/@]*@", "//", base)
    return f"sends its requests elsewhere: if that is right, set OPENAI_BASE_URL to {_short(base, '')}"


def _until(wait_s: float, headers: Mapping[str, str]) -> str:
    """When the server may be asked again, by its own clock where it tells the time."""
    try:
        now = parsedate_to_datetime(headers.get("date", ""))
    except (ValueError, TypeError):
        return f"for {wait_s / 3600:.1f} hours"
    return f"before {now + timedelta(seconds=wait_s):%Y-%m-%d %H:%M} UTC"


def _short(words: str, secret: str) -> str:
    """One line that any file and terminal takes."""
    text = "".join(" " if char.isspace() else char for char in words if char.isprintable() or char.isspace())
    text = " ".join(text.split())
    return (text.replace(secret, "***") if len(secret) >= SHORTEST_SECRET else text)[:LONGEST_TOLD]
