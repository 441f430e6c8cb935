"""How near a method's texts come to a user's own manner of writing, without reading what they say.

Two distances between writing profiles, both from 0 (the same) to 1: of character 3-grams (after Keselj et al., N-gram
based author profiles for authorship attribution, 2003) and of function words (after Mosteller and Wallace, 1964). A
user's texts are taken together, for a single headline tells no manner. Character n-grams hear the topic too. A further
look beside ROUGE, never what a method is judged by. Knows nothing of methods, files or intervals.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from hydra_ml.evaluation.statistics import FloatArray

DISTANCES = ("style_characters", "style_function_words")
_WORDS = """
a about after all also an and any are as at be because been before but by can could did do does for from had
has have he her his how i if in into is it its just like me more most my no not now of on one only or our out
over she should so some such than that the their them then there these they this to too up us was we were what
when where which while who why will with would you your
"""
FUNCTION_WORDS = frozenset(_WORDS.split())
NO_TEXT = 1.0  # the distance of nothing at all from anything
_WORD = re.compile(r"[a-z]+(?:'[a-z]+)?")


def style_distances(
    users: Sequence[str], answers: Sequence[Sequence[str | None]], own: Mapping[str, Sequence[str]]
) -> dict[str, FloatArray]:
    """By name of DISTANCES, how far each method's answers lie from the user's own texts: [U, M], users of `own` in
    sorted order, those without a text of their own left out.

    users: [Q], whose question each is; answers: [M][Q], None where there is none; own: texts by user. A method that
    said nothing to a user is at 1.
    """
    known = sorted(user for user, texts in own.items() if any(texts))
    found = {name: np.empty((len(known), len(answers)), dtype=np.float64) for name in DISTANCES}
    said: list[dict[str, list[str]]] = [{user: [] for user in known} for _ in answers]
    for given, by_user in zip(answers, said, strict=True):
        for user, answer in zip(users, given, strict=True):
            if answer and user in by_user:
                by_user[user].append(answer)
    for row, user in enumerate(known):
        characters, words = character_profile(own[user]), word_profile(own[user])
        for column, by_user in enumerate(said):
            texts = by_user[user]
            found["style_characters"][row, column] = cosine_distance(character_profile(texts), characters)
            found["style_function_words"][row, column] = variation_distance(word_profile(texts), words)
    return found


def character_profile(texts: Sequence[str]) -> Counter[str]:
    """How often each run of 3 characters stands in the texts, case and punctuation kept, white space as one blank."""
    grams: Counter[str] = Counter()
    for text in texts:
        padded = f" {' '.join(text.split())} "
        grams.update(padded[i : i + 3] for i in range(len(padded) - 2))
    return grams


def word_profile(texts: Sequence[str]) -> Counter[str]:
    """How often each function word stands in the texts, and under "" how many words are none."""
    words = (word for text in texts for word in _WORD.findall(text.lower()))
    return Counter(word if word in FUNCTION_WORDS else "" for word in words)


def cosine_distance(one: Counter[str], other: Counter[str]) -> float:
    """1 less the cosine of two count vectors; NO_TEXT if either is empty."""
    if not one or not other:
        return NO_TEXT
    product = sum(count * other[key] for key, count in one.items())
    lengths = math.sqrt(sum(c * c for c in one.values())) * math.sqrt(sum(c * c for c in other.values()))
    return 1.0 - product / lengths


def variation_distance(one: Counter[str], other: Counter[str]) -> float:
    """Half the summed absolute difference of two profiles' shares (total variation); NO_TEXT if either is empty."""
    if not one or not other:
        return NO_TEXT
    n_one, n_other = one.total(), other.total()
    return sum(abs(one[key] / n_one - other[key] / n_other) for key in one.keys() | other.keys()) / 2


def own_answers(queries: pd.DataFrame, records: pd.DataFrame) -> dict[str, list[str]]:
    """By user the answers of their own records that some of these queries may see: rows with user_id and profile, rows
    with user_id, record_id and answer. Users without one are left out."""
    seen = queries[["user_id", "profile"]].explode("profile").drop_duplicates()
    found = seen.merge(records, left_on=["user_id", "profile"], right_on=["user_id", "record_id"])
    return {str(user): texts.tolist() for user, texts in found[found["answer"] != ""].groupby("user_id")["answer"]}
