"""Simulated users who click by a planted taste are served better for it; clicks that mean nothing teach nothing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import ttest_1samp

from hydra_ml.answering.feedback import chosen_among, heads_from_choices, kept_candidates
from hydra_ml.model.base import SURFACE_DIM, DualBase
from hydra_ml.model.factored import score
from hydra_ml.model.fit_base import SharedPart, unlearned
from hydra_ml.model.heads import no_heads
from hydra_ml.model.pairs import DualPairs
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
                    "shared": float(np.log(n_votes / sum(votes) + 0.03)),
                    "place": place,
                    "is_served": place == 0,
                    "is_shown": True,
                }
                for place, (tag, n_votes) in enumerate(zip(tags, votes, strict=True))
            ]
            film = MOVIES.templated(f"film {drawn.integers(1000)} of {user}")
            answer = pick(user, tags, drawn)
            rows.append(
                {
                    "request_id": f"{seed}-{i}",
                    "user_id": user,
                    "input": film,
                    "answer": answer,
                    "candidates": candidates,
                }
            )
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


def gains(shared, tastes, pick, seed: int) -> np.ndarray:
    """Per user, how much more often a liked candidate is chosen after CLICKS clicks than before, on later requests."""
    learned = heads_from_choices(*rows_of(asked(tastes, CLICKS, seed, pick)), shared, ridge=3.0, make_pairs=pairs)
    later = rows_of(asked(tastes, LATER, seed + 1, by_taste(tastes)))
    before = liked_share(later, shared, no_heads("residual", shared.width), tastes)
    after = liked_share(later, shared, learned, tastes)
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
    whole = heads_from_choices(*rows_of(said), shared, ridge=3.0, make_pairs=pairs)
    alone = heads_from_choices(*rows_of(said[said["user_id"] == "user07"]), shared, ridge=3.0, make_pairs=pairs)
    assert np.array_equal(whole.table[whole.user_ids.index("user07")], alone.table[0])


def test_only_what_was_shown_and_chosen_among_counts(shared):
    said = asked(["ann"], 4, 60, at_random)
    only_served = [{**one, "is_shown": one["is_served"]} for one in said["candidates"][0]]
    first_two = [{**one, "is_shown": one["place"] < 2} for one in said["candidates"][1]]
    said["candidates"] = [only_served, first_two, said["candidates"][2], said["candidates"][3]]
    said["answer"] = [said["candidates"][i][0]["answer"] for i in range(3)] + ["none of them"]
    rows, evidence = rows_of(said)
    places = chosen_among(rows)
    assert rows.iloc[places].groupby("query_id").size().tolist() == [2, SHOWN]
    heads = heads_from_choices(rows, evidence, shared, ridge=3.0, make_pairs=pairs, as_scored=False)
    assert heads.user_ids == ("ann",)
    assert heads.table[0, shared.width - 4 + 1] == 0.0  # greedy answers are not kept: nothing is learned of them
    assert heads.table.any()


def test_nothing_said_gives_no_head(shared):
    nothing = pd.DataFrame(columns=["request_id", "user_id", "input", "answer", "candidates"])
    rows, evidence = rows_of(nothing)
    assert len(heads_from_choices(rows, evidence, shared, ridge=3.0, make_pairs=pairs).user_ids) == 0
