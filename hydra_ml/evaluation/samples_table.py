"""Results of several samples of users side by side: what holds in each of them, not in one by luck.

Reads the documents of `evaluation.results.ArenaResults`, one pair per seed; computes means of what stands there alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean

from hydra_ml.evaluation.cells import column_title, is_gain, is_loss, methods_of, number, title_of
from hydra_ml.evaluation.results import OURS, Document
from hydra_ml.terminal import aligned

Samples = Mapping[int, tuple[Document, Document]]  # by seed: metrics and details


def samples_table(samples: Samples) -> str:
    """Of each method its primary measure in every sample and their mean; then what OURS gains on each opponent. Only
    methods that ran in every sample are told. No newline at the end."""
    _, first = next(iter(samples.values()))
    measure = first["measures"][0]
    heads = [f"seed {seed}" for seed in samples]
    rows = [[column_title(measure), *heads, "mean"]]
    for method in methods_of(_in_all([metrics for metrics, _ in samples.values()])):
        values = [metrics[method][measure]["value"] for metrics, _ in samples.values()]
        rows.append([method, *map(number, values), number(fmean(values))])
    sizes = ", ".join(f"{details['n_queries']} of {details['n_users']} users" for _, details in samples.values())
    text = f"{first['task']}: {len(samples)} samples of users ({sizes})\n\n{aligned(rows, right=_columns(rows))}"

    gains = [[f"{OURS} less", *heads, "mean"]]
    for other in methods_of(_in_all([details["paired"].get(OURS, {}) for _, details in samples.values()])):
        pairs = [details["paired"][OURS][other][measure] for _, details in samples.values()]
        gains.append([other, *(_told(pair, measure) for pair in pairs), number(_mean(pairs), "+")])
    if len(gains) == 1:
        return text
    legend = (
        f"* the 95 % interval of the difference in {title_of(measure)} leaves 0 out on the better side, ! on the worse."
        "\nSamples may share users, so they have no interval together: read how often a gain comes back."
    )
    return f"{text}\n\n{aligned(gains, right=_columns(gains))}\n{legend}"


def _in_all(documents: list[Document]) -> Document:
    """The first document's entries whose key every document has."""
    return {key: value for key, value in documents[0].items() if all(key in other for other in documents)}


def _mean(pairs: list[Document]) -> float:
    return fmean(pair["difference"] for pair in pairs)


def _told(pair: Document, measure: str) -> str:
    mark = "*" if is_gain(pair, measure) else "!" if is_loss(pair, measure) else " "
    return number(pair["difference"], "+") + mark


def _columns(rows: list[list[str]]) -> set[int]:
    return set(range(1, len(rows[0])))
