"""A tiny grammar: templates with choices and slots become English sentences.

`[a|b]` is one of the two, `[x=a|b]` too and names the choice, `{x}` is a named choice, a word from the lexicon or a
bound value. Knows nothing of tasks, users or files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from random import Random

Lexicon = Mapping[str, Sequence[str]]

_CHOICE = re.compile(r"\[(?:(\w+)=)?([^\[\]]*)\]")
_SLOT = re.compile(r"\{(\w+)\}")
_ARTICLE = re.compile(r"\b([Aa]) (?=[aeioAEIO]|8|11\b|18\b|u(?!ni|su|se|ti|ro)|hour|honest|heir)(?!one\b|once\b|eu|Eu)")
_SENTENCE_START = re.compile(r"(^|[.!?]\s+)([a-z])")

NAMES = {
    "she": "Nora Ines Priya Mavis Olga Ruth Amara Wanda Yuki Carmen Leila Greta Tess Sunniva Dolores Hana Beatriz "
    "Imogen Fatima Josie Marta Edith Rosalind Thandi",
    "he": "Tomas Elias Ravi Otto Marcus Hugo Kenji Dmitri Samuel Felix Omar Walter Luca Anton Desmond Pablo Idris "
    "Gus Henrik Callum Theo Bao Mateo Cornelius",
}
SURNAMES = (
    "Quill Okafor Lindqvist Barrow Mehta Castellano Nakamura Hargreave Dvorak Achebe Sorensen Whitlock Delgado Byrne "
    "Petrov Sinclair Marchetti Osei Kowalski Thornbury Haddad Vance Ferreira Lockwood Yamada Pruitt Zeller Abernathy"
)


def fill(template: str, rng: Random, words: Lexicon, bound: Mapping[str, str] | None = None) -> str:
    """The template with every choice and slot decided; a slot that occurs twice gets the same word in both places.

    `bound` fixes slots beforehand. Choices and slots inside chosen words are filled in turn. Raises KeyError for an
    unknown slot.
    """
    text = _expanded(template, rng, words, dict(bound or {}))
    return " ".join(_ARTICLE.sub(r"\1n ", text).split())


def _expanded(text: str, rng: Random, words: Lexicon, chosen: dict[str, str]) -> str:
    """The text without brackets, blanks as they come; what slots and named choices became is noted in `chosen`."""
    while "[" in text or "{" in text:
        found = _CHOICE.search(text) or _SLOT.search(text)
        if not found:
            raise ValueError(f"template with an unmatched bracket: {text!r}")
        if found.re is _CHOICE:
            name, word = found.group(1), _expanded(rng.choice(found.group(2).split("|")), rng, words, chosen)
        else:
            name = found.group(1)
            word = chosen[name] if name in chosen else _expanded(rng.choice(words[name]), rng, words, chosen)
        if name:
            chosen[name] = word
        text = text[: found.start()] + word + text[found.end() :]
    return text


def sentence(text: str) -> str:
    """The text with every sentence starting in a capital and a full stop at the end unless it has an end mark."""
    text = _SENTENCE_START.sub(lambda start: start.group(1) + start.group(2).upper(), text.strip())
    return text if text.endswith((".", "!", "?", '"')) else text + "."


def person(rng: Random) -> dict[str, str]:
    """Slots for one invented person: name, full_name, she, her (possessive), obj, self."""
    gender = rng.choice(("she", "he"))
    name = rng.choice(NAMES[gender].split())
    return {
        "name": name,
        "full_name": f"{name} {rng.choice(SURNAMES.split())}",
        "she": gender,
        "her": "her" if gender == "she" else "his",
        "obj": "her" if gender == "she" else "him",
        "self": "herself" if gender == "she" else "himself",
    }


def title_case(text: str) -> str:
    """The text in headline capitals: every word but short joining words, the first word always."""
    small = {
        "a",
        "an",
        "and",
        "as",
        "at",
        "but",
        "by",
        "for",
        "from",
        "in",
        "into",
        "of",
        "on",
        "or",
        "the",
        "to",
        "with",
    }
    words = text.split()
    return " ".join(
        word if index and word in small and not words[index - 1].endswith(":") else capitalized(word)
        for index, word in enumerate(words)
    )


def capitalized(text: str) -> str:
    """The text with its first letter in upper case, opening quotes and brackets passed over."""
    start = next((index for index, letter in enumerate(text) if letter.isalnum()), 0)
    return text[:start] + text[start : start + 1].upper() + text[start + 1 :]
