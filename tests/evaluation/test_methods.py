"""Methods: what each answers from one bench; a new one is one new file."""

from __future__ import annotations

import importlib
import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from hydra_ml.answering.arms import HYDRA, RAG_K4, ZERO_SHOT
from hydra_ml.cli import app
from hydra_ml.errors import ParamsError
from hydra_ml.evaluation import methods
from hydra_ml.evaluation.methods import Bench, all_methods, arms_of, chosen_methods, fitting_methods
from hydra_ml.evaluation.methods.method import strangers
from hydra_ml.tasks import get_task

TOY = '''
"""The LLM shown the newest record alone."""

from hydra_ml.answering.arms import Arm
from hydra_ml.evaluation.methods.method import greedy_method

METHOD = greedy_method("newest", Arm("newest", "recency", 1), "the LLM shown the newest record", place=55)
'''


def bench(task: str = "LaMP_2", stranger_of: dict[str, str] | None = None) -> Bench:
    """Two queries of ann (history: drama, comedy, comedy) and one of bob, who has none."""
    queries = pd.DataFrame(
        {
            "query_id": ["a1", "a2", "b1"],
            "user_id": ["ann", "ann", "bob"],
            "input": "?",
            "text": ["one", "two", "three"],
            "gold": ["comedy", "drama", "romance"],
            "profile": [["r0", "r1", "r2"], ["r0"], []],
        }
    )
    records = pd.DataFrame({"user_id": "ann", "record_id": ["r0", "r1", "r2"], "date": ["1", "2", "3"]})
    records["answer"] = ["drama", "comedy", "comedy"]
    records["input"] = ["a long text", "one", "another"]
    said = [  # arm, sample, answer of a1
        ("zero_shot", 0, "action"),
        ("rag_k4", 0, "drama"),
        ("rag_k4", 1, "drama"),
        ("hydra", 0, "comedy"),
        ("hydra", 1, "classic"),
    ]
    rows = [(query, arm, i, answer, True) for query in queries["query_id"] for arm, i, answer in said]
    answers = pd.DataFrame(rows, columns=["query_id", "arm", "sample_idx", "answer", "is_parsed"])
    answers = answers.assign(prompt=answers["arm"])

    def score(a: list[str], b: list[str], evidence: np.ndarray, users: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A personal head that loves what has a c (zoe's: an h), a shared one that loves short answers."""
        loved = ["h" if user == "zoe" else "c" for user in users]
        personal = np.array([text.count(letter) for text, letter in zip(b, loved, strict=True)], dtype=np.float32)
        return personal, -np.array([len(text) for text in b], dtype=np.float32)

    def encode(texts: Sequence[str]) -> np.ndarray:
        return np.array([[len(text), 1.0] for text in texts], dtype=np.float32).reshape(-1, 2)

    return Bench(get_task(task), queries, records, answers, score, encode, stranger_of or {})


def answers_of(name: str, given: Bench) -> dict[str, str]:
    rows = all_methods()[name].answer(given).rows
    return dict(zip(rows["query_id"], rows["answer"], strict=True))


def test_prompt_methods_say_the_greedy_answer() -> None:
    assert set(answers_of("zero_shot", bench()).values()) == {"action"}
    assert set(answers_of("rag_k4", bench()).values()) == {"drama"}
    assert set(answers_of("hydra_reranker", bench()).values()) == {"comedy"}


def test_the_adapter_chooses_within_its_own_prompts_by_its_own_heads() -> None:
    assert set(answers_of("hydra", bench("LaMP_4")).values()) == {"classic"}  # two c's
    assert set(answers_of("hydra_adapter", bench("LaMP_4")).values()) == {"drama"}  # all that rag_k4's prompt gave
    candidates = all_methods()["hydra"].answer(bench("LaMP_4")).candidates
    assert candidates is not None
    assert sorted(candidates.loc[candidates["query_id"] == "b1", "answer"]) == ["classic", "comedy", "drama"]


def test_of_closed_answers_every_one_can_be_chosen() -> None:
    candidates = all_methods()["hydra"].answer(bench()).candidates
    assert candidates is not None
    assert set(candidates.loc[candidates["query_id"] == "b1", "answer"]) == set(get_task("LaMP_2").labels)
    assert set(answers_of("hydra", bench()).values()) == {"classic"}


def test_the_swapped_control_answers_with_a_strangers_head_and_the_ceiling_knows() -> None:
    swapped = answers_of("hydra_swapped", bench("LaMP_4", stranger_of={"ann": "zoe"}))
    assert swapped == {"a1": "drama", "a2": "drama", "b1": "classic"}  # no h in any: the greedy one; bob has his own
    assert answers_of("best_candidate", bench("LaMP_4")) == {"a1": "comedy", "a2": "drama", "b1": "drama"}


def test_strangers_are_neighbours_by_length_of_history_and_none_is_oneself() -> None:
    queries = pd.DataFrame({"user_id": list("abcde"), "profile": [["r"] * n for n in (1, 9, 2, 8, 30)]})
    found = strangers(queries, set("abcde"), seed=0)
    assert found == {"a": "c", "c": "a", "b": "d", "d": "b", "e": "b"}
    assert strangers(queries, {"a"}, seed=0) == {}


def test_shared_heads_answer_for_everybody() -> None:
    given = bench("LaMP_4")
    answers = given.answers.assign(arm=given.answers["arm"].replace({"hydra": "hydra_shared"}))
    shared = replace(given, answers=answers)
    assert set(answers_of("hydra_shared", shared).values()) == {"drama"}  # the shortest


def test_floors_ask_no_llm() -> None:
    assert answers_of("user_majority", bench()) == {"a1": "comedy", "a2": "drama"}  # bob has no history
    assert answers_of("copy_input", bench("LaMP_7")) == {"a1": "one", "a2": "two", "b1": "three"}
    floors = [method for method in all_methods().values() if method.family == "floor"]
    assert all(method.arms == () for method in floors)
    fitting = {name: [m.name for m in floors if m.fits(get_task(name))] for name in ("LaMP_2", "LaMP_3", "LaMP_4")}
    both = ["user_majority", "history_vote"]
    assert fitting == {"LaMP_2": both, "LaMP_3": both, "LaMP_4": ["history_vote"]}


def test_the_history_alone_votes_for_the_best_supported_answer_or_repeats_the_nearest_text() -> None:
    given = bench()
    given.records["answer"] = ["classic", "comedy", "comedy"]  # of one long and two short texts
    assert answers_of("history_vote", given) == {"a1": "classic", "a2": "classic"}  # bob has no history
    nearest = answers_of("history_vote", bench("LaMP_4"))
    assert nearest == {"a1": "drama", "a2": "drama"}  # the longest text lies nearest by our product of lengths


def test_the_newest_of_equally_frequent_answers_is_the_majority() -> None:
    given = bench()
    given.records["answer"] = ["drama", "comedy", "drama"]
    given.queries.at[0, "profile"] = ["r0", "r1"]
    assert answers_of("user_majority", given)["a1"] == "comedy"


def test_only_prompts_of_chosen_methods_are_needed() -> None:
    assert arms_of(chosen_methods(["zero_shot"])) == [ZERO_SHOT]
    assert arms_of(chosen_methods(["hydra", "rag_k4"])) == [RAG_K4, HYDRA]
    assert arms_of(chosen_methods(["user_majority"])) == []
    with pytest.raises(ParamsError, match="no method 'hydro'; there are user_majority, "):
        chosen_methods(["hydro"])


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A method more: one file in a folder that counts as the package's."""
    (tmp_path / "newest.py").write_text(TOY)
    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(tmp_path)])
    importlib.invalidate_caches()
    yield
    sys.modules.pop("hydra_ml.evaluation.methods.newest", None)


