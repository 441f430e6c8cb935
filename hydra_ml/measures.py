"""LaMP's official measures, and the reward that training labels come from.

A measure is a table of per-query components plus a rule that turns their totals into one value, so that a bootstrap
can reweight totals and never touches a prediction again. Knows nothing of users, methods, files or LLM clients.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hydra_ml.errors import DataError
from hydra_ml.tasks.task import Task

FloatArray = NDArray[np.float64]
Answers = Sequence[str | None]  # None: the LLM's text stood for no answer


@dataclass(frozen=True)
class Measure:
    """One measure, in two steps: Q queries give components [Q, C]; totals [..., C] and counts [...] give values."""

    title: str  # as reports print it
    higher_is_better: bool
    per_query: Callable[[Task, Answers, Sequence[str]], FloatArray]
    aggregate: Callable[[FloatArray, FloatArray], FloatArray]


def measure_values(task: Task, predictions: Answers, golds: Sequence[str]) -> dict[str, float]:
    """Every measure of the task over all queries, primary first; NaN where there is no query.

    Predictions and golds stand in the same order, one per query. An unparsable prediction is scored, never dropped: a
    miss for labels, the farther end of the scale for ratings, an empty text for texts. Equal to LaMP's evaluator, with
    two departures: its ROUGE is the middle of a random bootstrap, which wobbles around the plain mean given here; and
    a rating of "nan" or "inf" counts as unparsable, where the evaluator's own result would become nan or inf.
    Raises DataError for a gold answer that the task does not allow, and for lists of unequal length.
    """
    count = np.array(len(golds), dtype=np.float64)
    components = per_query(task, predictions, golds)
    with np.errstate(invalid="ignore"):  # 0 / 0 is the NaN promised for no query
        return {
            name: float(measure_named(name).aggregate(part.sum(axis=0), count)) for name, part in components.items()
        }


def per_query(task: Task, predictions: Answers, golds: Sequence[str]) -> dict[str, FloatArray]:
    """For each measure of the task, its components [Q, C]; summed over any queries they feed `Measure.aggregate`.

    C is 1 for every measure but macro-F1, which counts hits, predictions and golds of each label. Raises as
    `measure_values` does.
    """
    _check_lengths(task, predictions, golds)
    return {name: measure_named(name).per_query(task, predictions, golds) for name in task.measures}


def is_parsable(task: Task, prediction: str | None) -> bool:
    """Whether the prediction is an answer at all: a listed label, a finite number, or a text that is not empty."""
    if task.kind == "text":
        return bool(prediction and prediction.strip())
    if task.kind == "rating":
        return _number(prediction) is not None
    return prediction is not None and prediction.strip() in task.labels


def higher_is_better(measure: str) -> bool:
    """True for accuracy, F1, ROUGE and own measures; False for errors. Raises DataError for an unknown name."""
    return measure_named(measure).higher_is_better


def rewards(task: Task, answers: Answers, golds: Sequence[str]) -> FloatArray:
    """How good each answer is, from 0 to 1 (higher is better): what training labels are made from. Shape [N].

    Labels and choices: 1 for an exact match. Ratings: 1 - |answer - gold| / length of the scale, never below 0. Texts:
    the mean of ROUGE-1 and ROUGE-L. An unparsable answer earns 0. Raises DataError for a gold the task does not allow,
    and for lists of unequal length.
    """
    _check_lengths(task, answers, golds)
    if task.kind == "text":
        return (_rouge("rouge1", answers, golds) + _rouge("rougeL", answers, golds)) / 2
    if task.kind == "rating":
        given = np.array([math.nan if (value := _number(a)) is None else value for a in answers], dtype=np.float64)
        lowest, highest = _scale(task)
        closeness = 1 - np.abs(given - _gold_numbers(task, golds)) / (highest - lowest)
        return np.clip(np.nan_to_num(closeness, nan=0.0), 0.0, 1.0)
    return _hits(task, answers, golds)[:, 0]


# Per-query components, one function per formula of LaMP's released evaluator (its eval/evaluation.py).


def _hits(task: Task, predictions: Answers, golds: Sequence[str]) -> FloatArray:
    hits: FloatArray = np.equal(_label_codes(task, predictions), _gold_codes(task, golds)).astype(np.float64)
    return hits[:, None]


def _label_counts(task: Task, predictions: Answers, golds: Sequence[str]) -> FloatArray:
    """[Q, 3 L]: for every label, whether this query is a hit of it, predicts it, has it as gold. -1 is no label."""
    labels = np.arange(len(task.labels))
    predicted = _label_codes(task, predictions)[:, None] == labels
    gold = _gold_codes(task, golds)[:, None] == labels
    return np.concatenate([predicted & gold, predicted, gold], axis=1).astype(np.float64)


def _errors(task: Task, predictions: Answers, golds: Sequence[str]) -> FloatArray:
    """[Q]: prediction less gold, neither rounded nor clipped; an unparsable prediction stands at the farther end."""
    gold = _gold_numbers(task, golds)
    lowest, highest = _scale(task)
    farther = np.where(np.abs(lowest - gold) > np.abs(highest - gold), lowest, highest)
    numbers = [_number(prediction) for prediction in predictions]
    given = np.array([end if number is None else number for number, end in zip(numbers, farther, strict=True)])
    return given.astype(np.float64) - gold


def _absolute_errors(task: Task, predictions: Answers, golds: Sequence[str]) -> FloatArray:
    return np.abs(_errors(task, predictions, golds))[:, None]


def _squared_errors(task: Task, predictions: Answers, golds: Sequence[str]) -> FloatArray:
    return (_errors(task, predictions, golds) ** 2)[:, None]


def _rouge_1(task: Task, predictions: Answers, golds: Sequence[str]) -> FloatArray:
    return _rouge("rouge1", predictions, golds)[:, None]


def _rouge_l(task: Task, predictions: Answers, golds: Sequence[str]) -> FloatArray:
    return _rouge("rougeL", predictions, golds)[:, None]


# From totals to values.


def _mean(totals: FloatArray, count: FloatArray) -> FloatArray:
    mean: FloatArray = totals[..., 0] / count
    return mean


def _root_mean(totals: FloatArray, count: FloatArray) -> FloatArray:
    return np.sqrt(_mean(totals, count))


def _macro_f1(totals: FloatArray, count: FloatArray) -> FloatArray:
    """Mean of the labels' F1 over all listed labels; a label with neither gold nor prediction counts 0."""
    hits, predicted, gold = np.split(totals, 3, axis=-1)  # each [..., L]
    present = predicted + gold
    f1: FloatArray = np.divide(2 * hits, present, out=np.zeros_like(hits), where=present > 0)
    return np.where(count > 0, f1.mean(axis=-1), math.nan)


