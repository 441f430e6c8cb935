"""From the bytes of a server's answer to what they say: JSON however it is dressed, or a stream that nobody asked for.

Knows the forms of bodies, not what an answer is; `completion` reads that.
"""

from __future__ import annotations

import json
import re
from typing import Any

from hydra_ml.llm.faults import MalformedAnswerError

MOST_BYTES = 4 << 20  # of a body: a hundred long answers take a tenth of it
MOST_DIGITS = 18  # of a whole number: what is longer is no count, and Python refuses to read it at 4,300
_STREAM = re.compile(r"\s*(?:data|event|id|retry)?:")
_LINE_END = re.compile(r"\r\n|\n|\r")  # `splitlines` also splits at U+2028, which may stand in an answer


def decode_body(raw: bytes) -> object:
    """What a body says: a JSON value, or the chunks of a stream put together as one completion.

    Raises MalformedAnswerError if it is neither.
    """
    text = decode_text(raw)
    if not text.strip():
        raise MalformedAnswerError("nothing")
    return _joined(text) if _STREAM.match(text) else _value(text)


def decode_text(raw: bytes) -> str:
    """Bytes as text, without what servers put before and around it: marks of byte order, zero bytes."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")  # takes any byte; JSON says UTF-8, old gateways do not listen
    return text.replace("\0", "")


def _value(text: str) -> object:
    try:
        return json.loads(text, parse_int=_whole, parse_constant=lambda _: None, strict=False)
    except RecursionError:
        raise MalformedAnswerError("JSON nested too deep") from None
    except ValueError as error:
        raise MalformedAnswerError(f"text instead of JSON: {text[:80]!r} ({error})") from None


def _whole(digits: str) -> int | None:
    return int(digits) if len(digits) <= MOST_DIGITS else None


def _joined(text: str) -> object:
    """The completion that a stream of server-sent events makes; an error among them stands alone."""
    body: dict[str, Any] = {}
    choices: dict[int, dict[str, Any]] = {}
    is_whole = False
    for line in _LINE_END.split(text):
        if not line.startswith("data:"):
            continue
        data = line.removeprefix("data:").strip()
        if data == "[DONE]":
            is_whole = True
            break
        chunk = _value(data)
        if not isinstance(chunk, dict):
            continue
        body |= {name: value for name, value in chunk.items() if name != "choices" and value}
        for choice in chunk.get("choices") or []:
            if isinstance(choice, dict):
                _append(choices, choice)
    if body.get("error"):
        return {**body, "choices": None}
    if not is_whole and not all(choice.get("finish_reason") for choice in choices.values()):
        raise MalformedAnswerError("a stream that breaks off")
    return {**body, "choices": list(choices.values())}


def _append(choices: dict[int, dict[str, Any]], piece: dict[str, Any]) -> None:
    """Put one piece of a choice behind those that came before it."""
    index = piece.get("index")
    index = index if isinstance(index, int) else 0
    whole = choices.setdefault(index, {"index": index, "message": {}})
    said = piece.get("delta") or piece.get("message") or {"content": piece.get("text")}
    turn = whole["message"]
    for name, value in said.items() if isinstance(said, dict) else ():
        if isinstance(value, str) and isinstance(turn.get(name, ""), str):
            turn[name] = turn.get(name, "") + value
        elif isinstance(value, list):  # parts
            turn[name] = [*turn[name], *value] if isinstance(turn.get(name), list) else value
    whole |= {name: piece[name] for name in ("finish_reason", "error") if piece.get(name)}
