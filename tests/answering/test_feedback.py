"""Simulated users who click by a planted taste are served better for it; clicks that mean nothing teach nothing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import ttest_1samp

from hydra_ml.answering.adapter import candidate_rows, distinct_candidates
from hydra_ml.answering.feedback import is_of_choice, kept_candidates, with_choices
from hydra_ml.answering.fit_component import ComponentRows, refit_component
from hydra_ml.answering.preferred_answers import preferred_answers
from hydra_ml.learning.feedback import choices_of
from hydra_ml.model.base import SURFACE_DIM, DualBase
from hydra_ml.model.factored import score
from hydra_ml.model.fit_base import SharedPart, unlearned
from hydra_ml.model.heads import Heads, merged_heads, no_heads
from hydra_ml.model.pairs import DualPairs
from hydra_ml.params import Train
from hydra_ml.records import RECORD_COLUMNS
from hydra_ml.tasks import get_task
from tests.conftest import bag_of_words

MOVIES = get_task("LaMP_2")
USERS, CLICKS, LATER, SHOWN = 60, 20, 40, 5
WEIGHTS = (1.0, 0.5, 1.0, 0.0)  # of the evidence, as a shared head would have them
NOBODY = pd.DataFrame({name: [] for name in RECORD_COLUMNS}, dtype="str")
Rows = tuple[pd.DataFrame, np.ndarray]


def pairs(a, b) -> DualPairs:
    return DualPairs(a, b, bag_of_words)


@pytest.fixture(scope="module")
def shared() -> SharedPart:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        base = DualBase(64, 64, 0.0)
    assert SURFACE_DIM == 10
    return unlearned(base, "residual", WEIGHTS)


@pytest.fixture(scope="module")
def tastes() -> dict[str, set[str]]:
    """Three tags that each user likes, whatever the film."""
    drawn = np.random.default_rng(1)
    return {f"user{i:02d}": set(drawn.choice(MOVIES.labels, 3, replace=False)) for i in range(USERS)}


def asked(users, n: int, seed: int, pick: Callable[[str, list[str], np.random.Generator], str]) -> pd.DataFrame:
    """n requests a user with SHOWN candidates each, the first one served, and the one that the user clicks."""
    drawn = np.random.default_rng(seed)
    rows = []
    for user in users:
        for i in range(n):
            tags = [str(tag) for tag in drawn.choice(MOVIES.labels, SHOWN, replace=False)]
            votes = sorted(drawn.integers(1, 5, SHOWN).tolist(), reverse=True)
            candidates = [
                {
                    "answer": tag,
                    "votes": n_votes,
                    "greedy_share": float(place == 0),
                    "is_shown": True,
                }
                for place, (tag, n_votes) in enumerate(zip(tags, votes, strict=True))
            ]
            film = MOVIES.templated(f"film {drawn.integers(1000)} of {user}")
            answer = pick(user, tags, drawn)
            name = f"{seed}-{i}"
            row = {"request_id": name, "user_id": user, "record_id": f"r{name}", "verdict": "chosen", "input": film}
            rows.append({**row, "answer": answer, "candidates": candidates})
    return pd.DataFrame(rows)


def rows_of(said: pd.DataFrame) -> Rows:
    return kept_candidates(said, {}, NOBODY, MOVIES, bag_of_words)


def by_taste(tastes) -> Callable[[str, list[str], np.random.Generator], str]:
    """A liked tag where one is shown, nine times of ten; else whatever is served."""

    def pick(user: str, tags: list[str], drawn: np.random.Generator) -> str:
        liked = [tag for tag in tags if tag in tastes[user]]
        return liked[0] if liked and drawn.random() < 0.9 else tags[0]

    return pick


def at_random(user: str, tags: list[str], drawn: np.random.Generator) -> str:
    return str(drawn.choice(tags))


def liked_share(rows: Rows, shared: SharedPart, heads, tastes) -> pd.Series:
    """By user, how often the best candidate is liked, of the requests where one is."""
    table, evidence = rows
    found = score(shared, heads, pairs(table["a"], table["b"]), evidence, table["user_id"].to_numpy(dtype=str))
    table = table.assign(score=found)
    table["is_liked"] = [tag in tastes[user] for user, tag in zip(table["user_id"], table["answer"], strict=True)]
    table = table[table.groupby("query_id")["is_liked"].transform("any")]
    best = table.loc[table.groupby("query_id")["score"].idxmax()]
    return best.groupby("user_id")["is_liked"].mean()


def queries_of(said: pd.DataFrame) -> pd.DataFrame:
    """The pseudo-queries of the records that the choices brought."""
    ids = said["user_id"] + "/" + said["record_id"]
    queries = said[["user_id", "input"]].assign(query_id=ids, source_record_id=said["record_id"], gold=said["answer"])
    queries = queries.assign(role="train", cohort="known", date="2030-01-01", is_new=True)
    return queries.assign(text=queries["input"], profile=[[] for _ in range(len(queries))])


def training_rows(said: pd.DataFrame) -> ComponentRows:
    """What the adapter learns from these choices: the steps of its stage."""
    queries = queries_of(said)
    choices = choices_of(said, queries)
    asked_llm = pd.DataFrame({name: [] for name in ("query_id", "arm", "prompt", "answer")}, dtype="str")
    pool = with_choices(distinct_candidates(asked_llm.assign(sample_idx=1)), choices)
    facts = queries[["query_id", "user_id", "input", "text", "profile", "gold"]]
    rows, evidence = candidate_rows(pool, facts, NOBODY, MOVIES, bag_of_words)
    seen = np.flatnonzero(is_of_choice(rows, choices))
    rows = rows.iloc[seen].reset_index(drop=True)
    preferences = preferred_answers(MOVIES, *(rows[name].tolist() for name in ("answer", "gold", "query_id")))
    return ComponentRows(rows, evidence[seen], *preferences)


def learned(said: pd.DataFrame, shared: SharedPart) -> Heads:
    """The users' heads after these choices, on the frozen base."""
    present = no_heads(shared.head, shared.width)
    settings = Train()
    rows, queries = training_rows(said), queries_of(said)
    refit = refit_component(
        rows, queries, settings, shared=shared, present=present, ridge=3.0, seed=0, make_pairs=pairs
    )
    return merged_heads(present, refit.fitted)


