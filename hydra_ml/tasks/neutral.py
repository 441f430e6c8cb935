"""A tweet in plain words: its author's spelling, case, punctuation and emoticons taken out.

Deterministic and of standard English only; words it does not know stay as they are. Knows no task.
"""

from __future__ import annotations

import html
import re

_EMOTICON = re.compile(
    r"(?<!\S)(?:[:;=8][-'^o]?[)(\]\[dDpP/\\|*oO3]+|[)(][-'^]?[:;=]|[xX]D+|<+/?3+|\^[_.-]*\^|[-_>T][_.]+[-_<T]|[oO]_+[oO])(?!\S)"
)
_EMOJI = re.compile("[\U0001f000-\U0001faff\u2600-\u27bf\ufe0f\u200d]")
_AS_IS = re.compile(r"(?:https?://|www\.|@)\S+", re.IGNORECASE)  # links and names are no matter of style
_LAUGHTER = re.compile(r"(?:(?:ha){2,}h?|(?:he){2,}h?|lo+l+|lmf?ao+|rofl)", re.IGNORECASE)
_WORD = re.compile(r"[\w']+")

_SPELLED = {
    "&": "and", "2day": "today", "2moro": "tomorrow", "2morrow": "tomorrow", "2nite": "tonight", "b4": "before",
    "bc": "because", "btw": "by the way", "cant": "cannot", "can't": "cannot", "couldnt": "could not", "coz": "because",
    "cuz": "because", "didnt": "did not", "doesnt": "does not", "dont": "do not", "gimme": "give me",
    "gonna": "going to", "gotta": "have to", "gr8": "great", "havent": "have not", "he's": "he is", "i'm": "I am",
    "idk": "I do not know", "im": "I am", "isnt": "is not", "it's": "it is", "ive": "I have", "kinda": "kind of",
    "l8r": "later", "let's": "let us", "lets": "let us", "lil": "little", "luv": "love", "n": "and", "omg": "oh my god",
    "outta": "out of", "pls": "please", "plz": "please", "ppl": "people", "r": "are", "rly": "really",
    "she's": "she is", "shouldnt": "should not", "sorta": "sort of", "thanx": "thanks", "that's": "that is",
    "thats": "that is", "there's": "there is", "thx": "thanks", "tmrw": "tomorrow", "tomoz": "tomorrow", "u": "you",
    "ur": "your", "w/": "with", "wanna": "want to", "wasnt": "was not", "wat": "what", "what's": "what is",
    "whats": "what is", "won't": "will not", "wont": "will not", "ya": "you", "youre": "you are",
}  # fmt: skip
_ENDINGS = {"n't": " not", "'re": " are", "'m": " am", "'ve": " have", "'ll": " will"}


def neutral_form(text: str) -> str:
    """The text spelled out, in sentence case, with plain stops; the text itself if it was decoration only."""
    plain = html.unescape(text).replace("’", "'").replace("‘", "'")
    plain = _EMOJI.sub(" ", _EMOTICON.sub(" ", plain))
    words = [word for token in plain.split() if (word := _plain_token(token))]
    return _sentence_case(" ".join(words)) or text.strip()


def _plain_token(token: str) -> str:
    """One blank-separated token, lower case and spelled out; "" when it was laughter or decoration only."""
    if _AS_IS.match(token):
        return token
    if token.casefold() in _SPELLED:
        return _SPELLED[token.casefold()]
    plain = _plain_stops(re.sub(r"[#*~_\"“”]", "", token))
    return _WORD.sub(lambda found: _spelled_out(found[0].lower()), plain)


def _plain_stops(token: str) -> str:
    """Runs of stops as one: "?" if it asks, else a full stop; a hesitant ".." within a sentence counts as one too."""
    return re.sub(r"[!?.…]{2,}|[!…]", lambda found: "?" if "?" in found[0] else ".", token)


def _spelled_out(word: str) -> str:
    """A lower-case word without drawn-out letters, shorthand or contraction; "" for laughter."""
    word = re.sub(r"([a-z])\1{2,}(?=[a-z])", r"\1\1", word)  # goooood: English doubles letters within a word,
    word = re.sub(r"([a-z])\1{2,}$", r"\1", word)  # sooooo: but seldom at its end
    if _LAUGHTER.fullmatch(word):
        return ""
    if word in _SPELLED:
        return _SPELLED[word]
    for ending, expansion in _ENDINGS.items():
        if word.endswith(ending) and len(word) > len(ending):
            return word.removesuffix(ending) + expansion
    return word


def _sentence_case(text: str) -> str:
    """A capital at each sentence's start, "I" as a word, no blank or doubled stop where a token fell away."""
    text = re.sub(r"\s+(?=[.,?])", "", text)
    # From the first stop of a run alone: begun anew at each, a record of 200,000 commas took hours.
    text = re.sub(r"(?<![.,])[.,]+(?=[.?])", "", text).lstrip(" .,?-")
    text = re.sub(r"\bi\b(?!['@/.]\w)", "I", text)
    return re.sub(r"(?:^|(?<=[.?] ))[a-z]", lambda found: found[0].upper(), text)
