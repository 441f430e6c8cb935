"""The sample as a whole: LaMP's shape, time order, no leaks, and the planted habits really there, for every task."""

from __future__ import annotations

import json
from collections import Counter
from functools import cache
from statistics import mean
from typing import Any

import pytest

from hydra_ml.errors import ParamsError
from hydra_ml.records import normalized
from hydra_ml.sample import DOMAINS, SampleTask, generate
from hydra_ml.sample.reviews import expected_score
from hydra_ml.tasks import TASKS

EVERY_TASK = sorted(TASKS)
LABEL_KEYS = {"LaMP_2": "tag", "LaMP_2N": "category"}


@cache
def sample(folder: str) -> SampleTask:
    return generate(folder, seed=42)


def answered(folder: str) -> list[tuple[dict[str, Any], str, dict[str, Any], Any]]:
    """(question, gold, the user's taste, what the text shows) of every test question."""
    made = sample(folder)
    rows = []
    for question in made.questions["test"]:
        truth = made.truth[question["user_id"]]
        rows.append((question, made.golds["test"][question["id"]], truth["taste"], truth["cues"][question["id"]]))
    return rows


def accuracy(pairs: list[tuple[str, str]]) -> float:
    return mean(answer == gold for answer, gold in pairs)


def most_common(labels: list[str]) -> str:
    return Counter(labels).most_common(1)[0][0]


def test_every_task_has_a_domain():
    assert set(DOMAINS) == set(TASKS)


def test_unknown_task_is_refused():
    with pytest.raises(ParamsError, match="LaMP_9"):
        generate("LaMP_9", seed=1)


@pytest.mark.parametrize("folder", EVERY_TASK)
def test_same_seed_same_sample_and_other_seed_another(folder: str):
    first, again, other = (generate(folder, seed=seed, n_users=4) for seed in (3, 3, 4))
    assert json.dumps([first.questions, first.golds, first.truth]) == json.dumps(
        [again.questions, again.golds, again.truth]
    )
    assert first.questions["test"][0]["input"] != other.questions["test"][0]["input"]


@pytest.mark.parametrize("folder", ["LaMP_2", "LaMP_7"])
def test_more_users_leave_the_first_ones_as_they_are(folder: str):
    few, many = generate(folder, seed=3, n_users=2), generate(folder, seed=3, n_users=4)
    assert many.questions["test"][: len(few.questions["test"])] == few.questions["test"]


@pytest.mark.parametrize("folder", EVERY_TASK)
def test_sizes_are_those_promised(folder: str):
    made = sample(folder)
    users = Counter(question["user_id"] for question in made.questions["test"])
    assert len(users) == 48
    assert set(users.values()) == {8}
    assert set(Counter(question["user_id"] for question in made.questions["dev"]).values()) == {2}
    assert set(Counter(question["user_id"] for question in made.questions["train"]).values()) == {1, 2}
    histories = [len(question["profile"]) for question in made.questions["train"]]
    assert min(histories) < 10
    assert max(histories) <= 64
    assert mean(n >= 20 for n in histories) > 0.8


@pytest.mark.parametrize("folder", EVERY_TASK)
def test_items_have_lamps_keys_and_ids_of_their_question(folder: str):
    for questions in sample(folder).questions.values():
        for question in questions:
            assert [item["id"] for item in question["profile"]] == [
                f"{question['id']}{index}" for index in range(len(question["profile"]))
            ]
            assert all(set(item) == {"id", "date", *TASKS[folder].item_keys} for item in question["profile"])


@pytest.mark.parametrize("folder", EVERY_TASK)
def test_a_profile_is_strictly_earlier_than_its_whole_block(folder: str):
    made = sample(folder)
    block_starts: dict[tuple[str, str], str] = {}
    for split, questions in made.questions.items():
        for question in questions:
            key = (question["user_id"], split)
            block_starts[key] = min(block_starts.get(key, "9999"), question["date"])
    for user_id in made.truth:
        assert block_starts[user_id, "train"] < block_starts[user_id, "dev"] < block_starts[user_id, "test"], (
            "splits follow one another in time"
        )
    for split, questions in made.questions.items():
        for question in questions:
            dates = [item["date"] for item in question["profile"]]
            assert dates == sorted(set(dates))
            assert dates[-1] < block_starts[question["user_id"], split]


@pytest.mark.parametrize("folder", sorted(set(TASKS) - {"LaMP_1", "LaMP_7"}))
def test_earlier_splits_become_records_of_later_ones(folder: str):
    made, task = sample(folder), TASKS[folder]
    test_profiles = {question["user_id"]: question["profile"] for question in made.questions["test"]}
    for split in ("train", "dev"):
        for question in made.questions[split]:
            records = {task.record_input(item): task.record_answer(item) for item in test_profiles[question["user_id"]]}
            assert records[question["input"]] == made.golds[split][question["id"]]


@pytest.mark.parametrize("folder", EVERY_TASK)
def test_no_question_text_stands_in_its_own_profile(folder: str):
    made, task = sample(folder), TASKS[folder]
    for split, questions in made.questions.items():
        for question in questions:
            asked = normalized(task.query_text(question["input"]))
            written = {normalized(value) for item in question["profile"] for value in item.values()}
            assert asked not in written
            assert asked not in {normalized(task.query_text(task.record_input(item))) for item in question["profile"]}
            if folder == "LaMP_7":
                assert normalized(made.golds[split][question["id"]]) not in written


