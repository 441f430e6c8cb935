"""The questions drawn to look at: a mix of verdicts, the same whatever the rows' order, with what was shown."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from hydra_ml.evaluation.examples import Examples, draw_examples
from hydra_ml.evaluation.grid import ARENA_COLUMNS
from hydra_ml.tasks import get_task

MOVIES, RATING, CITATION = get_task("LaMP_2"), get_task("LaMP_3"), get_task("LaMP_1")
N = 20


def queries(task: Any = MOVIES, gold: str = "comedy") -> pd.DataFrame:
    rows = [
        {"query_id": f"q{i}", "user_id": "ann", "cohort": "known", "input": task.templated(f"film {i}"), "gold": gold}
        for i in range(N)
    ]
    return pd.DataFrame(rows).assign(profile=[["r1", "r2"]] * N)


RECORDS = pd.DataFrame(
    [
        {
            "user_id": user,
            "record_id": f"r{i}",
            "input": MOVIES.templated(f"old {user} {i}"),
            "answer": "war",
            "date": "",
        }
        for user in ("ann", "bob")
        for i in (1, 2)
    ]
)
RANKINGS = {
    "hydra": pd.DataFrame({"query_id": ["q0", "q0"], "rank": [0, 1], "record_id": ["r2", "r1"]}),
    "bm25": pd.DataFrame({"query_id": ["q0"], "rank": [0], "record_id": ["r1"]}),
}


def predictions(answers: dict[str, list[Any]], gold: str = "comedy") -> pd.DataFrame:
    rows = [
        (m, f"q{i}", "ann", "known", 2, answer, gold) for m, given in answers.items() for i, answer in enumerate(given)
    ]
    return pd.DataFrame(rows, columns=list(ARENA_COLUMNS))


# hydra better on 2, worse on 4, equal on 14.
PLAIN = ["war"] * 2 + ["comedy"] * 4 + ["comedy"] * 14
OURS = ["comedy"] * 2 + ["war"] * 3 + [None] + ["comedy"] * 14
BOTH = {"zero_shot": ["war"] * N, "rag_k4": PLAIN, "hydra": OURS}


def drawn(table: pd.DataFrame, task: Any = MOVIES, n: int = 10, gold: str = "comedy", seed: int = 1) -> Examples:
    return draw_examples(table, queries(task, gold), RECORDS, RANKINGS, task, k=4, n=n, seed=seed)


def test_a_third_of_each_verdict_and_what_one_lacks_goes_to_the_others() -> None:
    found = drawn(predictions(BOTH))
    assert [e.verdict for e in found.drawn] == ["better"] * 2 + ["worse"] * 4 + ["equal"] * 4
    assert found.counts == {"better": 2, "worse": 4, "equal": 14}
    assert len({e.query_id for e in found.drawn}) == 10


def test_the_draw_follows_the_seed_and_not_the_order_of_rows() -> None:
    table = predictions(BOTH)
    assert drawn(table) == drawn(table.sample(frac=1, random_state=3))
    assert drawn(table) != drawn(table, seed=2)


def test_a_question_comes_with_every_answer_and_the_records_of_both_prompts() -> None:
    (example,) = [e for e in drawn(predictions(BOTH), n=N).drawn if e.query_id == "q0"]
    assert (example.question, example.gold, example.n_history, example.against) == ("film 0", "comedy", 2, "rag_k4")
    assert example.answers == {"zero_shot": "war", "rag_k4": "war", "hydra": "comedy"}
    assert example.scores == {"zero_shot": 0.0, "rag_k4": 0.0, "hydra": 1.0}
    assert [(r.asked, r.places) for r in example.records] == [
        ("old ann 2", ("hydra 1",)),
        ("old ann 1", ("hydra 2", "rag_k4 1")),
    ]


def test_an_answer_that_could_not_be_read_is_none() -> None:
    (example,) = [e for e in drawn(predictions(BOTH), n=N).drawn if e.query_id == "q5"]
    assert example.answers["hydra"] is None
    assert example.verdict == "worse"


def test_a_smaller_error_is_better() -> None:
    table = predictions({"rag_k4": ["1"] * N, "hydra": ["4"] * N}, gold="5")
    assert drawn(table, RATING, gold="5").counts == {"better": N, "worse": 0, "equal": 0}


def test_without_anything_to_hold_against_nothing_is_drawn() -> None:
    assert drawn(predictions({"hydra": OURS})) == Examples([], {})
    assert drawn(predictions({"rag_k4": PLAIN})) == Examples([], {})
    assert drawn(predictions({"zero_shot": PLAIN, "hydra": OURS})).drawn[0].against == "zero_shot"
    assert drawn(predictions(BOTH), n=0).drawn == []


@pytest.mark.parametrize("n", [1, 5, 100])
def test_no_more_than_asked_for_or_there_are(n: int) -> None:
    assert len(drawn(predictions(BOTH), n=n).drawn) == min(n, N)
