"""The manner of an answer: how long, in which case, how it opens and ends. Read from examples, put onto new words.

Knows nothing of topics; the words come from `offline_text` and `offline_voice`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from random import Random
from statistics import fmean
from typing import Literal

Case = Literal["title", "lower", "upper", "sentence"]

# Joining words that Title Case leaves small; also where a phrase may not begin or end.
_SMALL = "a an and as at but by for from if in into nor of on or per so than the to via vs with"
SMALL_WORDS = frozenset(_SMALL.split())
# Half the titles and tweets of this world begin with one of these; that is no one's habit.
_COMMON_STARTS = SMALL_WORDS | frozenset(("i", "it", "my", "you", "we", "he", "she", "they", "this", "that", "is"))
_END = re.compile(r"(?:[!?.…]+|\.{2,})$")
_WORD = re.compile(r"[^\W\d_]+")
SHARED_BY = 0.5  # an opening or closing is a habit if more than this share of the examples, and two, have it


@dataclass(frozen=True, slots=True)
class Manner:
    """How one answer is written."""

    n_words: float
    case: Case
    ending: str  # "", "!", "?", "...", as written
    two_parts: bool  # "Lead: the rest"


DEFAULT = Manner(n_words=10, case="sentence", ending="", two_parts=False)  # what a model does unasked


def manner_of(answer: str) -> Manner:
    """The manner of one non-empty answer."""
    ending = _END.search(answer)
    return Manner(len(answer.split()), case_of(answer), ending.group() if ending else "", ": " in answer)


def case_of(text: str) -> Case:
    """The case a text is in, by its words of letters; "sentence" if it has none."""
    words = _WORD.findall(text)
    if not any(word[0].isupper() for word in words):
        return "lower" if words else "sentence"
    if len(text) > 3 and all(word.isupper() for word in words):
        return "upper"
    large = [word for word in words[1:] if word.lower() not in SMALL_WORDS and len(word) > 1]
    return "title" if large and sum(word[0].isupper() for word in large) >= 0.75 * len(large) else "sentence"


def usual_manner(manners: Sequence[Manner]) -> Manner:
    """What most of the examples do, at their mean length; DEFAULT for none."""
    if not manners:
        return DEFAULT
    return Manner(
        n_words=fmean(manner.n_words for manner in manners),
        case=Counter(manner.case for manner in manners).most_common(1)[0][0],
        ending=Counter(manner.ending for manner in manners).most_common(1)[0][0],
        two_parts=sum(manner.two_parts for manner in manners) > len(manners) / 2,
    )


def draw_manner(manners: Sequence[Manner], rng: Random) -> Manner:
    """The manner of one of the examples; without examples, any plausible one."""
    if manners:
        return rng.choice(manners)
    return Manner(rng.uniform(6, 14), rng.choice(("sentence", "title")), "", rng.random() < 0.25)


def shared_opening(examples: Sequence[tuple[str, str]]) -> str:
    """The longest run of first words that more than half of the answers, and two, begin with; "" if none.

    Of (text, answer) examples; a word that the text itself holds is topic, not habit, and ends the run.
    """
    return " ".join(_shared_run([(text, answer.split()) for text, answer in examples]))


def shared_closing(examples: Sequence[tuple[str, str]]) -> str:
    """The same for last words."""
    return " ".join(reversed(_shared_run([(text, answer.split()[::-1]) for text, answer in examples])))


def _shared_run(examples: Sequence[tuple[str, list[str]]]) -> list[str]:
    needed = max(2, int(SHARED_BY * len(examples)) + 1)
    runs = [_before_topic(text, answer) for text, answer in examples]
    shared: list[str] = []
    while True:
        n = len(shared)
        following = [run[n] for run in runs if len(run) > n and run[:n] == shared]
        word, count = Counter(following).most_common(1)[0] if following else ("", 0)
        if count < needed:
            break
        shared.append(word)
    while shared and shared[-1].lower() in _COMMON_STARTS:
        shared.pop()
    return shared


def _before_topic(text: str, words: Sequence[str]) -> list[str]:
    """The words up to the first that the text holds."""
    topic = _words_of(text)
    return list(takewhile(lambda word: topic.isdisjoint(_words_of(word)), words))


def _words_of(text: str) -> set[str]:
    return set(_WORD.findall(text.lower()))


def in_manner(text: str, manner: Manner, *, starts: bool = True) -> str:
    """The words in the manner's case, with its ending in place of their own; `starts` if nothing stands before them."""
    text = _END.sub("", text.strip().rstrip(",;:-"))
    if manner.case == "lower":
        text = text.lower()
    elif manner.case == "upper":
        text = text.upper()
    elif manner.case == "title":
        text = " ".join(
            _large(word) if starts and idx == 0 else _title_word(word) for idx, word in enumerate(text.split())
        )
    elif starts:
        text = _large(text)
    return text + manner.ending


def _title_word(word: str) -> str:
    return word if word.lower() in SMALL_WORDS else _large(word)


def _large(text: str) -> str:
    """The text with its first letter in upper case, past quotation marks and brackets."""
    first = re.search(r"\w", text)
    return text if first is None else text[: first.start()] + first.group().upper() + text[first.end() :]
