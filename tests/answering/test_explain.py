"""A score taken apart adds up to it, whatever the head and the task; and how a choice came about is told as it was."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch

from hydra_ml.answering.adapter import EVIDENCE, candidate_rows, distinct_candidates, scored_candidates
from hydra_ml.answering.explain import choice_of, records_to_tell, score_parts, without_each
from hydra_ml.answering.history_support import history_support, support_by_record
from hydra_ml.answering.score_requests import Asked, Models, Worked
from hydra_ml.evaluation.explanation import breakdown, decision_told
from hydra_ml.model.fit_base import SharedPart, with_evidence
from hydra_ml.model.heads import Heads, n_parameters, score_rows
from hydra_ml.tasks import get_task

TASKS = {
    "LaMP_2": ("comedy", "action", "classic"),
    "LaMP_3": ("5", "4", "1"),
    "LaMP_4": ("A Gale", "the vote", "storm"),
}
BASE = 6  # numbers of the base's z


def worked_out(folder, encode, kind="residual", seed=0):
    """A `Worked` of one query of three answers and four records, made by hand under random heads."""
    task, rng = get_task(folder), np.random.default_rng(seed)
    said = TASKS[folder]
    given = [said[0], said[0], said[1], "no answer of ours" if task.labels else "None"]
    records = pd.DataFrame(
        {
            "user_id": "ann",
            "record_id": ["r1", "r2", "r3", "r4"],
            "text": ["a storm came", "a vote", "a gale in the storm", "nothing at all"],
            "input": ["a storm came", "a vote", "a gale in the storm", "nothing at all"],
            "answer": [said[0], said[1], said[0], said[2]],
            "date": "",
        }
    )
    query = {
        "query_id": "q",
        "user_id": "ann",
        "input": "a storm",
        "text": "a storm",
        "profile": ["r1", "r2", "r3", "r4"],
    }
    queries = pd.DataFrame([query])
    answers = pd.DataFrame(
        {"query_id": "q", "arm": "rag_k4", "prompt": "p", "sample_idx": [0, 1, 2, 3], "answer": given}
    )
    choices, evidence = candidate_rows(distinct_candidates(answers), queries, records, task, encode)
    width = BASE + evidence.shape[1]
    theta_0, own = (rng.normal(0, 1, n_parameters(kind, width)).astype(np.float32) for _ in range(2))
    x = with_evidence(rng.normal(0, 1, (len(choices), BASE)).astype(np.float32), evidence)
    heads = Heads(kind, width, ("ann",), own[None, :])

    def score(a, b, evidence, user_ids):
        personal = score_rows(heads, theta_0, x, heads.user_idx(user_ids))
        return personal, score_rows(heads, theta_0, x, np.full(len(x), -1))

    rows = scored_candidates(choices, evidence, score)
    models = Models(None, score, encode, {"ann"}, None)
    worked = Worked(Asked(queries, pd.DataFrame(), [], []), [], answers, rows, evidence)
    shared = SharedPart(torch.nn.Identity(), kind, width, theta_0, np.ones_like(theta_0))
    parts = score_parts(worked, x, shared, own, records=records, task=task, models=models)
    return worked, parts, records, task


@pytest.mark.parametrize("kind", ["residual", "mlp"])
@pytest.mark.parametrize("folder", list(TASKS))
def test_every_score_and_every_lead_is_the_sum_of_its_parts(folder, kind, encode):
    for seed in range(5):
        worked, parts, records, _ = worked_out(folder, encode, kind, seed)
        answers, ids = worked.rows["answer"].tolist(), records["record_id"].tolist()
        stored = worked.rows["personal"].to_numpy(dtype=float)
        of_shared = worked.rows["shared"].to_numpy(dtype=float)
        assert parts.shared.sum(axis=1) == pytest.approx(of_shared, abs=1e-4)
        assert parts.own.sum(axis=1) == pytest.approx(stored - of_shared, abs=1e-4)
        for over in (None, answers[-1]):
            one = breakdown(parts, answers, ids, answers[0], over=over, what="another")
            total = sum(term.shared + term.own for term in one.terms) + one.rounding
            assert total == pytest.approx(stored[0] - (stored[-1] if over else 0.0), abs=1e-6)
            assert abs(one.rounding) < 1e-4  # single precision, and nothing else
            history = next(term for term in one.terms if term.name == "history_support")
            assert sum(one.records.values()) + one.no_record == pytest.approx(history.both, abs=1e-5)


@pytest.mark.parametrize("folder", list(TASKS))
def test_what_records_give_adds_up_to_the_support_and_is_in_proportion_to_their_weight(folder, encode):
    worked, _, records, task = worked_out(folder, encode)
    given, without = support_by_record(worked.rows, records, task, encode)
    assert given.sum(axis=1) + without == pytest.approx(history_support(worked.rows, records, task, encode), abs=1e-5)
    if task.labels:
        place = worked.rows["answer"].tolist().index(TASKS[folder][1])
        assert np.flatnonzero(given[place]).tolist() == [1]  # the one record with that answer
    nothing = worked.rows.assign(profile=[[]] * len(worked.rows))
    given, without = support_by_record(nothing, records, task, encode)
    assert given.shape == (len(nothing), 0)
    assert not without.any()


def test_a_record_left_out_is_missing_from_the_profile_alone():
    request = pd.DataFrame([{"request_id": "q", "user_id": "ann", "input": "i", "profile": ["r1", "r2"]}])
    found = without_each(request, ["r2"])
    assert found.to_dict("records") == [{"request_id": "r2", "user_id": "ann", "input": "i", "profile": ["r1"]}]
    assert without_each(request, []).empty


def chosen(scores, margin, plain="b", folder="LaMP_2"):
    answers = {"LaMP_2": ["a", "b", "c"], "LaMP_3": ["1", "3", "5"]}[folder]
    rows = pd.DataFrame({"query_id": "q", "answer": answers, "greedy_share": 0.0, "votes": 1})
    rows = rows.assign(is_plain=rows["answer"] == plain, personal=np.array(scores, dtype=np.float32))
    return choice_of(rows, get_task(folder), margin)


def test_the_rule_that_keeps_plain_rags_answer_is_told():
    kept = chosen([1.0, 0.5, 0.0], 0.7)
    assert (kept.chosen, kept.free, kept.plain, kept.is_kept) == ("b", "a", "b", True)
    assert "'a' leads plain RAG's answer by 0.500, less than the 0.70" in decision_told(kept, is_rating=False)[1]
    served = chosen([1.0, 0.5, 0.0], 0.3)
    assert (served.chosen, served.runner_up, served.is_kept) == ("a", "b", False)
    assert "leads plain RAG's answer, 'b', by 0.500; 0.30 was needed" in decision_told(served, is_rating=False)[1]
    assert "plain RAG's answer too" in decision_told(chosen([0.0, 0.5, 0.0], 0.3), is_rating=False)[1]
    assert "no margin" in decision_told(chosen([1.0, 0.5, 0.0], None), is_rating=False)[1]
    assert "gave no answer" in decision_told(chosen([1.0, 0.5, 0.0], 0.3, plain="z"), is_rating=False)[1]


def test_of_ratings_the_least_costly_is_chosen_and_the_highest_score_is_the_runner_up():
    middle = chosen([1.0, 0.9, 1.0], None, plain="1", folder="LaMP_3")
    assert (middle.chosen, middle.runner_up) == ("3", "1")
    assert "costs least" in decision_told(middle, is_rating=True)[0]


def test_records_shown_are_told_first_then_those_that_move_most():
    tell = partial(records_to_tell, np.array([0.1, -2.0, 0.0, 0.5]), ["a", "b", "c", "d"])
    assert tell(["c"], 3) == ["c", "b", "d"]
    assert tell(["c", "gone"], 10) == ["c", "b", "d", "a"]
    assert tell([], 0) == []


def test_evidence_is_named_in_the_order_of_its_columns(encode):
    _, parts, _, _ = worked_out("LaMP_3", encode)
    assert parts.names[:5] == ("texts", *EVIDENCE)
    assert len(parts.names) == parts.shared.shape[1] == 1 + 4 + 3