@pytest.mark.parametrize("folder", EVERY_TASK)
def test_texts_of_the_test_split_all_differ(folder: str):
    inputs = [normalized(question["input"]) for question in sample(folder).questions["test"]]
    assert len(set(inputs)) == len(inputs) >= 200


@pytest.mark.parametrize("folder", EVERY_TASK)
def test_no_bracket_slot_or_double_blank_of_the_grammar_is_left_over(folder: str):
    for question in sample(folder).questions["test"]:
        for item in question["profile"]:
            text = " ".join(item[key] for key in TASKS[folder].item_keys)
            assert not set("{}|") & set(text)
            assert "//" not in text
            assert "  " not in text
            assert " a a" not in text.replace(" a as ", " ").replace(" a and ", " ") or folder == "LaMP_7", text


@pytest.mark.parametrize("folder", sorted(LABEL_KEYS))
def test_an_oracle_of_the_planted_priority_labels_well_and_floors_do_not(folder: str):
    rows = answered(folder)
    oracle = accuracy([(min(cues, key=taste["priority"].index), gold) for _, gold, taste, cues in rows])
    own_majority = accuracy(
        [(most_common([item[LABEL_KEYS[folder]] for item in q["profile"]]), gold) for q, gold, _, _ in rows]
    )
    top = most_common([gold for _, gold, _, _ in rows])
    overall_majority = accuracy([(top, gold) for _, gold, _, _ in rows])
    assert oracle >= 0.9
    assert own_majority < 0.55
    assert overall_majority < own_majority - 0.1


@pytest.mark.parametrize("folder", sorted(LABEL_KEYS))
def test_the_text_alone_does_not_decide_the_label(folder: str):
    other_users_taste = [taste for _, _, taste, _ in answered(folder)][8:] + [answered(folder)[0][2]] * 8
    borrowed = [
        (min(cues, key=taste["priority"].index), gold)
        for (_, gold, _, cues), taste in zip(answered(folder), other_users_taste, strict=True)
    ]
    assert accuracy(borrowed) < 0.6


def test_ratings_follow_the_planted_weights_and_lie_high():
    rows = answered("LaMP_3")
    errors = [abs(expected_score(taste, cues) - int(gold)) for _, gold, taste, cues in rows]
    own_majority = [
        abs(int(most_common([item["score"] for item in question["profile"]])) - int(gold))
        for question, gold, _, _ in rows
    ]
    assert mean(errors) < 0.12
    assert mean(own_majority) > 0.5
    assert mean(gold in "45" for _, gold, _, _ in rows) > 0.6


def test_the_same_mixed_review_is_scored_differently_by_different_users():
    mixed = {"quality": 1, "price": -1, "delivery": 1, "service": -1}
    scores = {expected_score(truth["taste"], mixed) for truth in sample("LaMP_3").truth.values()}
    assert len(scores) >= 4


def test_the_right_reference_is_from_a_family_the_author_works_with():
    rows = answered("LaMP_1")
    oracle = [
        (f"[{[family in taste['families'] for family in cues['references']].index(True) + 1}]", gold)
        for _, gold, taste, cues in rows
    ]
    assert accuracy(oracle) >= 0.9
    assert 0.4 < mean(gold == "[1]" for _, gold, _, _ in rows) < 0.6


@pytest.mark.parametrize("folder", ["LaMP_4", "LaMP_5"])
def test_titles_have_the_case_and_relative_length_of_their_author(folder: str):
    words: dict[str, list[int]] = {"short": [], "long": []}
    for _, gold, taste, _ in answered(folder):
        words[taste["length"]].append(len(gold.split()))
        if taste["case"] == "lower":
            assert gold == gold.lower()
        capitals = mean(word[0].isupper() for word in gold.replace("'", "").split() if word[0].isalpha())
        assert (capitals > 0.5) == (taste["case"] == "title"), gold
    assert mean(words["long"]) > mean(words["short"]) + 3


def test_headlines_have_the_form_of_their_author():
    marks = {"question": "why did ", "how": "how ", "reasons": "reasons why "}
    for form, mark in marks.items():
        hits = [mark in gold.lower() for _, gold, taste, _ in answered("LaMP_4") if taste["form"] == form]
        assert len(hits) >= 15
        assert mean(hits) > 0.8


def test_headline_words_come_from_the_article():
    shares = []
    for question, gold, taste, _ in answered("LaMP_4"):
        if taste["form"] in ("plain", "how"):
            article = set(normalized(question["input"]).split())
            shares.append(mean(word in article for word in normalized(gold).split()))
    assert mean(shares) > 0.7


def test_subjects_have_the_prefix_of_their_sender():
    hits = [gold.lower().startswith(taste["prefix"].lower()) for _, gold, taste, _ in answered("LaMP_6")]
    assert mean(hits) > 0.9
    assert len({taste["prefix"] for _, _, taste, _ in answered("LaMP_6")}) > 5


def test_tweets_have_the_voice_of_their_user():
    for question, gold, taste, _ in answered("LaMP_7"):
        assert not taste["lower_case"] or gold.replace("=D", "") == gold.replace("=D", "").lower()
        assert taste["hashtag"] == ("#" in gold)
        assert taste["opener"].lower() in gold.lower()
        plain = TASKS["LaMP_7"].query_text(question["input"])
        assert "#" not in plain
        assert plain[0].isupper()


def test_truth_can_be_written_as_json():
    assert all(json.loads(json.dumps(sample(folder).truth)) == sample(folder).truth for folder in EVERY_TASK)