@pytest.mark.usefixtures("toy")
def test_a_new_method_is_one_new_file(chain, tmp_path: Path) -> None:
    """Retrieved for, asked, measured, reported, plotted and listed, and nothing else was touched."""
    own = type(chain)(tmp_path / "chain", chain.task, {})
    shutil.copytree(chain.root, own.root)
    for stage in ("retrieve", "generate", "evaluate"):
        assert own.run(stage) == 0
    answers = pd.read_parquet(own.path("generate", "answers.parquet"))
    assert set(answers.loc[answers["arm"] == "newest", "sample_idx"]) == {0}
    metrics, before = (json.loads(c.path("evaluate", "metrics.json").read_text()) for c in (own, chain))
    assert metrics.pop("newest")["accuracy"]["n"] == 64
    metrics["bill"] = [row for row in metrics["bill"] if row["method"] != "newest"]
    assert metrics == before
    assert "newest" in pd.read_csv(own.path("evaluate", "methods.csv"))["methods"].tolist()
    listed = CliRunner().invoke(app, ["methods"]).output
    assert "the LLM shown the newest record" in listed
    assert listed.index("recency") < listed.index("newest") < listed.index("rag_k1")


def test_what_no_chosen_method_needs_is_not_paid_for(chain, tmp_path: Path) -> None:
    own = type(chain)(tmp_path / "chain", chain.task, {})
    shutil.copytree(chain.root, own.root)
    params = own.root / "params.yaml"
    params.write_text(params.read_text().replace("methods:\n", "methods: [user_majority, rag_k4]\n"))
    assert "[user_majority, rag_k4]" in params.read_text()
    for stage in ("retrieve", "generate", "evaluate"):
        assert own.run(stage) == 0
    answers = pd.read_parquet(own.path("generate", "answers.parquet"))
    roles = pd.read_parquet(own.path("prepare", "queries.parquet")).set_index("query_id")["role"]
    asked = answers.groupby(answers["query_id"].map(roles))["arm"].agg(set)
    assert asked.to_dict() == {"evaluate": {"rag_k4"}, "train": {"hydra", "rag_k4"}}
    assert set(pd.read_parquet(own.path("retrieve", "candidates.parquet"))["ranker"]) == {"bm25"}
    metrics = json.loads(own.path("evaluate", "metrics.json").read_text())
    assert {name for name, value in metrics.items() if isinstance(value, dict)} == {"user_majority", "rag_k4"}


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["nope"], "there is no method 'nope'"),
        (["copy_input"], "copy_input is no method that LaMP-2 has. Name"),
        (["hydra_reranker"], r"LaMP-2 has without a reranker \(annotate.queries_per_user is 0\)"),
    ],
)
def test_methods_that_tell_nothing_of_the_task_are_refused(names: list[str], told: str) -> None:
    with pytest.raises(ParamsError, match=told):
        fitting_methods(names, get_task("LaMP_2"), has_reranker=False)
    assert fitting_methods(["hydra_reranker"], get_task("LaMP_2"), has_reranker=True)
