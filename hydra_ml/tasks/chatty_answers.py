"""How a talkative LLM's text is read: the one label or score it names, or the line it was asked for without the talk
around it. What is ambiguous stays unread.

`answers` reads as LaMP's official figures are read; this is tried where that finds nothing. Knows no task.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

from hydra_ml.tasks.answers import closed_answer, one_line, spelling, whole_number

_NEGATION = re.compile(
    r"\b(?:not|no|never|neither|nor|without|rather than|instead of|except)\b|n['’]t\b", re.IGNORECASE
)
_NUMBER = re.compile(r"(?<![\w.$£€])[-−]?\d+(?:[.,]\d+)?(?!\w)")
_NOT_IT = re.compile(r"(?:\bnot|n['’]t)\s+(?:an?\s+)?[\d\[]", re.IGNORECASE)  # "not 5"; "I did not like it: 2" is a 2
_WORDS = {
    word: str(number)
    for number, word in enumerate(
        ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    )
}
_WORD = re.compile(rf"\b({'|'.join(_WORDS)})\b(?=\s*(?:stars?\b|[.!]?\s*$))", re.IGNORECASE)
_REFERENCE = re.compile(r"(?:[\[(]|\breference\s+|\boption\s+)([12])\b", re.IGNORECASE)
_THING = r"(?:title|headline|subject(?:\s+line)?|paraphrase[ds]?(?:\s+tweet)?|tweet|reply|response|message)"
_LEAD = re.compile(  # "Sure! Here is a headline for the article:", but not "Here's Why:", which is a headline
    rf"^(?:(?:sure|certainly|of course|okay|ok)\b[,.!:]?\s*)?here(?:['’]s|\s+is|\s+are)\b[^:\n]{{0,60}}"
    rf"\b(?:{_THING}|version|option|answer|rewrite)s?\b[^:\n]{{0,60}}:\s*",
    re.IGNORECASE,
)
_HEADING = re.compile(r"^(?:#{1,6}|>)\s+")  # Markdown's; "#tag" is the text's own
_NAME = re.compile(  # "**Title:**", "The headline is:"
    rf"^[#>*_\s]*(?:(?:the|generated|suggested|possible|new)\s+)?(?:{_THING}|answer)(?:\s+(?:is|for\s+[^:\n]{{0,40}}))?"
    r"\s*(?:[*_]*:[*_]*)\s*",
    re.IGNORECASE,
)


def named_label(raw: str, labels: Sequence[str], stands_for: Mapping[str, str] | None = None) -> str | None:
    """The one label of a closed set that the text names, case, number and Markdown overlooked; None if it names none,
    several, or what it is not. stands_for: the label meant, by `answers.spelling`; None: each means itself.

    A first line that is a label counts alone: base models go on to write the next question.
    """
    first = next((line for line in raw.splitlines() if line.strip()), "")
    if found := closed_answer(first, labels):
        return found
    if _NEGATION.search(raw):
        return None
    pattern, spelled = _any_of(tuple(labels))
    named = {spelled[match.lastgroup or ""] for match in pattern.finditer(raw)}
    if stands_for is not None:
        named = {stands_for[spelling(name)] for name in named}
    return named.pop() if len(named) == 1 else None


@lru_cache
def _any_of(labels: tuple[str, ...]) -> tuple[re.Pattern[str], dict[str, str]]:
    """A pattern that finds labels as whole words, the longest first ("dark comedy" names no "comedy"), and the label
    of each of its groups."""
    longest_first = sorted(range(len(labels)), key=lambda idx: -len(labels[idx]))
    either = "|".join(f"(?P<label_{idx}>{_loosely(labels[idx])})" for idx in longest_first)
    pattern = re.compile(rf"(?<![\w-])(?:{either})(?![\w-])", re.IGNORECASE)
    return pattern, {f"label_{idx}": label for idx, label in enumerate(labels)}


def _loosely(label: str) -> str:
    """A pattern for a label in singular or plural, with blanks for hyphens and "and" for "&"."""
    words = [word for word in re.split(r"[\s-]+", label) if word]
    loose = [r"(?:&|and)" if word in ("&", "and") else re.escape(word) for word in words]
    last = words[-1]
    if last.isalpha() and len(last) > 3:
        loose[-1] = f"{last[:-1]}(?:y|ies)" if last.endswith("y") else f"{last.removesuffix('s')}s?"
    return r"[\s-]+".join(loose)


def named_rating(raw: str, labels: Sequence[str]) -> str | None:
    """The one score that the text names ("4 out of 5", "4/5", "four stars"); None if it names none, several, or one
    between two."""
    first = next((line for line in raw.splitlines() if line.strip()), "")
    if found := closed_answer(whole_number(first), labels):
        return found
    if _NOT_IT.search(raw):
        return None
    text = _scale(labels[0], labels[-1]).sub(" ", raw)
    named = {whole_number(number) for number in _NUMBER.findall(text)}
    named = named or {_WORDS[word.lower()] for word in _WORD.findall(text)}
    score = named.pop() if len(named) == 1 else None
    return score if score in labels else None


@lru_cache
def _scale(lowest: str, highest: str) -> re.Pattern[str]:
    """What says how far the scale goes, and is no score: "out of 5", "/5 stars", "1 to 5"."""
    word = {number: word for word, number in _WORDS.items()}
    low, high = (rf"(?:{end}|{word[end]})" if end in word else re.escape(end) for end in (lowest, highest))
    pattern = rf"(?:out\s+of|/|of)\s*{high}\b(?:\s*stars?)?|(?<!\w){low}\s*(?:to|-|–)\s*{high}\b"
    return re.compile(pattern, re.IGNORECASE)


def named_reference(raw: str) -> str | None:
    """The one reference that the text points to ("[1]", "(1)", "reference 1"), as "[1]" or "[2]"; None if it points to
    none, to both, or to what it is not."""
    named = set(_REFERENCE.findall(raw))
    return f"[{named.pop()}]" if len(named) == 1 and not _NOT_IT.search(raw) else None


def told_text(raw: str) -> str | None:
    """All of the text, without "Here is a reply:" before it; None if nothing is left."""
    return _LEAD.sub("", raw.strip(), count=1).strip() or None


def told_line(raw: str) -> str | None:
    """The first line of text itself: without "Here is a headline:", "Title:" and Markdown around it; None if nothing is
    left."""
    text = _LEAD.sub("", raw.strip(), count=1)
    line = one_line(_NAME.sub("", text, count=1))
    if line is None:
        return None
    line = _HEADING.sub("", line)
    for mark in ("**", "__"):  # one asterisk is a tweeter's own: *sigh*
        if line.startswith(mark) and line.endswith(mark) and len(line) > 2 * len(mark):
            line = line[len(mark) : -len(mark)]
    return one_line(_NAME.sub("", line, count=1))
