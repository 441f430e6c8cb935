"""Which queries are drawn and which are held back."""

import pandas as pd

from hydra_ml.learning.draws import draw_per_user, held_back_queries

QUERIES = pd.DataFrame(
    {
        "query_id": [f"a{i}" for i in range(10)] + ["b0", "b1"],
        "user_id": ["ann"] * 10 + ["bob"] * 2,
        "date": [f"2020-01-{i + 1:02d}" for i in range(10)] + ["2020-01-01", "2020-01-02"],
    }
)


def test_draw_takes_at_most_n_of_each_user_whatever_the_row_order():
    drawn = draw_per_user(QUERIES, 3, seed=0)
    assert drawn.groupby("user_id").size().to_dict() == {"ann": 3, "bob": 2}
    shuffled = draw_per_user(QUERIES.sample(frac=1, random_state=1), 3, seed=0)
    assert shuffled["query_id"].tolist() == drawn["query_id"].tolist()
    assert any(draw_per_user(QUERIES, 3, seed=s)["query_id"].tolist() != drawn["query_id"].tolist() for s in (1, 2, 3))


def test_marked_queries_are_drawn_before_the_others():
    first = QUERIES["query_id"].isin(["a3", "a7", "b1"]).to_numpy()
    drawn = draw_per_user(QUERIES, 3, seed=0, first=first)
    assert {"a3", "a7", "b1"} <= set(drawn["query_id"])
    assert drawn.groupby("user_id").size().to_dict() == {"ann": 3, "bob": 2}
    unmarked = draw_per_user(QUERIES[~first], 1, seed=0)  # the luck of the others is what it was
    assert set(unmarked.loc[unmarked["user_id"] == "ann", "query_id"]) < set(drawn["query_id"])


def test_one_users_queries_do_not_change_anothers_draw():
    without_bob = draw_per_user(QUERIES[QUERIES["user_id"] == "ann"], 3, seed=0)
    drawn = draw_per_user(QUERIES, 3, seed=0)
    assert drawn[drawn["user_id"] == "ann"]["query_id"].tolist() == without_bob["query_id"].tolist()


def test_the_newest_share_is_held_back_and_short_histories_give_nothing_up():
    assert held_back_queries(QUERIES, 0.2, seed=0) == {"a8", "a9"}
    assert held_back_queries(QUERIES, 0.0, seed=0) == set()
    assert held_back_queries(QUERIES, 0.5, seed=0) == {"a5", "a6", "a7", "a8", "a9", "b1"}


def test_undated_queries_are_held_back_by_seed():
    undated = QUERIES.assign(date="")
    held = held_back_queries(undated, 0.5, seed=0)
    assert len(held) == 6
    assert held == held_back_queries(undated.sample(frac=1, random_state=3), 0.5, seed=0)


def test_at_least_so_many_are_held_back_but_never_all():
    assert held_back_queries(QUERIES, 0.0, seed=0, at_least=1) == {"a9", "b1"}
    assert held_back_queries(QUERIES, 0.2, seed=0, at_least=1) == {"a8", "a9", "b1"}
    lone = QUERIES[QUERIES["query_id"] == "b0"]
    assert held_back_queries(lone, 0.9, seed=0, at_least=1) == set()
