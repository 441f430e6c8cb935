"""The documents of `evaluation.results.ArenaResults`, read as they come back from JSON, and their figures as text.

One place for what the terminal's table and the page show alike.
"""

from __future__ import annotations

from collections.abc import Iterable

from hydra_ml.evaluation.methods import is_control, is_rival, method_order
from hydra_ml.evaluation.results import CONTROL, Document
from hydra_ml.measures import higher_is_better, measure_named


def methods_of(metrics: Document) -> list[str]:
    """`shown_methods` among the document's keys; the other keys, such as llm and seed, hold no mapping."""
    return shown_methods([key for key, value in metrics.items() if isinstance(value, dict)])


def shown_methods(methods: Iterable[str]) -> list[str]:
    """The methods in order, less the controls of rivals, which are told beside their rival alone."""
    return method_order([method for method in methods if not (is_rival(method) and is_control(method))])


def asides(details: Document) -> list[str]:
    """What must stand beside the methods: which were named and not run, and why; which showed other users' data."""
    without = [f"{method}: not run: {why}" for method, why in details.get("not_run", {}).items()]
    return [*without, *details.get("others_shown", [])]


def bands_of(details: Document) -> list[str]:
    """Shortest history first: JSON's sorted keys would put "101+" before "11-30"."""
    return sorted(details["bands"], key=lambda band: int(band.rstrip("+").split("-")[0]))


def leaders(metrics: Document, methods: list[str], measure: str) -> set[str]:
    """The best by a measure of the methods that can be had, ties included."""
    choose = max if higher_is_better(measure) else min
    rivals = [method for method in methods if not is_control(method)]
    best = choose((metrics[method][measure]["value"] for method in rivals), default=None)
    return {method for method in rivals if metrics[method][measure]["value"] == best}


def rival_rows(metrics: Document, details: Document) -> list[list[str]]:
    """Of each rival with a control: its name, its value, that with a stranger's part, and the difference; first the
    heads. [] without rivals."""
    measure = details["measures"][0]
    rows = [["rival", title_of(measure), "with a stranger's part", "own less stranger's"]]
    for rival in filter(is_rival, methods_of(metrics)):
        control = CONTROL.format(rival)
        if control in metrics:
            pair = details["paired"][rival][control][measure]
            rows.append([rival, *(number(metrics[m][measure]["value"]) for m in (rival, control)), difference(pair)])
    return rows if rows[1:] else []


def title_of(measure: str) -> str:
    """The measure as people write it."""
    return measure_named(measure).title


def column_title(measure: str) -> str:
    """The same, with a word where lower is better."""
    return title_of(measure) if higher_is_better(measure) else f"{title_of(measure)} (lower is better)"


def is_gain(pair: Document, measure: str) -> bool:
    """Whether the interval of the difference lies on the better side of 0."""
    low, high = pair["ci_low"], pair["ci_high"]
    if low is None or high is None:
        return False
    return bool(low > 0 if higher_is_better(measure) else high < 0)


def is_loss(pair: Document, measure: str) -> bool:
    """Whether the interval of the difference lies on the worse side of 0."""
    low, high = pair["ci_low"], pair["ci_high"]
    if low is None or high is None:
        return False
    return bool(high < 0 if higher_is_better(measure) else low > 0)


def number(value: float | None, sign: str = "") -> str:
    """Three decimals, "-" for None; sign "+" shows both signs."""
    return "-" if value is None else f"{round(value, 3) + 0.0:{sign}.3f}"  # never -0.000


def interval(estimate: Document) -> str:
    """A value and its interval."""
    return f"{number(estimate['value'])} [{number(estimate['ci_low'])}, {number(estimate['ci_high'])}]"


def difference(pair: Document) -> str:
    """A paired difference, its interval and p."""
    low, high = number(pair["ci_low"], "+"), number(pair["ci_high"], "+")
    return f"{number(pair['difference'], '+')} [{low}, {high}] p {p_value(pair['p'])}"


def p_value(p: float | None) -> str:
    """p to three decimals, "<.001" below."""
    return "<.001" if p is not None and p < 0.001 else number(p)


def signed(estimate: Document) -> str:
    """A value that may lie on either side of 0, and its interval."""
    low, high = number(estimate["ci_low"], "+"), number(estimate["ci_high"], "+")
    return f"{number(estimate['value'], '+')} [{low}, {high}]"


def percent(estimate: Document) -> str:
    """A share with its interval where it has one."""
    if estimate["ci_low"] is None:
        return f"{estimate['value']:.0%}"
    return f"{estimate['value']:.0%} [{estimate['ci_low']:.0%}, {estimate['ci_high']:.0%}]"
