"""How the offline model writes a headline, title or subject: it picks a telling phrase of the text and dresses it.

Phrases are ranked by how often their words recur, by cues such as "we propose", and by the author's own vocabulary as
the examples show it. The weights were fitted to ROUGE-1 on the train parts of real headlines and paper titles.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from random import Random

import numpy as np

from hydra_ml.offline.choice import draw
from hydra_ml.offline.manner import (
    SMALL_WORDS,
    Manner,
    draw_manner,
    in_manner,
    manner_of,
    shared_closing,
    shared_opening,
    usual_manner,
)

SHARPNESS = 35.0  # logits per unit of phrase score, at temperature 1
LONGEST = 24  # words of a phrase
READ_WORDS = 600  # of the text; what comes later hardly makes a title

# Weights of a word, by word of the phrase.
RECURS, OWN, NAMED, TALK, STOP = 0.20, 0.20, 0.08, -0.06, 0.03
# Weights of a phrase.
AFTER_CUE, CUE_WITHIN, FIRST_SENTENCE, ENDS_WELL, OFF_LENGTH, OVER_LENGTH = 0.09, 0.07, 0.03, 0.02, -0.09, 0.03

_STOP_WORDS = (
    "about after again all also although am any are be because been before being between both can could did do does "
    "doing during each either further had has have having he her here hers him his how however i is it its itself may "
    "me might more most much must my no not off once only other our out over own same she should some such that their "
    "them then there these they this those through thus too under until up upon us very was we were what when where "
    "which while who whom whose why will within without would you your"
)
_TALK_WORDS = (  # of telling, not of titles
    "we our i is are was were be been has have had this that these those it its they their can which who he she his "
    "her said says will would not however show shows find discuss describe introduce investigate present paper work "
    "propose results"
)
_STOP = SMALL_WORDS | frozenset(_STOP_WORDS.split())
_TALK = frozenset(_TALK_WORDS.split())
_CUE = re.compile(
    r"\b(?:we|paper|work|study|article|here)\s+(?:also\s+|first\s+|then\s+|therefore\s+)?(?:propos|present|introduc|"
    r"describ|investigat|stud(?:y|ies)|examin|explor|develop|address|analy[sz]e|release|focus(?:es)?\son|consider|"
    r"demonstrat|tackle|conduct|report|creat|construct|build|offer|perform|evaluat|compar|discuss)\w*(?:\s+on)?\s+"
    r"(?:(?:a|an|the|our|and|new|novel|simple|first)\s+)*",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"[.!?][\"'”’)]*$")
_EDGE = re.compile(r"^\W+|\W+$")


class Writer:
    """Writes any number of short answers about one text, in the manner of some (text, answer) examples."""

    def __init__(self, text: str, examples: Sequence[tuple[str, str]], background: str = "") -> None:
        answers = [answer for _, answer in examples]
        self._text = text.strip()
        self._words = self._text.split()[:READ_WORDS]
        bare = [_EDGE.sub("", word) for word in self._words]
        self._lower = [word.lower() for word in bare]
        self._manners = [manner_of(answer) for answer in answers]
        self._opening, self._closing = shared_opening(examples), shared_closing(examples)
        shortest = min((len(answer.split()) for answer in answers), default=0)
        if len(self._opening.split()) + len(self._closing.split()) >= shortest:  # some answer is nothing but these
            self._closing = ""
        own_words = {_EDGE.sub("", word).lower() for word in " ".join([*answers, background]).split()}
        counts = Counter(self._lower)
        stop = np.array([word in _STOP or not word for word in self._lower], dtype=bool)
        recurs = np.array([0.0 if word in _STOP else np.log(counts[word]) for word in self._lower])
        own = np.array([word in own_words and word not in _STOP for word in self._lower])
        named = np.array([word[:1].isupper() and idx > 0 for idx, word in enumerate(bare)])
        talk = np.array([word in _TALK for word in self._lower])
        value = RECURS * recurs + OWN * own + NAMED * named + TALK * talk + STOP * stop
        self._stop = stop
        self._value_sum = np.concatenate([[0.0], np.cumsum(value)])
        self._sentence = np.cumsum([False] + [bool(_SENTENCE_END.search(word)) for word in self._words[:-1]])
        stops = [word[-1] in ",;:.!?)" for word in self._words]
        self._pause_after = np.array(stops, dtype=bool) | np.append(stop[1:], True)[: len(stop)]
        self._cue = self._cue_ends()
        self._ranked: dict[int, tuple[list[tuple[int, int]], np.ndarray]] = {}

    def write(self, temperature: float, rng: Random) -> str:
        """One answer: the best at temperature 0; else phrase, length and manner are drawn. "" for an empty text."""
        manner = usual_manner(self._manners) if temperature == 0 else draw_manner(self._manners, rng)
        affixed = len(self._opening.split()) + len(self._closing.split())
        n_words = round(manner.n_words) - affixed
        if self._opening and n_words < 1:
            return self._opening
        n_words = max(2 if affixed else 3, n_words)
        lead = ""
        if manner.two_parts and not self._opening and n_words >= 6:
            start, stop = self._pick(2, temperature, rng)
            lead = " ".join(self._words[start:stop])
            n_words -= stop - start
        start, stop = self._pick(n_words, temperature, rng)
        return self._dress(self._words[start:stop], lead, manner)

    def _dress(self, words: list[str], lead: str, manner: Manner) -> str:
        opening = self._opening.split()
        if opening and words and words[0].lower() == opening[-1].lower():  # "Travel" + "travel to Boston"
            words = words[1:]
        phrase = " ".join(words)
        closes = bool(self._closing) and not phrase.lower().endswith(self._closing.lower())
        phrase = in_manner(phrase, replace(manner, ending="" if closes else manner.ending), starts=not opening)
        if lead and not set(lead.lower().split()) & set(phrase.lower().split()):
            phrase = f"{in_manner(lead, replace(manner, ending=''))}: {phrase}"
        return " ".join([*opening, phrase, *([self._closing] if closes else [])])

    def _pick(self, n_words: int, temperature: float, rng: Random) -> tuple[int, int]:
        """Where a phrase of about n words starts and stops; the whole text if it holds no phrase."""
        if n_words not in self._ranked:
            self._ranked[n_words] = self._rank(n_words)
        phrases, scores = self._ranked[n_words]
        if not phrases:
            return 0, min(n_words, len(self._words))
        return phrases[draw(SHARPNESS * scores, temperature, rng.random())]

    def _rank(self, n_words: int) -> tuple[list[tuple[int, int]], np.ndarray]:
        """Every phrase within one sentence that begins and ends in a telling word, and its score."""
        n = len(self._words)
        cues_before = np.concatenate([[0], np.cumsum(self._cue)])
        phrases: list[tuple[int, int]] = []
        scores: list[np.ndarray] = []
        for length in range(max(1, round(0.6 * n_words)), min(round(1.4 * n_words) + 1, LONGEST, n) + 1):
            start = np.arange(n - length + 1)
            stop = start + length
            fits = (self._sentence[start] == self._sentence[stop - 1]) & ~self._stop[start] & ~self._stop[stop - 1]
            start, stop = start[fits], stop[fits]
            score = (self._value_sum[stop] - self._value_sum[start]) / length
            score += AFTER_CUE * self._cue[start] + CUE_WITHIN * (cues_before[stop] > cues_before[start + 1])
            score += FIRST_SENTENCE * (self._sentence[start] == 0) + ENDS_WELL * self._pause_after[stop - 1]
            score += OFF_LENGTH * abs(length - n_words) / n_words + OVER_LENGTH * max(0, length - n_words) / n_words
            phrases += zip(start.tolist(), stop.tolist(), strict=True)
            scores.append(score)
        return phrases, np.concatenate(scores) if scores else np.zeros(0)

    def _cue_ends(self) -> np.ndarray:
        """Which words follow a cue such as "we propose a"."""
        text = " ".join(self._words)
        starts = np.cumsum([0] + [len(word) + 1 for word in self._words[:-1]])
        return np.isin(starts, [found.end() for found in _CUE.finditer(text)])