# Reading answers.


def _check_lengths(task: Task, predictions: Answers, golds: Sequence[str]) -> None:
    if len(predictions) != len(golds):
        raise DataError(
            f"{task.name}: {len(predictions)} predictions for {len(golds)} gold answers; one is needed per query. "
            "Give None where a method has no answer."
        )


def _label_codes(task: Task, answers: Answers) -> NDArray[np.int64]:
    """Positions in the task's label list; -1 for an answer that is no label. Exact and case-sensitive, as LaMP is."""
    position = {label: index for index, label in enumerate(task.labels)}
    return np.array([-1 if a is None else position.get(a.strip(), -1) for a in answers], dtype=np.int64)


def _gold_codes(task: Task, golds: Sequence[str]) -> NDArray[np.int64]:
    codes = _label_codes(task, golds)
    if (codes < 0).any():  # the official evaluator would count it as hit by any invalid prediction
        found = golds[int(np.argmax(codes < 0))]
        raise DataError(f"{task.name}: gold answer {found!r} is not one of {', '.join(task.labels)}. Mend the outputs.")
    return codes


def _gold_numbers(task: Task, golds: Sequence[str]) -> FloatArray:
    numbers = [_number(gold) for gold in golds]
    if None in numbers:
        found = golds[numbers.index(None)]
        scale = f"{task.labels[0]} to {task.labels[-1]}"
        raise DataError(f"{task.name}: gold answer {found!r} is not a number from {scale}. Mend the outputs.")
    return np.array(numbers, dtype=np.float64)


