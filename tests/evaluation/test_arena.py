"""The side-by-side of methods on tables small enough to work out by hand."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hydra_ml.errors import DataError
from hydra_ml.evaluation.arena import compare
from hydra_ml.evaluation.grid import ARENA_COLUMNS, band_label
from hydra_ml.evaluation.methods import all_methods, method_order
from hydra_ml.evaluation.results import ArenaResults
from hydra_ml.evaluation.statistics import holm_adjusted
from hydra_ml.measures import measure_values
from hydra_ml.tasks import get_task

MOVIES, RATING, HEADLINE, CITATION = (get_task(name) for name in ("LaMP_2", "LaMP_3", "LaMP_4", "LaMP_1"))

# query, user, cohort, history, gold
QUERIES = [
    ("q1", "ann", "known", 5, "comedy"),
    ("q2", "ann", "known", 5, "action"),
    ("q3", "bob", "known", 20, "comedy"),
    ("q4", "cid", "new", 40, "classic"),
    ("q5", "cid", "new", 40, "classic"),
    ("q6", "dee", "new", 0, "fantasy"),
]
GOLDS = [query[-1] for query in QUERIES]
ANSWERS: dict[str, list[str | None]] = {
    "user_majority": ["comedy", "comedy", "comedy", "action", "action", None],  # 2 of 6
    "rag_k4": ["comedy", "action", "action", "classic", "action", None],  # 3 of 6
    "hydra_shared": ["comedy", "action", "action", "classic", "classic", "comedy"],  # 4 of 6
    "hydra": ["comedy", "comedy", "comedy", "classic", "classic", "fantasy"],  # 5 of 6
}


def table(answers: dict[str, list[Any]], queries: list[tuple[Any, ...]] = QUERIES) -> pd.DataFrame:
    rows = [
        (method, query_id, user_id, cohort, n_history, answer, gold)
        for method, given in answers.items()
        for (query_id, user_id, cohort, n_history, gold), answer in zip(queries, given, strict=True)
    ]
    return pd.DataFrame(rows, columns=list(ARENA_COLUMNS))


def compared(predictions: pd.DataFrame | None = None, **options: Any) -> ArenaResults:
    settings: dict[str, Any] = {"task": MOVIES, "resamples": 300, "seed": 1, "bands": [10, 30]} | options
    return compare(table(ANSWERS) if predictions is None else predictions, **settings)


def test_metrics_document_is_what_the_design_says() -> None:
    document = compared().metrics_document()
    assert list(document) == ["user_majority", "rag_k4", "hydra_shared", "hydra"]
    for method, answers in ANSWERS.items():
        for measure, value in measure_values(MOVIES, answers, GOLDS).items():
            estimate = document[method][measure]
            assert set(estimate) == {"value", "ci_low", "ci_high", "n"}
            assert estimate["value"] == pytest.approx(value)
            assert estimate["ci_low"] <= value <= estimate["ci_high"]
            assert estimate["n"] == 6


def test_best_baseline_is_the_best_that_is_not_hydra() -> None:
    assert compared().best_baseline == "rag_k4"


def test_for_errors_the_best_baseline_is_the_lowest() -> None:
    queries = [("q1", "u", "known", 1, "5"), ("q2", "v", "known", 1, "1")]
    results = compared(
        table({"zero_shot": ["1", "5"], "rag_k1": ["4", "1"], "hydra": ["5", "1"]}, queries), task=RATING
    )
    assert results.best_baseline == "rag_k1"
    assert results.overall.metrics["zero_shot"]["mae"]["value"] == 4.0
    assert results.overall.paired["hydra"]["rag_k1"]["mae"]["difference"] == -0.5
    assert results.harm["hydra"].keys() == {"zero_shot"}  # no rag_k4 to be worse than


def test_paired_differences_by_hand() -> None:
    paired = compared().overall.paired
    assert {method: list(against) for method, against in paired.items()} == {
        "hydra_shared": ["rag_k4", "user_majority"],
        "hydra": ["rag_k4", "user_majority", "hydra_shared"],
    }
    against_rag = paired["hydra"]["rag_k4"]["accuracy"]
    assert against_rag["difference"] == pytest.approx(2 / 6)
    assert against_rag["n"] == 6
    # hydra alone right: q3, q5, q6; rag_k4 alone right: q2. 2 * (1 + 4) / 2^4.
    assert against_rag["mcnemar_p"] == pytest.approx(10 / 16)
    assert "mcnemar_p" not in paired["hydra"]["rag_k4"]["f1"]
    assert against_rag["ci_low"] < against_rag["difference"] < against_rag["ci_high"]
    assert against_rag["detectable"] > 0


def test_a_difference_is_the_difference_of_the_values_shown() -> None:
    results = compared()
    for other, by_measure in results.overall.paired["hydra"].items():
        for measure, found in by_measure.items():
            values = results.overall.metrics
            shown = values["hydra"][measure]["value"] - values[other][measure]["value"]
            assert found["difference"] == pytest.approx(shown)


def test_equal_methods_do_not_differ() -> None:
    results = compared(table(ANSWERS | {"hydra": ANSWERS["rag_k4"]}))
    for found in results.overall.paired["hydra"]["rag_k4"].values():
        assert (found["difference"], found["ci_low"], found["ci_high"], found["p"]) == (0, 0, 0, 1)
    assert results.harm["hydra"]["rag_k4"]["users"]["equal"]["value"] == 1.0


def test_cohorts_and_bands_are_measured_apart() -> None:
    results = compared()
    assert {name: (part.n_queries, part.n_users) for name, part in results.cohorts.items()} == {
        "known": (3, 2),
        "new": (3, 2),
    }
    assert {name: part.n_queries for name, part in results.bands.items()} == {"0": 1, "1-10": 2, "11-30": 1, "31+": 2}
    assert results.cohorts["known"].metrics["hydra"]["accuracy"]["value"] == pytest.approx(2 / 3)
    assert results.cohorts["new"].metrics["hydra"]["accuracy"]["value"] == 1.0
    new = results.cohorts["new"].paired["hydra"]["rag_k4"]["accuracy"]
    assert new["difference"] == pytest.approx(2 / 3)


def test_a_slice_of_one_user_has_a_value_and_no_interval() -> None:
    estimate = compared().bands["11-30"].metrics["hydra"]["accuracy"]
    assert estimate == {"value": 1.0, "ci_low": None, "ci_high": None, "n": 1}


def test_users_made_worse_by_hand() -> None:
    # ann 1 of 2 against 2 of 2: worse; bob 1 against 0, cid 2 against 1, dee 1 against 0: better.
    shares = compared().harm["hydra"]["rag_k4"]["users"]
    assert {verdict: share["value"] for verdict, share in shares.items()} == {"worse": 0.25, "equal": 0, "better": 0.75}
    assert shares["worse"]["n"] == 4
    assert shares["worse"]["ci_low"] <= 0.25 <= shares["worse"]["ci_high"]


def test_a_user_with_a_larger_error_is_worse_off() -> None:
    queries = [(f"q{i}", f"u{i}", "known", 1, "3") for i in range(4)]
    results = compared(table({"rag_k4": ["3", "4", "3", "1"], "hydra": ["4", "3", "3", "5"]}, queries), task=RATING)
    assert {v: s["value"] for v, s in results.harm["hydra"]["rag_k4"]["users"].items()} == {
        "worse": 0.25,
        "equal": 0.5,
        "better": 0.25,
    }


def test_harm_by_question_and_against_the_llm_alone() -> None:
    answers = {"zero_shot": ANSWERS["user_majority"], **{m: ANSWERS[m] for m in ("rag_k4", "hydra")}}
    harm = compared(table(answers)).harm
    assert {method: set(others) for method, others in harm.items()} == {
        "zero_shot": {"rag_k4"},
        "rag_k4": {"zero_shot"},
        "hydra": {"zero_shot", "rag_k4"},
    }
    questions = harm["hydra"]["rag_k4"]["questions"]  # q2 lost; q3, q5, q6 won
    assert [questions[v]["value"] for v in ("worse", "equal", "better")] == pytest.approx([1 / 6, 2 / 6, 3 / 6])
    assert questions["worse"]["n"] == 6


def test_the_worst_decile_is_in_the_measures_own_direction() -> None:
    worst = compared().metrics_document()["hydra"]["worst_decile"]  # of four users one: ann, 1 of 2
    assert (worst["value"], worst["n"]) == (0.5, 4)
    queries = [(f"q{i}", f"u{i}", "known", 1, "3") for i in range(4)]
    errors = compared(table({"hydra": ["3", "3", "4", "5"]}, queries), task=RATING).worst_decile["hydra"]
    assert errors["value"] == 2.0
    assert errors["ci_low"] <= 2.0 <= errors["ci_high"]


def test_p_is_adjusted_for_what_tables_show_of_a_measure_and_for_nothing_else() -> None:
    results = compared(table(ANSWERS | {"hydra_swapped": ANSWERS["rag_k4"]}))
    paired, best = results.overall.paired, results.best_baseline
    assert best == "rag_k4"
    shown = [paired["hydra_shared"]["rag_k4"], *paired["hydra"].values()]
    for measure in ("accuracy", "f1"):
        expected = holm_adjusted([pair[measure]["p"] for pair in shown])
        assert [pair[measure]["p_holm"] for pair in shown] == pytest.approx(expected)
    assert "p_holm" not in paired["hydra_shared"]["user_majority"]["accuracy"]
    assert "p_holm" not in results.cohorts["new"].paired["hydra"]["rag_k4"]["accuracy"]


def test_responsiveness_is_told_of_methods_with_a_control() -> None:
    results = compared(table(ANSWERS | {"hydra_swapped": ANSWERS["hydra_shared"]}))
    (told,) = results.responsiveness.values()
    # q2, q3 and q6 are answered otherwise: one lost, two won.
    assert (told["changed"]["value"], told["n_changed"], told["n"]) == (0.5, 3, 6)
    assert told["gain"]["value"] == pytest.approx(1 / 3)
    assert compared().responsiveness == {}


def test_style_is_told_of_texts_whose_users_wrote_some_themselves() -> None:
    queries = [(f"q{i}", f"u{i % 2}", "known", 2, "RAIN IN OSLO!") for i in range(4)]
    answers = table({"rag_k4": ["on rain, and why"] * 4, "hydra": ["RAIN AT LAST!"] * 4}, queries)
    own = {"u0": ["SNOW IN ROME!"], "elsewhere": ["x"]}
    results = compared(answers, task=HEADLINE, own_texts=own)
    nearer, farther = (results.metrics_document()[m]["style_characters"] for m in ("hydra", "rag_k4"))
    assert nearer["value"] < farther["value"]
    assert nearer["n"] == 1
    assert set(results.details_document()["style"]) == {"gold"}
    assert compared(answers, task=HEADLINE).style == compared(own_texts=own).style == {}
    assert results.measures == HEADLINE.measures


def test_row_order_does_not_matter() -> None:
    shuffled = table(ANSWERS).sample(frac=1, random_state=4)
    assert compared(shuffled) == compared()


def test_adding_a_method_leaves_the_others_as_they_were() -> None:
    more = compared(table(ANSWERS | {"my_method": ["comedy"] * 6}))
    before = compared()
    assert list(more.metrics_document())[-1] == "my_method"
    for method, by_measure in before.metrics_document().items():
        for measure, estimate in by_measure.items():
            assert more.metrics_document()[method][measure] == pytest.approx(estimate)


def test_another_seed_moves_intervals_but_no_value() -> None:
    first, second = compared(seed=1).metrics_document(), compared(seed=2).metrics_document()
    assert first != second
    assert first["hydra"]["f1"]["value"] == second["hydra"]["f1"]["value"]


def test_a_missing_prediction_is_a_miss_never_dropped() -> None:
    predictions = table(ANSWERS)
    lacking = predictions[~((predictions["method"] == "hydra") & (predictions["query_id"] == "q1"))]
    results = compared(lacking)
    assert results.overall.metrics["hydra"]["accuracy"] | {"ci_low": 0, "ci_high": 0} == {
        "value": pytest.approx(4 / 6),
        "n": 6,
        "ci_low": 0,
        "ci_high": 0,
    }
    assert results.missing == {"user_majority": 0, "rag_k4": 0, "hydra_shared": 0, "hydra": 1}
    assert results.unparsable == {"user_majority": 1, "rag_k4": 1, "hydra_shared": 0, "hydra": 1}


def test_answers_outside_the_label_set_count_as_unparsable() -> None:
    results = compared(table(ANSWERS | {"hydra": ["Comedy", "", *ANSWERS["hydra"][2:]]}))
    assert results.unparsable["hydra"] == 2
    assert results.missing["hydra"] == 0


def test_parquet_like_missing_values_are_unparsable() -> None:
    predictions = table(ANSWERS)
    predictions["prediction"] = predictions["prediction"].astype("str")  # None becomes NaN, as when read from Parquet
    assert compared(predictions) == compared()


def test_documents_are_plain_json() -> None:
    for task, gold, wrong in ((CITATION, "[1]", "[2]"), (RATING, "4", "2"), (HEADLINE, "A b c", "c b")):
        queries = [(f"q{i}", f"u{i % 3}", "known", i, gold) for i in range(6)]
        results = compared(table({"rag_k4": [wrong, gold, None] * 2, "hydra": [gold] * 6}, queries), task=task)
        for document in (results.metrics_document(), results.details_document()):
            assert json.loads(json.dumps(document, allow_nan=False)) == document


def test_details_hold_what_metrics_do_not() -> None:
    document = compared().details_document()
    assert set(document) == {
        "task",
        "measures",
        "best_baseline",
        "n_queries",
        "n_users",
        "paired",
        "cohorts",
        "bands",
        "harm",
        "responsiveness",
        "style",
        "unparsable",
        "missing",
    }
    assert (document["task"], document["measures"], document["n_users"]) == ("LaMP-2", ["accuracy", "f1"], 4)


def test_without_baselines_nothing_is_best() -> None:
    results = compared(table({"hydra": ANSWERS["hydra"]}))
    assert results.best_baseline is None
    assert results.overall.paired == {"hydra": {}}


@pytest.mark.parametrize(
    ("n_history", "edges", "label"),
    [
        (0, [10, 30], "0"),
        (1, [10, 30], "1-10"),
        (10, [10, 30], "1-10"),
        (11, [30, 10], "11-30"),
        (31, [10, 30], "31+"),
        (7, [], "1+"),
    ],
)
def test_bands(n_history: int, edges: list[int], label: str) -> None:
    assert band_label(n_history, edges) == label


def test_methods_stand_in_the_order_of_the_pipeline_and_strangers_last() -> None:
    assert method_order(["zz", "hydra", "aa", "rag_k4", "hydra"]) == ["rag_k4", "hydra", "aa", "zz"]
    assert method_order(list(reversed(all_methods()))) == list(all_methods())


def test_a_steady_gain_over_many_users_is_significant() -> None:
    rng = np.random.default_rng(0)
    queries = [(f"q{i}", f"u{i // 5}", "known", 12, str(rng.choice(MOVIES.labels[:6]))) for i in range(300)]
    noisy = {
        m: [q[-1] if rng.random() < rate else "violence" for q in queries]
        for m, rate in (("rag_k4", 0.5), ("hydra", 0.7))
    }
    found = compared(table(noisy, queries), resamples=1000).overall.paired["hydra"]["rag_k4"]["accuracy"]
    assert found["p"] < 0.01
    assert found["mcnemar_p"] < 0.01
    assert found["ci_low"] > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns=["gold", "cohort"]), r"lacks the column\(s\) cohort, gold"),
        (lambda t: t.iloc[:0], "predictions table is empty"),
        (lambda t: pd.concat([t, t.iloc[[8]]]), "rag_k4 answers query q3 more than once"),
        (lambda t: t.assign(cohort="old"), "query q1 has cohort 'old'; allowed are known and new"),
        (lambda t: t.assign(n_history=range(len(t))), "methods disagree about .* of query q1"),
        (lambda t: t.assign(gold=None), "query q1 has no gold answer"),
        (lambda t: t.assign(gold="sports"), "gold answer 'sports' is not one of sci-fi"),
    ],
)
def test_bad_tables_are_refused(change, message: str) -> None:
    with pytest.raises(DataError, match=message):
        compared(change(table(ANSWERS)))
