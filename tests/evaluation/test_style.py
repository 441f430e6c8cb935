"""Distances between manners of writing: by hand, and on users whose manner is planted."""

from __future__ import annotations

from collections import Counter

import pandas as pd
import pytest

from hydra_ml.evaluation.style import (
    character_profile,
    cosine_distance,
    own_answers,
    style_distances,
    variation_distance,
    word_profile,
)

LOUD = ["SHARES OF THE BANK FALL!", "RAIN IN THE NORTH!"]
CALM = ["on shares, and why they fall", "on rain, and why it falls"]


def test_profiles_by_hand() -> None:
    assert character_profile(["a  b"]) == Counter({" a ": 1, "a b": 1, " b ": 1})
    assert word_profile(["The cat and the dog"]) == Counter({"the": 2, "and": 1, "": 2})


def test_distances_by_hand() -> None:
    assert cosine_distance(Counter("ab"), Counter("ab")) == pytest.approx(0.0)
    assert cosine_distance(Counter("ab"), Counter("ac")) == pytest.approx(0.5)
    assert cosine_distance(Counter("a"), Counter("b")) == 1.0
    assert variation_distance(Counter("aab"), Counter("abb")) == pytest.approx(1 / 3)
    assert variation_distance(Counter("a"), Counter("b")) == 1.0


def test_nothing_said_is_as_far_away_as_can_be() -> None:
    found = style_distances(["ann", "bob"], [[None, ""], ["OF THE!", "why"]], {"ann": LOUD, "bob": CALM, "cid": []})
    assert {name: values[:, 0].tolist() for name, values in found.items()} == {
        "style_characters": [1.0, 1.0],
        "style_function_words": [1.0, 1.0],
    }
    assert all((values[:, 1] < 1).all() for values in found.values())


def test_the_own_manner_is_nearer_than_a_strangers_on_other_topics() -> None:
    own = {"ann": LOUD, "bob": CALM}
    loud, calm = "SNOW IN THE CITY OF OSLO!", "on snow, and why it melts"
    found = style_distances(["ann", "bob"], [[loud, calm], [calm, loud]], own)
    for values in found.values():  # [U, M]
        assert (values[:, 0] < values[:, 1]).all()


def test_own_answers_are_those_of_the_users_own_visible_records_each_once() -> None:
    queries = pd.DataFrame({"user_id": ["ann", "ann", "bob"], "profile": [["r1", "r2"], ["r2"], ["r1"]]})
    records = pd.DataFrame(
        {
            "user_id": ["ann", "ann", "ann", "bob"],
            "record_id": ["r1", "r2", "r3", "r1"],
            "answer": ["one", "two", "unseen", ""],
        }
    )
    assert own_answers(queries, records) == {"ann": ["one", "two"]}