def _scale(task: Task) -> tuple[float, float]:
    """The ends of a rating task's scale."""
    return float(task.labels[0]), float(task.labels[-1])


def _number(text: str | None) -> float | None:
    """The finite number a text spells, or None."""
    try:
        value = float(text) if text is not None else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None


class _CachedTokenizer:
    """rouge_score's own tokenizer (lower case, letters and digits, no stemming), each distinct text read once."""

    def __init__(self) -> None:
        from rouge_score.tokenizers import DefaultTokenizer

        self._tokenizer = DefaultTokenizer(use_stemmer=False)
        self._seen: dict[str, list[str]] = {}

    def tokenize(self, text: str) -> list[str]:
        if text not in self._seen:
            self._seen[text] = self._tokenizer.tokenize(text)
        return self._seen[text]


def _rouge(kind: str, predictions: Answers, golds: Sequence[str]) -> FloatArray:
    """[N]: the F-measure of each pair, by the package that LaMP's evaluator uses; equal pairs are scored once."""
    from rouge_score.rouge_scorer import RougeScorer  # here because its import takes two seconds

    scorer: Any = RougeScorer([kind], tokenizer=_CachedTokenizer())
    seen: dict[tuple[str, str], float] = {}
    scores = np.empty(len(golds), dtype=np.float64)
    for index, pair in enumerate(zip((p or "" for p in predictions), golds, strict=True)):
        if pair not in seen:
            prediction, gold = pair
            seen[pair] = scorer.score(gold.strip(), prediction.strip())[kind].fmeasure
        scores[index] = seen[pair]
    return scores


MEASURES: dict[str, Measure] = {
    "accuracy": Measure("accuracy", True, _hits, _mean),
    "f1": Measure("macro-F1", True, _label_counts, _macro_f1),
    "mae": Measure("MAE", False, _absolute_errors, _mean),
    "rmse": Measure("RMSE", False, _squared_errors, _root_mean),
    "rouge_1": Measure("ROUGE-1", True, _rouge_1, _mean),
    "rouge_l": Measure("ROUGE-L", True, _rouge_l, _mean),
}


@lru_cache
def measure_named(name: str) -> Measure:
    """One of MEASURES, or an own one by its import path, "package.module:function".

    An own one is given the predictions ("" for none) and the golds, as lists, and gives a number for each, higher being
    better; the measure is their mean. Raises DataError for a name that is neither, or cannot be imported.
    """
    if name in MEASURES:
        return MEASURES[name]
    module, _, function = name.partition(":")
    try:
        judge = getattr(importlib.import_module(module), function)
    except Exception as error:  # whatever the module raises: it is not ours
        raise DataError(
            f"{name!r}; known measures are {', '.join(MEASURES)}, or your own as package.module:function "
            f"({type(error).__name__}: {error})."
        ) from error

    def judged(task: Task, predictions: Answers, golds: Sequence[str]) -> FloatArray:
        """What it gives, checked; [Q, 1]."""
        try:
            found = np.asarray(judge([answer or "" for answer in predictions], list(golds)), dtype=np.float64)
        except Exception as error:
            raise DataError(
                f"measure {name!r} failed on {len(golds)} answers ({type(error).__name__}: {error})."
            ) from error
        if found.shape != (len(golds),) or not np.isfinite(found).all():
            n_odd = int((~np.isfinite(found)).sum())
            told = f"numbers of shape {found.shape}, {n_odd} of them not finite"
            raise DataError(
                f"measure {name!r} gave {told}, for {len(golds)} answers; one finite number each is needed."
            )
        return found[:, None]

    return Measure(function, True, judged, _mean)
