"""The small grammar, by hand-worked cases."""

from __future__ import annotations

from random import Random

import pytest

from hydra_ml.sample.prose import capitalized, fill, person, sentence, title_case


def test_choices_slots_and_bound_values():
    filled = {fill("[a|b] {x}, {x}", Random(seed), {"x": ("c", "d")}, {"y": "e"}) for seed in range(40)}
    assert filled == {"a c, c", "a d, d", "b c, c", "b d, d"}
    assert fill("{y} {z}", Random(0), {"z": ("{y}!",)}, {"y": "e"}) == "e e!"


def test_a_named_choice_is_kept():
    assert {fill("[x=tea|soup] and {x}", Random(seed), {}) for seed in range(20)} == {"tea and tea", "soup and soup"}


def test_choices_may_hold_slots_and_nothing():
    assert {fill("so[ {x}|]", Random(seed), {"x": ("far",)}) for seed in range(20)} == {"so far", "so"}


@pytest.mark.parametrize(
    ("raw", "mended"),
    [
        ("a apple", "an apple"),
        ("A old uniform", "An old uniform"),
        ("a university", "a university"),
        ("a hour, a house", "an hour, a house"),
        ("a one-time European", "a one-time European"),
        ("a umbrella", "an umbrella"),
        ("a 11-page or 8-page", "an 11-page or 8-page"),
        ("a unsigned unit", "an unsigned unit"),
    ],
)
def test_the_article_fits_the_next_word(raw: str, mended: str):
    assert fill(raw, Random(0), {}) == mended


def test_unknown_slots_and_unmatched_brackets_are_refused():
    with pytest.raises(KeyError):
        fill("{nobody}", Random(0), {})
    with pytest.raises(ValueError, match="unmatched"):
        fill("{not closed", Random(0), {})


def test_sentences_and_titles():
    assert sentence("it rains. we stay") == "It rains. We stay."
    assert sentence('he said "no."') == 'He said "no."'
    assert title_case("the end of a day: the facts") == "The End of a Day: The Facts"
    assert title_case("'we can' (she said)") == "'We Can' (She Said)"
    assert capitalized("'it was'") == "'It was'"
    assert capitalized("") == ""


def test_a_person_has_matching_pronouns():
    people = [person(Random(seed)) for seed in range(20)]
    assert {(who["she"], who["her"], who["obj"]) for who in people} == {("she", "her", "her"), ("he", "his", "him")}
    assert all(who["full_name"].startswith(who["name"] + " ") for who in people)
