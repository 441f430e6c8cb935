"""How the offline model rephrases: it keeps the words and puts them into the voice of the examples' answers.

Voice is case, ending, contractions, respellings and what stands at the end ("lol", ":)"), each as the examples show it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from difflib import SequenceMatcher
from itertools import takewhile
from random import Random

from hydra_ml.offline.manner import DEFAULT, draw_manner, in_manner, manner_of, shared_opening, usual_manner

_CONTRACTIONS = (
    (re.compile(r"\b(do|does|did|is|are|was|were|have|has|had|could|should|would) not\b", re.IGNORECASE), r"\1n't"),
    (re.compile(r"\b(c)an ?not\b", re.IGNORECASE), r"\1an't"),
    (re.compile(r"\b(w)ill not\b", re.IGNORECASE), r"\1on't"),
    (re.compile(r"\b(i) am\b", re.IGNORECASE), r"\1'm"),
    (re.compile(r"\b(you|we|they) are\b", re.IGNORECASE), r"\1're"),
    (re.compile(r"\b(he|she|it|that|what|there|who|where) is\b", re.IGNORECASE), r"\1's"),
    (re.compile(r"\b(i|you|he|she|it|we|they) will\b", re.IGNORECASE), r"\1'll"),
    (re.compile(r"\b(l)et us\b", re.IGNORECASE), r"\1et's"),
)
_LOOSENED = (  # what a model may do of its own accord, at a temperature
    (re.compile(r"\bgoing to(?= [a-z])"), "gonna"),
    (re.compile(r"\bwant to\b"), "wanna"),
    (re.compile(r"\bbecause\b"), "cause"),
    (re.compile(r"\byou\b"), "u"),
    (re.compile(r"\b(?:really|very) "), "so "),
    (re.compile(r"^(?:I am|I'm|It is|It's) (?=\w+)"), ""),
    (re.compile(r"(?<=[.!?])\s+[^.!?]+[.!?]*$"), ""),  # drops the last sentence
)
_CONTRACTED = re.compile(r"\w['’](?:t|m|re|s|ll|ve|d)\b", re.IGNORECASE)
_WORD = re.compile(r"\w[\w'’]*")
_MARK = re.compile(  # an emoticon or emoji, alone
    r"[:;=8xX][-'^o]?[()\[\]DdPpOo3/\\|*]+|</?3+|[^\w\s]{2,}|[^\w\s.!?…,;:'\"()-]"
)
_LAUGHTER = re.compile(r"(?:lo+l|lmf?ao|rofl|xo+(?:xo)*|(?:ha){2,}h?|(?:he){2,})", re.IGNORECASE)
_STOPS = re.compile(r"[.!?…]+")
LONGEST_RESPELLING = 3  # words


class Voice:
    """Rephrases any number of texts as the answers of some (text, answer) examples are phrased."""

    def __init__(self, examples: Sequence[tuple[str, str]]) -> None:
        self._bodies: list[str] = []
        self._tails: list[str] = []
        changes: Counter[tuple[str, str]] = Counter()
        for text, answer in examples:
            body, tail = split_tail(answer)
            self._bodies.append(body or answer)
            self._tails.append(tail)
            changes.update(respellings(text, body))
        self._opening = shared_opening([(_after_shared_start(text, answer), answer) for text, answer in examples])
        self._manners = [manner_of(body) for body in self._bodies]
        answered = " " + " ".join(" ".join(_WORD.findall(body.lower())) for body in self._bodies) + " "
        best: dict[str, str] = {}
        for (plain, own), count in changes.most_common():
            if plain not in best and count > answered.count(f" {plain} "):  # more often respelt than left alone
                best[plain] = own
        self._respellings = best
        self._contracts = not examples or any(_CONTRACTED.search(body) for body in self._bodies)

    def write(self, text: str, temperature: float, rng: Random) -> str:
        """The text in the examples' voice: their habits at temperature 0, one drawn example's ways else."""
        if temperature == 0:
            manner, contracts, loosened = usual_manner(self._manners), self._contracts, 0.0
            tail, n_tails = Counter(self._tails).most_common(1)[0] if self._tails else ("", 0)
            tail = tail if n_tails > len(self._tails) / 2 else ""
        else:
            manner = draw_manner(self._manners, rng) if self._manners else DEFAULT
            tail = rng.choice(self._tails) if self._tails else ""
            contracts = rng.random() < (0.9 if self._contracts else 0.1)
            loosened = 0.2 if self._manners else 0.3
        for plain, own in self._respellings.items():
            if temperature == 0 or rng.random() < 0.9:
                whole_words = rf"(?<![\w']){re.escape(plain)}(?![\w'])"
                text = re.sub(whole_words, own.replace("\\", r"\\"), text, flags=re.IGNORECASE)
        if contracts:
            for pattern, short in _CONTRACTIONS:
                text = pattern.sub(short, text)
        for pattern, short in _LOOSENED:
            if rng.random() < loosened:
                text = pattern.sub(short, text)
        if self._manners and manner.ending.strip("."):  # who ends on "!!" writes it after every sentence
            text = _STOPS.sub(lambda found: found.group() if "?" in found.group() else manner.ending, text)
        opening = "" if text.lower().startswith(self._opening.lower()) else self._opening
        return " ".join(f"{opening} {in_manner(text, manner, starts=not opening)} {tail}".split())


def split_tail(answer: str) -> tuple[str, str]:
    """An answer and what hangs at its end: emoticons, emoji, laughter. Hashtags there belong to the topic: dropped."""
    words = [word for word in answer.split() if not word.startswith("#")] or answer.split()
    n = len(words)
    while n > 1 and (_MARK.fullmatch(words[n - 1]) or _LAUGHTER.fullmatch(words[n - 1])):
        n -= 1
    return " ".join(words[:n]), " ".join(words[n:])


def respellings(text: str, answer: str) -> list[tuple[str, str]]:
    """Which words of the text stand otherwise in its answer, both in lower case: ("you", "u")."""
    plain, own = _WORD.findall(text.lower()), _WORD.findall(answer.lower())
    pairs: list[tuple[str, str]] = []
    for change, a, b, c, d in SequenceMatcher(None, plain, own, autojunk=False).get_opcodes():
        if change == "replace" and b - a <= LONGEST_RESPELLING and d - c <= LONGEST_RESPELLING:
            word_by_word = b - a == d - c
            whole = [(" ".join(plain[a:b]), " ".join(own[c:d]))]
            pairs += zip(plain[a:b], own[c:d], strict=True) if word_by_word else whole
    return pairs


def _after_shared_start(text: str, answer: str) -> str:
    """The text without the words that it and its answer both begin with: "Hey guys" is habit even where both say it."""
    pairs = zip(text.casefold().split(), answer.casefold().split(), strict=False)
    n_shared = len(list(takewhile(lambda pair: pair[0] == pair[1], pairs)))
    return " ".join(text.split()[n_shared:])