def gains(shared, tastes, pick, seed: int) -> np.ndarray:
    """Per user, how much more often a liked candidate is chosen after CLICKS clicks than before, on later requests."""
    heads = learned(asked(tastes, CLICKS, seed, pick), shared)
    later = rows_of(asked(tastes, LATER, seed + 1, by_taste(tastes)))
    before = liked_share(later, shared, no_heads("residual", shared.width), tastes)
    after = liked_share(later, shared, heads, tastes)
    print(f"liked answers chosen: {before.mean():.3f} -> {after.mean():.3f}, {len(before)} users")
    return (after - before).to_numpy()


def test_heads_choose_better_after_twenty_clicks_by_a_taste(shared, tastes):
    found = gains(shared, tastes, by_taste(tastes), seed=10)
    assert found.mean() > 0.1
    assert ttest_1samp(found, 0.0, alternative="greater").pvalue < 1e-6
    assert (found > 0).mean() > 0.75


def test_random_clicks_change_nothing_beyond_luck(shared, tastes):
    found = np.concatenate([gains(shared, tastes, at_random, seed) for seed in (20, 30, 40)])
    assert ttest_1samp(found, 0.0).pvalue > 0.01
    assert abs(found.mean()) < 0.065  # a tenth of what clicks by a taste gain


def test_who_clicks_moves_no_other_users_head(shared, tastes):
    said = asked(tastes, 5, 50, by_taste(tastes))
    whole, alone = learned(said, shared), learned(said[said["user_id"] == "user07"], shared)
    assert np.array_equal(whole.table[whole.user_ids.index("user07")], alone.table[0])


def test_only_what_was_shown_and_chosen_among_counts():
    said = asked(["ann"], 6, 60, at_random)
    parts = said["candidates"].tolist()
    parts[0] = [{**one, "is_shown": one["answer"] == said["answer"][0]} for one in parts[0]]  # only what was served
    parts[1] = [{**one, "is_shown": place < 2} for place, one in enumerate(parts[1])]
    parts[4] = [{**one, "greedy_share": None} for one in parts[4]]  # of before they were kept
    said["candidates"] = parts
    said.loc[1, "answer"] = parts[1][0]["answer"]
    said.loc[3, "answer"] = "none of them"
    said.loc[5, "verdict"] = "accepted"
    rows = training_rows(said)
    assert rows.table.groupby("query_id").size().to_dict() == {"ann/r60-1": 2, "ann/r60-2": SHOWN}
    picked = rows.table.loc[rows.targets == 1.0, ["query_id", "answer"]].to_numpy().tolist()
    assert picked == [[f"ann/r60-{i}", said["answer"][i]] for i in (1, 2)]


def test_a_choice_stands_in_place_of_what_the_llm_would_be_asked():
    said = asked(["ann"], 1, 70, at_random)
    answers = pd.DataFrame({"query_id": ["ann/r70-0", "ann/other"], "answer": ["comedy", "action"]})
    answers = answers.assign(arm="rag_k4", prompt=answers["query_id"], sample_idx=[1, 1])
    choices = choices_of(said, queries_of(said))
    pool = with_choices(distinct_candidates(answers), choices)
    kept = {one["answer"]: one["votes"] for one in said["candidates"][0]}
    of_choice = pool[pool["query_id"] == "ann/r70-0"]
    assert dict(zip(of_choice["answer"], of_choice["votes"], strict=True)) == kept
    assert pool[pool["query_id"] == "ann/other"]["answer"].tolist() == ["action"]
    assert (of_choice["n_samples"] == sum(kept.values())).all()


def test_of_two_choices_of_one_record_the_last_counts():
    said = asked(["ann"], 2, 80, at_random)
    said["record_id"] = "same"
    choices = choices_of(said, queries_of(said.tail(1)))
    assert set(choices["answer"]) == {one["answer"] for one in said["candidates"][1]}


def test_nothing_said_is_nothing_learned():
    nothing = pd.DataFrame(columns=["request_id", "user_id", "record_id", "verdict", "input", "answer", "candidates"])
    assert choices_of(nothing, queries_of(nothing.astype("str"))).empty
    assert len(rows_of(nothing)[0]) == 0
