"""A floor: the input itself, for paraphrases (LaMP-7). No LLM is asked."""

from hydra_ml.evaluation.methods.method import Bench, Method, Predictions


def copied(bench: Bench) -> Predictions:
    """Every query's own text."""
    return Predictions(bench.queries[["query_id"]].assign(answer=bench.queries["text"], is_parsed=True))


METHOD = Method(
    "copy_input",
    "the input itself (LaMP-7); no LLM",
    place=20,
    family="floor",
    answer=copied,
    fits=lambda task: task.folder == "LaMP_7",
)
