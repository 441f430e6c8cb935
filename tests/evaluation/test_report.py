"""The results table says what the documents hold; the plots are real images with the same bytes every time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from hydra_ml.evaluation.arena import compare
from hydra_ml.evaluation.grid import ARENA_COLUMNS
from hydra_ml.evaluation.methods import all_methods, is_rival
from hydra_ml.evaluation.report import results_table
from hydra_ml.io.plots import save_plots
from hydra_ml.tasks import get_task

Documents = tuple[dict[str, Any], dict[str, Any]]


def documents(task_name: str = "LaMP_2", **rates: float) -> Documents:
    """Metrics and details as they come back from JSON; `rates`: every how many-th answer of a method is right."""
    task = get_task(task_name)
    right, wrong = {"label": ("comedy", "action"), "rating": ("4", "2"), "text": ("a b c", "a d")}[task.kind]
    rows = [
        (method, f"q{i}", f"u{i % 12}", "new" if i % 12 < 4 else "known", 7 * (i % 12), answer, right)
        for method, rate in rates.items()
        for i in range(60)
        for answer in [right if (i * 7) % 10 < rate * 10 else None if i == 1 else wrong]
    ]
    results = compare(pd.DataFrame(rows, columns=list(ARENA_COLUMNS)), task, resamples=200, seed=3, bands=[10, 30])
    metrics = results.metrics_document() | {"llm": "offline-minilm", "data_version": "ab12", "seed": 3}
    return json.loads(json.dumps(metrics, sort_keys=True)), json.loads(
        json.dumps(results.details_document(), sort_keys=True)
    )


OWN = [method for method in all_methods() if not is_rival(method)]
ALL = {method: 0.3 + 0.06 * index for index, method in enumerate(OWN) if method != "copy_input"}


def line_of(text: str, start: str) -> str:
    (line,) = [line for line in text.splitlines() if line.startswith(start)]
    return line


@pytest.mark.parametrize("task_name", ["LaMP_2", "LaMP_3", "LaMP_4"])
def test_table_fits_and_holds_every_method_in_order(task_name: str) -> None:
    text = results_table(*documents(task_name, **ALL))
    lines = text.splitlines()
    assert max(len(line) for line in lines) <= 120
    firsts = [line.split()[0] for line in lines if line]
    assert [first for first in firsts if first in ALL][: len(ALL)] == list(ALL)
    assert not any(line != line.rstrip() for line in lines)


def test_table_shows_values_intervals_differences_and_the_llm() -> None:
    metrics, details = documents(**ALL)
    text = results_table(metrics, details)
    assert text.startswith("LaMP-2 · llm offline-minilm · data version ab12 · seed 3 · 60 questions of 12 users\n")
    estimate = metrics["hydra"]["accuracy"]
    line = next(line for line in text.splitlines() if line.startswith("hydra "))
    assert f"*{estimate['value']:.3f} [{estimate['ci_low']:.3f}, {estimate['ci_high']:.3f}]" in line
    pair = details["paired"]["hydra"]["rag_k4"]["accuracy"]
    assert f"{pair['difference']:+.3f} [{pair['ci_low']:+.3f}, {pair['ci_high']:+.3f}] p " in line
    assert "Best baseline: rag_k4" in text


def test_table_has_cohorts_bands_and_users() -> None:
    text = results_table(*documents(**ALL))
    starts = ["known users", "new users", "history 0", "history 1-10", "history 11-30", "history 31+"]
    assert [line_of(text, start).split()[0] for start in starts] == ["known", "new", *["history"] * 4]
    assert text.index("history 1-10") < text.index("history 11-30") < text.index("history 31+")
    assert line_of(text, "Users under hydra, against rag_k4 (12 users): worse")


def test_a_method_that_serves_some_worse_is_told_beside_its_worst_tenth() -> None:
    metrics, details = documents(zero_shot=0.3, rag_k4=0.6, hydra=0.5)
    text = results_table(metrics, details)
    users = text[text.index("worst tenth") :]
    line = next(line for line in users.splitlines() if line.startswith("hydra "))
    worst, of = metrics["hydra"]["worst_decile"], details["harm"]["hydra"]["rag_k4"]
    assert f"{worst['value']:.3f} [{worst['ci_low']:.3f}, {worst['ci_high']:.3f}]" in line
    assert line.endswith(
        f"{of['users']['worse']['value']:.0%} users, {of['questions']['worse']['value']:.0%} questions"
    )
    assert of["questions"]["worse"]["value"] > 0


def test_each_gain_stands_with_its_adjusted_p_and_what_could_be_detected() -> None:
    metrics, details = documents(**ALL)
    text = results_table(metrics, details)
    line = next(line for line in text[text.index("hydra less  ") :].splitlines() if line.startswith("rag_k4 "))
    pair = details["paired"]["hydra"]["rag_k4"]["accuracy"]
    assert line.split()[-3:-1] == [f"{pair['p_holm']:.3f}".replace("0.000", "<.001"), f"{pair['detectable']:.3f}"]
    assert pair["p_holm"] >= pair["p"]


def test_answers_that_change_with_the_user_are_counted_with_their_worth() -> None:
    text = " ".join(results_table(*documents(rag_k4=0.4, hydra=0.7, hydra_swapped=0.4)).split())
    assert "hydra answers 30% [" in text
    assert "there it gains +1.000 [+1.000, +1.000] in accuracy" in text
    same = " ".join(results_table(*documents(rag_k4=0.4, hydra=0.7, hydra_swapped=0.7)).split())
    assert "hydra answers 0% [0%, 0%] of the questions otherwise" in same
    assert "there it gains" not in same


def test_the_star_of_an_error_stands_at_the_lowest() -> None:
    text = results_table(*documents("LaMP_3", rag_k4=0.5, hydra=0.9))
    assert "MAE (lower is better)" in text
    assert "*" in next(line for line in text.splitlines() if line.startswith("hydra "))
    assert "*" not in next(line for line in text.splitlines() if line.startswith("rag_k4 "))


@pytest.mark.parametrize(
    ("task_name", "floor"), [("LaMP_2", "user_majority"), ("LaMP_3", "user_majority"), ("LaMP_4", "copy_input")]
)
def test_hydra_at_or_below_the_floor_is_warned_about(task_name: str, floor: str) -> None:
    for rate, warned in ((0.4, True), (0.6, True), (0.8, False)):
        text = results_table(*documents(task_name, **{floor: 0.6, "rag_k4": 0.7, "hydra": rate}))
        assert (f"does not beat {floor}" in text) is warned
        assert ("has not personalized anything" in " ".join(text.split())) is warned


def test_unparsable_answers_are_counted_in_words() -> None:
    text = results_table(*documents(rag_k4=0.5, hydra=0.6))
    assert line_of(text, "Not an answer").endswith("rag_k4 1, hydra 1.")


def test_a_table_without_hydra_or_with_one_method_alone() -> None:
    text = results_table(*documents(zero_shot=0.5))
    assert "zero_shot" in text
    assert "hydra" not in text
    assert "difference to" not in text
    assert "nan" not in text.lower()


HEADS = {
    "asked": "auto",
    "used": True,
    "gain": 0.0512,
    "error": 0.0101,
    "reward_gain": 0.01,
    "reward_error": 0.01,
    "n_judged": 900,
}


def test_what_heads_gained_is_told_beside_the_swapped_control_and_the_ceiling() -> None:
    metrics, details = documents(rag_k4=0.4, hydra=0.6, hydra_swapped=0.6, best_candidate=0.9)
    text = results_table(metrics, details | {"heads": HEADS})
    assert "Personal heads, for they gained on held-back questions (log loss +0.051, standard error 0.010, 900" in text
    assert "hydra is not shown to beat hydra_swapped (accuracy +0.000" in text
    assert line_of(text, "Of what choosing better").endswith("over rag_k4 (0.500), hydra caught 40%.")
    assert "*0.900" not in text  # a ceiling is not the best method


@pytest.mark.parametrize(
    ("heads", "told"),
    [
        (
            {"used": False},
            "everybody is served by the shared one, for they showed no gain worth a head each (log loss +0.051",
        ),
        ({"used": False, "gain": None, "error": None, "n_judged": 0}, "for too few users tell whether they gain."),
        ({"used": False, "asked": "never"}, "No personal heads, as train_adapter.personal asks (log loss +0.051"),
        ({"asked": "always", "gain": -0.02}, "Personal heads, as train_adapter.personal asks (log loss -0.020"),
    ],
)
def test_why_there_are_heads_or_none_is_told_as_it_is(heads: dict[str, Any], told: str) -> None:
    metrics, details = documents(rag_k4=0.4, hydra=0.6, hydra_swapped=0.6)
    text = results_table(metrics, details | {"heads": HEADS | heads})
    assert told in text.replace("\n  ", " ")
    assert ("not shown to beat hydra_swapped" in text) is (HEADS | heads)["used"]  # without heads there is none to swap


@pytest.mark.parametrize(
    ("margin", "told"),
    [
        (
            0.0,
            "The answer chosen is served however little it leads plain RAG's: on 1,200 unseen training questions 8.2%",
        ),
        (0.35, "Plain RAG's answer is kept where no other leads it by 0.35 in log-odds: on 1,200 unseen"),
        (20.0, "Plain RAG's answer is always kept: no lead over it was sure enough; on 1,200 unseen"),
    ],
)
def test_when_plain_rags_answer_is_kept_is_told(margin: float, told: str) -> None:
    metrics, details = documents(**ALL)
    caution = {"margin": margin, "bound": 0.1, "harm": 0.082, "changed": 0.4, "gain": 0.02, "n_judged": 1200}
    assert told in " ".join(results_table(metrics, details | {"caution": caution}).split())


def test_heads_that_beat_strangers_heads_are_not_doubted() -> None:
    text = results_table(*documents(rag_k4=0.4, hydra=0.9, hydra_swapped=0.4, best_candidate=0.9))
    assert "is not shown to beat hydra_swapped" not in text


def test_a_long_method_name_is_cut() -> None:
    text = results_table(*documents(**ALL, **{"a_method_with_a_very_long_name": 0.99}))
    assert "a_method_with…" in text
    assert max(len(line) for line in text.splitlines()) <= 120


def test_plots_are_images_with_the_same_bytes_every_time(tmp_path: Path) -> None:
    metrics, details = documents(**ALL)
    for folder in ("first", "second"):
        save_plots(metrics, details, tmp_path / folder)
    assert sorted(p.name for p in (tmp_path / "first").iterdir()) == ["history.png", "methods.png"]
    for name in ("history.png", "methods.png"):
        data = (tmp_path / "first" / name).read_bytes()
        assert data.startswith(b"\x89PNG")
        assert len(data) > 5_000
        assert data == (tmp_path / "second" / name).read_bytes()


def test_plots_show_the_values(tmp_path: Path) -> None:
    """Other values, other picture: the plot is drawn from the documents."""
    for name, rate in (("low", 0.5), ("high", 0.9)):
        save_plots(*documents(rag_k4=0.5, hydra=rate), tmp_path / name)
    for name in ("history.png", "methods.png"):
        assert (tmp_path / "low" / name).read_bytes() != (tmp_path / "high" / name).read_bytes()


def test_prompts_that_were_shortened_are_counted() -> None:
    metrics, details = documents(**ALL)
    assert "shortened" not in results_table(metrics, details)
    assert "for the LLM's context: rag_k4 12, hydra 3." in results_table(
        metrics, {**details, "shortened": {"rag_k4": 12, "hydra": 3}}
    )


def test_a_rival_is_told_beside_its_control_and_hydra_less_it() -> None:
    text = results_table(*documents(hydra=0.9, rag_k4=0.5, pool_ranker=0.7, pool_ranker_swapped=0.5))
    assert any(line.split()[:2] == ["pool_ranker", "0.700"] and line.split()[-1] == "60" for line in text.splitlines())
    (told,) = [line for line in text.splitlines() if line.startswith("pool_ranker") and line.split()[2] == "0.500"]
    assert told.split()[1:4] == ["0.700", "0.500", "+0.200"]
    assert "pool_ranker_swapped" not in text
