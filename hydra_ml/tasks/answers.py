"""How an LLM's text is read as an answer: a member of a closed set, or one line of free text.

Stricter than the released code, whose substring rules let "" and "comedy" stand for "dark comedy". Knows no task.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from unicodedata import normalize

from hydra_ml.records import normalized

_QUOTE_PAIRS = {'"': '"', "'": "'", "“": "”", "‘": "’", "`": "`"}
_AROUND = " \t\r\n\"'“”‘’`*"  # white space, quotes and Markdown's bold that LLMs put around a label
_ECHO = re.compile(r"^(?:tag|category|score|rating|answer)\s*:\s*", re.IGNORECASE)  # "Tag: comedy"


def closed_answer(raw: str, labels: Sequence[str]) -> str | None:
    """The label that the text is, in its official spelling; None unless it equals one whole label.

    Case, white space, surrounding quotes, trailing punctuation and one leading "tag:"-like echo are overlooked.
    """
    bare = _ECHO.sub("", raw.strip(_AROUND))
    bare = bare.strip(_AROUND).rstrip(".,;:!?").strip(_AROUND)
    return _by_spelling(tuple(labels)).get(spelling(bare))


def spelling(label: str) -> str:
    """What tells a label apart: not case, white space, or which of Unicode's two forms an accent is written in."""
    return normalized(normalize("NFC", label))


@lru_cache
def _by_spelling(labels: tuple[str, ...]) -> dict[str, str]:
    """Each label by its spelling, the first of those that share one."""
    return {spelling(label): label for label in reversed(labels)}


def whole_number(raw: str) -> str:
    """The text with a decimal part of zeros removed ("4.0" gives "4"); any other text unchanged."""
    return re.sub(r"(?<=\d)\.0+(?=\D*$)", "", raw)


def one_line(raw: str) -> str | None:
    """The first line that is not blank, white space collapsed and surrounding quotes removed; None if nothing is left.

    Quotes go only as a pair with none of their kind between, so that `"Yes" and "no"` keeps them.
    """
    line = next((" ".join(line.split()) for line in raw.splitlines() if line.strip()), "")
    closing = _QUOTE_PAIRS.get(line[:1])
    if closing is not None and len(line) > 1 and line.endswith(closing):
        inner = line[1:-1]
        if closing not in inner and line[0] not in inner:
            line = inner.strip()
    return line or None
