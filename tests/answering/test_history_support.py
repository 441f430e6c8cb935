"""Support of a user's history, by hand."""

import numpy as np
import pandas as pd
import pytest

from hydra_ml.answering.history_support import FLOOR, TAU, history_support
from hydra_ml.tasks import get_task

DIRECTIONS = {"storm": [1.0, 0.0], "vote": [0.0, 1.0], "gale": [0.8, 0.6]}


def encode(texts):
    return np.array([DIRECTIONS.get(text, [0.6, 0.8]) for text in texts], dtype=np.float32).reshape(-1, 2)


def rows(task, answers, profile):
    n = len(answers)
    return pd.DataFrame(
        {"query_id": ["q"] * n, "user_id": ["ann"] * n, "text": ["storm"] * n, "answer": answers, "b": answers}
    ).assign(profile=[np.array(profile, dtype=object)] * n)


def records(answers):
    return pd.DataFrame(
        {
            "user_id": ["ann", "ann", "bob"],
            "record_id": ["1", "2", "1"],
            "text": ["storm", "vote", "storm"],
            "input": ["storm", "vote", "storm"],
            "answer": answers,
        }
    )


def test_closed_answers_get_the_log_of_their_weighted_share():
    task = get_task("LaMP_2N")
    found = history_support(
        rows(task, ["crime", "sports", "travel"], ["1", "2"]), records(["crime", "sports", "women"]), task, encode
    )
    near = 1 / (1 + np.exp(-1 / TAU))  # softmax over cosines 1 and 0
    assert found == pytest.approx(np.log([near + FLOOR, 1 - near + FLOOR, FLOOR]), abs=1e-5)


def test_free_text_gets_the_weighted_cosine_to_the_users_answers():
    task = get_task("LaMP_4")
    found = history_support(rows(task, ["gale"], ["1", "2"]), records(["storm", "vote", "gale"]), task, encode)
    near = 1 / (1 + np.exp(-1 / TAU))
    assert found == pytest.approx([0.8 * near + 0.6 * (1 - near)], abs=1e-5)


def test_only_the_querys_own_profile_counts():
    task = get_task("LaMP_2N")
    table = rows(task, ["crime", "sports"], ["2"])
    found = history_support(table, records(["crime", "sports", "women"]), task, encode)
    assert found == pytest.approx(np.log([FLOOR, 1 + FLOOR]), abs=1e-5)
    bobs = history_support(table, records(["crime", "sports", "crime"]), task, encode)
    assert found.tobytes() == bobs.tobytes()  # what bob answered is nobody's business


def test_no_history_supports_nothing():
    task = get_task("LaMP_2N")
    assert history_support(rows(task, ["crime", "sports"], []), records(["a", "b", "c"]), task, encode).tolist() == [
        0,
        0,
    ]
