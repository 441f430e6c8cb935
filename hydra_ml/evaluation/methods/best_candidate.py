"""A ceiling: the best of the answers HYDRA chooses among, picked by one who knows which that is."""

from hydra_ml.answering.arms import SERVED
from hydra_ml.evaluation.methods.method import Bench, Method, Predictions
from hydra_ml.measures import rewards


def best_of(bench: Bench) -> Predictions:
    """The LLM's proposal of the highest reward, the first of equals; answers the LLM never gave do not count."""
    rows, _ = bench.rows(SERVED)
    rows = rows[(rows["votes"] > 0) | (rows["greedy_share"] > 0)]
    rows = rows.assign(reward=rewards(bench.task, rows["answer"].tolist(), rows["gold"].tolist()))
    best = rows.sort_values(["query_id", "reward"], ascending=[True, False], kind="stable")
    best = best.groupby("query_id", as_index=False).first()[["query_id", "answer"]]
    return Predictions(best.assign(is_parsed=True))


METHOD = Method(
    "best_candidate",
    "the best of hydra's candidates, picked by who knows the right answer",
    place=120,
    family="control",
    answer=best_of,
    arms=SERVED,
    is_choice=True,
)
