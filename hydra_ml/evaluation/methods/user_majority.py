"""A floor: the answer a user gave most often, for labels and ratings. No LLM is asked."""

import pandas as pd

from hydra_ml.evaluation.methods.method import Bench, Method, Predictions


def most_frequent(bench: Bench) -> Predictions:
    """The most frequent answer among the records a query may see, the newest of equally frequent ones; a user without
    history has none, and no row."""
    seen = bench.queries[["query_id", "user_id", "profile"]].explode("profile").rename(columns={"profile": "record_id"})
    seen = seen.dropna(subset=["record_id"])
    seen = seen.merge(bench.records[["user_id", "record_id", "answer", "date"]], on=["user_id", "record_id"])
    counts = seen.groupby(["query_id", "answer"], as_index=False).agg(n=("date", "size"), newest=("date", "max"))
    counts = counts.sort_values(["query_id", "n", "newest", "answer"], ascending=[True, False, False, True])
    rows: pd.DataFrame = counts.groupby("query_id", as_index=False).first()[["query_id", "answer"]]
    return Predictions(rows.assign(is_parsed=True))


METHOD = Method(
    "user_majority",
    "the user's most frequent label; no LLM",
    place=10,
    family="floor",
    answer=most_frequent,
    fits=lambda task: task.kind in ("label", "rating"),
)
