"""What a server said instead of an answer: its words, its codes, and when it may be asked again, wherever it puts them.

Reads error bodies under an error's status and inside HTTP 200 alike; what follows from them is `failures`' affair.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from itertools import islice

import openai

from hydra_ml.llm.body import decode_body, decode_text
from hydra_ml.llm.faults import MalformedAnswerError, NoAnswerError

DEEPEST = 8  # levels of an error body that are read
LONGEST = 8000  # characters of its words: a body may hold 4 MiB, and some questions take the square of that
LONGEST_SPAN = 100  # characters of a span of time
_WORDS = ("error", "message", "detail", "msg", "raw", "Message", "error_description", "status_msg", "errors", "title")
_CODES = ("code", "type", "status", "status_code", "error_type", "reason")
_PAGE = re.compile(r"\s*<(?:!doctype|html|head|body)\b", re.IGNORECASE)
_UNIT = r"(?:milliseconds?|ms|hours?|h|minutes?|m|seconds?|s)(?![a-z])"
_SPAN = re.compile(rf"(\d+(?:\.\d+)?) ?({_UNIT})", re.IGNORECASE)  # 6m0s, 1.5s, 20 seconds, 250ms
_AGAIN = re.compile(rf"(?:try|retry)(?:ing)?(?: again)? (?:in|after) ((?:\d+(?:\.\d+)? ?{_UNIT} ?)+)", re.IGNORECASE)
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0}  # by a unit's first letter


@dataclass(frozen=True, slots=True)
class Complaint:
    """One error of a server."""

    status: int  # of HTTP, or what the error inside a 200 says it would be; 0 for none
    words: str  # in one line
    codes: frozenset[str]  # every code, type and status it gives, in lower case
    body: object
    headers: Mapping[str, str]
    is_page: bool = False  # written for a browser: by a proxy, a firewall, a sign-in

    def wait_s(self) -> float | None:
        """The pause it asks for in seconds; None if it asks for none that can be read."""
        told = [*_asked_by_header(self.headers), *_asked_by_body(self.body)]
        if span := _AGAIN.search(self.words):
            told.append(_seconds(span[1]))
        return next((seconds for seconds in told if 0 <= seconds < float("inf")), None)


def complaint_of(error: Exception) -> Complaint | None:
    """The complaint in what an attempt raised; None if the server made none."""
    if isinstance(error, openai.APIStatusError):
        raw = error.response.content
        body = _decoded(raw) if raw.strip() else error.body
        codes = _codes(body) | ({str(error.code).lower()} if error.code else set())
        page = isinstance(body, str) and _PAGE.match(body) is not None
        words = words_of(body) or words_of(str(error))
        return Complaint(error.status_code, words, frozenset(codes), body, error.response.headers, page)
    if isinstance(error, NoAnswerError) and error.body is not None:
        codes = _codes(error.body)
        status = next((int(code) for code in sorted(codes) if re.fullmatch(r"[45]\d\d", code)), 0)
        return Complaint(status, str(error), frozenset(codes), error.body, {})
    return None


def words_of(body: object, depth: int = 0) -> str:
    """What a server says of an error, in one line, wherever it puts it: OpenAI's error.message, FastAPI's detail, a
    list of errors, plain text."""
    if depth > DEEPEST:
        return ""
    if isinstance(body, list):
        return words_of(body[0], depth + 1) if body else ""
    if not isinstance(body, dict):
        text = " ".join(str(body or "")[:LONGEST].split())
        return _page_title(text) if _PAGE.match(text) else text
    for name in _WORDS:
        if (found := body.get(name)) and (words := words_of(found, depth + 1)):
            inner = body.get("metadata")
            more = words_of(inner, depth + 1) if isinstance(inner, dict) else ""
            where = body.get("loc")
            told = f"{'.'.join(map(str, where[:DEEPEST]))}: {words}" if isinstance(where, list) else words
            return f"{told} ({more})" if more else told
    fields = (f"{name}: {value}" for name, value in body.items() if isinstance(value, (str, int, float)))
    return " ".join(islice(fields, LONGEST))[:LONGEST]


def _decoded(raw: bytes) -> object:
    try:
        return decode_body(raw)
    except MalformedAnswerError:
        return decode_text(raw)


def _parts(body: object, depth: int = 0) -> Iterator[Mapping[str, object]]:
    """Every object in a body, from the outside in; a bound number of levels."""
    if depth > DEEPEST:
        return
    if isinstance(body, dict):
        yield body
    for part in body.values() if isinstance(body, dict) else body if isinstance(body, list) else ():
        yield from _parts(part, depth + 1)


def _codes(body: object) -> set[str]:
    values = [part.get(name) for part in _parts(body) for name in _CODES]
    return {str(value).lower() for value in values if isinstance(value, (str, int)) and not isinstance(value, bool)}


def refused_places(body: object) -> set[str]:
    """Names of the request's fields that an error points at: as its `param`, or as a place in the body (`loc`)."""
    found: set[str] = set()
    for part in _parts(body):
        if isinstance(param := part.get("param"), str):
            found.add(param.removeprefix("body."))
        if isinstance(where := part.get("loc"), list):
            found |= {place for place in where if isinstance(place, str) and place != "body"}
    return found


def _asked_by_header(headers: Mapping[str, str]) -> Iterator[float]:
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        with suppress(ValueError):
            yield float(headers.get(name, "")) * unit
    with suppress(ValueError, TypeError):  # a date: measured against the server's own clock
        until, now = (parsedate_to_datetime(headers.get(name, "")) for name in ("retry-after", "date"))
        yield (until - now).total_seconds()
    spent = [what for what in ("requests", "tokens") if headers.get(f"x-ratelimit-remaining-{what}", "0") == "0"]
    resets = [_seconds(headers.get(f"x-ratelimit-reset-{what}", "")) for what in spent]
    if any(seconds >= 0 for seconds in resets):
        yield max(resets)


def _asked_by_body(body: object) -> Iterator[float]:
    for part in _parts(body):
        for name in ("estimated_time", "retry_after", "retryDelay"):  # Hugging Face, gateways, Gemini
            value = part.get(name)
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                yield float(value)
            elif isinstance(value, str):
                yield _seconds(value)


def _seconds(span: str) -> float:
    """6m0s, 1.5s, 250ms in seconds; -1 if it is no span of time."""
    parts = _SPAN.findall(span[:LONGEST_SPAN])
    return sum(float(number) * _in_seconds(unit.lower()) for number, unit in parts) if parts else -1.0


def _in_seconds(unit: str) -> float:
    return 0.001 if unit.startswith(("ms", "milli")) else _SECONDS[unit[0]]


def _page_title(page: str) -> str:
    """What a proxy's HTML page says, without its markup."""
    title = re.search(r"<title>(.*?)</title>", page, re.IGNORECASE)
    return " ".join((title[1] if title else re.sub(r"<[^<>]*>", " ", page)).split())
