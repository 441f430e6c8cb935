"""A floor: what the user's own history answers, its nearest records most. No LLM is asked."""

from hydra_ml.answering.history_votes import history_votes
from hydra_ml.evaluation.methods.method import Bench, Method, Predictions


def voted(bench: Bench) -> Predictions:
    """The answer with the most support; a user without history has none, and no row."""
    rows = history_votes(bench.queries, bench.records, bench.task, bench.encode)
    return Predictions(rows.assign(is_parsed=True))


METHOD = Method(
    "history_vote",
    "the answer that the user's nearest records give; no LLM",
    place=15,
    family="floor",
    answer=voted,
)
