"""The gate's rules on answers made by hand: what passes, what is refused, and what is said about it."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from hydra_ml.errors import DataError
from hydra_ml.evaluation.decision import AnswersCompared, Decision, Reason, gate_figures
from hydra_ml.evaluation.gate import (
    answers_alike,
    compare_answers,
    differing_users,
    judge_comparison,
    judge_fit,
    judge_heads,
    judge_past,
)
from hydra_ml.model.heads import Heads
from hydra_ml.params import Params, Promote
from hydra_ml.release import PARTS, ComponentRef, Release
from hydra_ml.tasks import get_task

NEWS, RATING = get_task("LaMP_2N"), get_task("LaMP_3")
RIGHT, WRONG = NEWS.labels[0], NEWS.labels[1]


def answers(champion: list[str | None], challenger: list[str | None], golds: list[str], *, per_user: int = 2):
    n = len(golds)
    return pd.DataFrame(
        {
            "query_id": [f"q{i}" for i in range(n)],
            "user_id": [f"u{i // per_user}" for i in range(n)],
            "gold": golds,
            "champion": champion,
            "challenger": challenger,
            "champion_failed": [False] * n,
            "challenger_failed": [False] * n,
        }
    )


def compared(champion, challenger, *, task=NEWS, gold=RIGHT, per_user=2) -> AnswersCompared:
    table = answers(champion, challenger, [gold] * len(champion), per_user=per_user)
    return compare_answers(table, task, n_affected=3, resamples=500, seed=1)


def held(found: AnswersCompared, **rules) -> dict[str, bool]:
    return {reason.name: reason.passed for reason in judge_comparison(found, Promote(**rules))}


def test_equal_answers_pass_without_any_margin():
    found = compared([RIGHT, WRONG] * 10, [RIGHT, WRONG] * 10)
    assert (found.difference, found.ci_low, found.users_worse, found.n, found.n_users) == (0.0, 0.0, 0.0, 20, 10)
    assert held(found, margin=0.0, max_users_worse=0.0) == {"answered": True, "not inferior": True, "users worse": True}


def test_a_clearly_worse_challenger_is_refused():
    found = compared([RIGHT] * 40, [RIGHT, WRONG] * 20)
    assert found.difference == pytest.approx(-0.5)
    assert not held(found)["not inferior"]


def test_a_better_challenger_passes():
    found = compared([RIGHT, WRONG] * 20, [RIGHT] * 40)
    assert found.difference == pytest.approx(0.5)
    assert all(held(found).values())


def test_a_loss_within_the_margin_is_refused_while_too_few_users_make_it_unsure():
    champion, challenger = [RIGHT] * 20, [RIGHT] * 19 + [WRONG]
    few, many = compared(champion, challenger), compared(champion * 40, challenger * 40)
    assert few.difference == pytest.approx(many.difference) == pytest.approx(-0.05)
    assert not held(few, margin=0.08)["not inferior"]
    assert held(many, margin=0.08)["not inferior"]


def test_where_lower_is_better_a_smaller_error_is_a_gain():
    found = compared(["1"] * 20, ["4"] * 20, task=RATING, gold="5")
    assert (found.measure, found.champion, found.challenger) == ("mae", 4.0, 1.0)
    assert found.difference == found.ci_low == 3.0
    worse = compared(["4"] * 20, ["1"] * 20, task=RATING, gold="5")
    assert worse.difference == -3.0
    assert held(worse) == {"answered": True, "not inferior": False, "users worse": False}


def test_the_cap_holds_though_the_mean_gains():
    champion = [RIGHT, WRONG] * 3 + [WRONG, WRONG] * 7  # three users lose their right answer, seven win two
    challenger = [WRONG, WRONG] * 3 + [RIGHT, RIGHT] * 7
    found = compared(champion, challenger)
    assert (found.users_worse, found.users_better) == (pytest.approx(0.3), pytest.approx(0.7))
    assert held(found, max_users_worse=0.29) == {"answered": True, "not inferior": True, "users worse": False}
    assert held(found, max_users_worse=0.3)["users worse"]


def test_an_answer_that_is_missing_counts_as_wrong():
    assert compared([RIGHT] * 8, [RIGHT] * 7 + [None]).difference == pytest.approx(-1 / 8)


def test_row_order_changes_nothing():
    rng = np.random.default_rng(0)
    table = answers(*[[str(a) for a in rng.choice([RIGHT, WRONG], 30)] for _ in range(2)], [RIGHT] * 30)
    one, other = (
        compare_answers(t, NEWS, n_affected=0, resamples=300, seed=5)
        for t in (table, table.sample(frac=1, random_state=1))
    )
    assert one == other


def test_one_user_gives_no_interval_and_passes_only_with_equal_answers():
    differs = compared([RIGHT, RIGHT], [RIGHT, WRONG])
    assert differs.ci_low is None
    assert not held(differs, margin=1.0)["not inferior"]
    better = compared([RIGHT, WRONG], [RIGHT, RIGHT])
    assert not held(better)["not inferior"]
    assert held(compared([RIGHT, WRONG], [RIGHT, WRONG]))["not inferior"]


def test_failing_everywhere_is_no_tie():
    found = compared([None] * 20, [None] * 20)
    assert held(replace(found, champion_failed=20, challenger_failed=20))["answered"] is False
    assert held(replace(found, n=200, challenger_failed=2))["answered"] is True
    assert held(replace(found, n=200, challenger_failed=3))["answered"] is False


def test_no_queries_is_an_error_that_says_what_to_do():
    with pytest.raises(DataError, match=r"no evaluated queries.*dvc repro"):
        compare_answers(answers([], [], []), NEWS, n_affected=0, resamples=100, seed=1)


def manifests(**changes) -> dict[str, dict]:
    found = {
        part: {"task": "LaMP_2N", "component": part.split(".")[0], "digest": "d1", "base_digest": "d1"}
        for part in PARTS
    }
    for part, change in changes.items():
        found[part.replace("_", ".")].update(change)
    return found


def test_heads_must_be_fitted_on_that_very_base():
    assert judge_fit(manifests(), NEWS).passed
    refused = judge_fit(manifests(adapter_heads={"base_digest": "d2"}), NEWS)
    assert not refused.passed
    assert "adapter heads were fitted on base d2, not on d1" in refused.text


def test_what_spoke_for_personal_heads_is_told_and_refuses_nothing():
    assert judge_heads(manifests()) == []
    fit = {"heads": {"used": False, "gain": 0.0012, "error": 0.003, "n_judged": 1200}}
    (reason,) = judge_heads(manifests(adapter_base={"fit": fit}))
    assert reason.passed
    assert reason.text == "adapter none, gain in log loss +0.001, standard error 0.003 on 1,200 questions"


@pytest.mark.parametrize("change", [{"task": "LaMP_3"}, {"component": "adapter"}])
def test_parts_must_be_of_this_task_and_component(change):
    assert not judge_fit(manifests(reranker_base=change), NEWS).passed


def test_what_was_rolled_back_is_refused():
    assert judge_past("") == []
    (reason,) = judge_past("2026-11-20T00:00:00+00:00")
    assert not reason.passed
    assert "rolled back at 2026-11-20" in reason.text


def test_without_figures_no_earlier_ones_stay_in_the_tags():
    first = Decision("LaMP-2N", "5", None, (Reason("first", True, ""),), None, "2026-11-20T00:00:00+00:00")
    assert first.tags().keys() == decision(Reason("a", True, "")).tags().keys()
    assert first.tags()["gate.figures"] == ""


def release(params: dict | None = None, **digests: str) -> Release:
    refs = {part: ComponentRef(part, "1", digests.get(part.replace(".", "_"), "d")) for part in PARTS}
    document = Params().model_dump(by_alias=True) | (params or {})
    return Release("LaMP_2N", refs, "v", (), document, "c", "nightly", "2026-11-20T00:00:00+00:00", True)


def test_releases_answer_alike_with_the_same_bases_and_settings_whatever_their_heads():
    assert answers_alike(release(), release(adapter_heads="e", reranker_heads="e"))
    assert answers_alike(release(), release({"evaluate": {"resamples": 100}, "promote": {"margin": 0.5}}))
    assert not answers_alike(release(), release(adapter_base="e"))
    assert not answers_alike(release(), release({"rerank": {"k": 1}}))
    assert not answers_alike(release(), release({"llm": {"model": "another"}}))
    assert not answers_alike(release(), release({"llm": {**release().params["llm"], "system": "Be brief."}}))
    assert not answers_alike(release(), release({"prompts": "once"}))
    assert answers_alike(release(), release({"llm": {"model": "offline-minilm", "timeout_s": 1.0}})), (
        "made before 'stop'"
    )


def test_differing_users_are_those_with_other_bits_or_in_one_bank_only():
    some = Heads("residual", 2, ("a", "b", "c"), np.array([[1, 2], [3, 4], [5, 6]], dtype=np.float32))
    other = Heads("residual", 2, ("b", "a", "d"), np.array([[3, 4], [1, 2.5], [0, 0]], dtype=np.float32))
    assert differing_users(some, other) == {"a", "c", "d"}
    assert differing_users(some, some) == set()


def decision(*reasons: Reason, **facts) -> Decision:
    return Decision(
        "LaMP-2N", "5", "4", reasons, compared([RIGHT] * 8, [RIGHT] * 8), "2026-11-20T00:00:00+00:00", **facts
    )


def test_a_decision_is_its_rules():
    assert decision(Reason("a", True, "")).passed
    refused = decision(Reason("a", True, ""), Reason("b", False, "worse|by far"))
    assert not refused.passed
    assert refused.tags()["gate.refused_by"] == "b"
    assert refused.tags()["gate.passed"] == "false"
    assert "promoted_at" not in refused.tags()
    assert refused.markdown().splitlines()[2:4] == ["- **NO: b**: worse&#124;by far", "- yes: a: "], (
        "what refuses first"
    )


def test_tags_name_figures_and_force():
    forced = decision(Reason("b", False, ""), promoted_at="2026-11-21T00:00:00+00:00", forced="release night")
    tags = forced.tags()
    figures = gate_figures(tags)
    assert (figures["n"], figures["difference"], figures["measure"]) == (8, 0.0, "accuracy")
    assert (tags["gate.forced"], tags["promoted_at"]) == ("release night", "2026-11-21T00:00:00+00:00")
    assert "by force: release night" in forced.markdown()
    assert all(isinstance(value, str) for value in tags.values())


def test_figures_that_an_earlier_version_noted_are_read():
    noted = {"measure": "mae", "difference": "-0.0100", "ci_low": "", "users_worse": "0.1000", "n": "40", "at": "now"}
    figures = gate_figures({f"gate.{name}": value for name, value in noted.items()})
    assert figures == {"measure": "mae", "difference": -0.01, "ci_low": None, "users_worse": 0.1, "n": 40}
    assert gate_figures({"gate.passed": "true"}) == {}


def test_a_decision_is_json_with_the_verdict_in_it():
    document = json.loads(json.dumps(decision(Reason("a", True, "fine")).document(), allow_nan=False))
    assert document["passed"] is True
    assert document["reasons"] == [{"name": "a", "passed": True, "text": "fine"}]
    assert document["figures"]["n"] == 8
