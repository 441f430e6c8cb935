"""What a person reads of an evaluation: a table for the terminal and two plots.

Reads the documents of `arena.ArenaResults` as they come back from JSON; computes no figure of its own.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra_ml.evaluation.arena import FLOORS, REFERENCE, Document, is_hydra, method_order
from hydra_ml.io.tables import atomic_path
from hydra_ml.io.terminal import aligned
from hydra_ml.measures import MEASURES, higher_is_better

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OURS = "hydra"  # the full method: the one that is warned about, compared in detail and drawn by history
BASELINE_COLOUR, OURS_COLOUR, SHARED_COLOUR = "#5b6770", "#d1495b", "#e8a33d"
DPI = 110
WIDTH = 120  # columns of the table
NAME_WIDTH = 14  # longer method names are cut in the table


def results_table(metrics: Document, details: Document) -> str:
    """The results of one task as plain text of at most WIDTH columns; no newline at the end.

    metrics: `ArenaResults.metrics_document()`, with `llm`, `data_version` and `seed` beside the methods where known;
    details: `ArenaResults.details_document()`. Sections that have nothing to say are left out.
    """
    sections = [
        _heading(metrics, details),
        _methods_section(metrics, details),
        _comparison_section(details),
        _slices_section(metrics, details),
        "\n".join(_wrapped([*_user_lines(details), *_unparsable_lines(details), *_warnings(metrics, details)])),
    ]
    return "\n\n".join(section for section in sections if section)


def save_plots(metrics: Document, details: Document, folder: Path) -> None:
    """Write methods.png and, where there are history bands, history.png; equal documents give equal bytes.

    methods.png: the primary measure of every method with its interval, and a line at the best baseline.
    history.png: the same by number of history records, for REFERENCE, shared heads only, and HYDRA.
    """
    _save_figure(_methods_figure(metrics, details), folder / "methods.png")
    if details["bands"]:
        _save_figure(_history_figure(details), folder / "history.png")


# The table.


def _heading(metrics: Document, details: Document) -> str:
    facts = [f"{name.replace('_', ' ')} {metrics[name]}" for name in ("llm", "data_version", "seed") if name in metrics]
    line = " · ".join([details["task"], *facts, f"{details['n_queries']} questions of {details['n_users']} users"])
    return f"{line}\n{'=' * len(line)}"


def _methods_section(metrics: Document, details: Document) -> str:
    measures, best = details["measures"], details["best_baseline"]
    methods = _methods(metrics)
    leaders = {measure: _leaders(metrics, methods, measure) for measure in measures}
    against = f"{_title(measures[0])}, difference to {_short(best)}" if best and details["paired"] else ""
    rows = [["method", *(f" {_column_title(measure)}" for measure in measures), "n", against]]
    for method in methods:
        cells = [("*" if method in leaders[m] else " ") + _interval(metrics[method][m]) for m in measures]
        pair = details["paired"].get(method, {}).get(best, {}).get(measures[0])
        rows.append([_short(method), *cells, str(metrics[method][measures[0]]["n"]), _difference(pair) if pair else ""])
    legend = "* best. [95 % interval, users resampled; differences paired on the same questions, two-sided p]"
    if best:
        legend += f"\nBest baseline: {_short(best)}, chosen on these same questions, which flatters it a little."
    return f"{aligned(rows, right={len(measures) + 1})}\n{legend}"


def _comparison_section(details: Document) -> str:
    """HYDRA against each method it is compared with, in every measure; "" where it did not take part."""
    opponents = details["paired"].get(OURS, {})
    measures = details["measures"]
    rows = [[f"{OURS} less", *(_title(measure) for measure in measures), "detectable", "McNemar"]]
    for other in sorted(opponents, key=method_order(list(opponents)).index):
        primary = opponents[other][measures[0]]
        cells = [_difference(opponents[other][measure]) for measure in measures]
        rows.append([_short(other), *cells, _number(primary["detectable"]), _p_value(primary.get("mcnemar_p"))])
    if all(row[-1] == "-" for row in rows[1:]):  # ratings and texts have no McNemar test
        rows = [row[:-1] for row in rows]
    legend = f"detectable: true difference in {_title(measures[0])} that this many questions show 4 times in 5."
    return f"{aligned(rows, right={len(measures) + 1})}\n{legend}" if opponents else ""


def _slices_section(metrics: Document, details: Document) -> str:
    """Known and new users, then history bands: one line each, in the primary measure."""
    measure, best = details["measures"][0], details["best_baseline"]
    slices = [(f"{cohort} users", part) for cohort, part in sorted(details["cohorts"].items())]
    slices += [(f"history {band}", details["bands"][band]) for band in _bands(details)]
    shown = [m for m in dict.fromkeys([*FLOORS, best, REFERENCE, "hydra_shared", OURS]) if m in metrics]
    rows = [
        [
            _title(measure),
            "n",
            "users",
            *map(_short, shown),
            f"{OURS} less {_short(best)}" if OURS in metrics and best else "",
        ]
    ]
    for name, part in slices:
        values = [_number(part["metrics"][method][measure]["value"]) for method in shown]
        pair = part["paired"].get(OURS, {}).get(best, {}).get(measure)
        row = [name, str(part["n_queries"]), str(part["n_users"]), *values, _difference(pair) if pair else ""]
        rows.append(row)
    return aligned(rows, right=set(range(1, len(shown) + 3))) if slices else ""


def _user_lines(details: Document) -> list[str]:
    if OURS not in details["users"]:
        return []
    shares = details["users"][OURS]
    said = ", ".join(f"{verdict} {_percent(shares[verdict])}" for verdict in ("worse", "equal", "better"))
    return [f"Users under {OURS}, against {REFERENCE} ({shares['worse']['n']} users): {said}."]


def _unparsable_lines(details: Document) -> list[str]:
    lines = []
    for key, sentence in (("unparsable", "Not an answer"), ("missing", "No prediction at all")):
        counts = [(method, details[key][method]) for method in method_order(list(details[key]))]
        said = ", ".join(f"{method} {count}" for method, count in counts if count)
        if said:
            lines.append(f"{sentence} (kept, and scored as the official evaluator does): {said}.")
    return lines


def _warnings(metrics: Document, details: Document) -> list[str]:
    measure = details["measures"][0]
    lines = []
    for floor in FLOORS:
        if OURS in metrics and floor in metrics:
            ours, least = metrics[OURS][measure]["value"], metrics[floor][measure]["value"]
            if not (ours > least if higher_is_better(measure) else ours < least):
                lines.append(
                    f"WARNING: {OURS} ({_title(measure)} {_number(ours)}) does not beat {floor} ({_number(least)}): "
                    "it has not personalized anything."
                )
    return lines


# Reading the documents.


def _methods(metrics: Document) -> list[str]:
    """The methods among the document's keys; the others, such as llm and seed, hold no mapping."""
    return method_order([key for key, value in metrics.items() if isinstance(value, dict)])


def _bands(details: Document) -> list[str]:
    """Shortest history first: JSON's sorted keys would put "101+" before "11-30"."""
    return sorted(details["bands"], key=lambda band: int(band.rstrip("+").split("-")[0]))


def _leaders(metrics: Document, methods: list[str], measure: str) -> set[str]:
    choose = max if higher_is_better(measure) else min
    best = choose(metrics[method][measure]["value"] for method in methods)
    return {method for method in methods if metrics[method][measure]["value"] == best}


def _title(measure: str) -> str:
    return MEASURES[measure].title


def _column_title(measure: str) -> str:
    return _title(measure) if higher_is_better(measure) else f"{_title(measure)} (lower is better)"


# Cells.


def _short(method: str) -> str:
    return method if len(method) <= NAME_WIDTH else f"{method[: NAME_WIDTH - 1]}…"


def _wrapped(lines: Sequence[str]) -> list[str]:
    return [textwrap.fill(line, WIDTH, subsequent_indent="  ") for line in lines]


def _number(value: float | None, sign: str = "") -> str:
    return "-" if value is None else f"{value:{sign}.3f}"


def _interval(estimate: Document) -> str:
    return f"{_number(estimate['value'])} [{_number(estimate['ci_low'])}, {_number(estimate['ci_high'])}]"


def _difference(pair: Document) -> str:
    low, high = _number(pair["ci_low"], "+"), _number(pair["ci_high"], "+")
    return f"{_number(pair['difference'], '+')} [{low}, {high}] p {_p_value(pair['p'])}"


def _p_value(p: float | None) -> str:
    return "<.001" if p is not None and p < 0.001 else _number(p)


def _percent(estimate: Document) -> str:
    if estimate["ci_low"] is None:
        return f"{estimate['value']:.0%}"
    return f"{estimate['value']:.0%} [{estimate['ci_low']:.0%}, {estimate['ci_high']:.0%}]"


# The plots.


def _methods_figure(metrics: Document, details: Document) -> Figure:
    measure, best = details["measures"][0], details["best_baseline"]
    methods = _methods(metrics)
    figure, axes = _new_figure(width=7.5, height=1.4 + 0.34 * len(methods))
    for row, method in enumerate(methods):
        colour = _colour(method)
        estimate = metrics[method][measure]
        _dot(axes, row, estimate, colour=colour, horizontal=True, marker="D" if is_hydra(method) else "o")
        axes.annotate(
            _number(estimate["value"]),
            (1.02, row),
            xycoords=("axes fraction", "data"),
            va="center",
            color=colour,
            fontsize=9,
        )
    axes.set_yticks(range(len(methods)), methods)
    for label, method in zip(axes.get_yticklabels(), methods, strict=True):
        label.set_color(_colour(method))
    axes.set_ylim(len(methods) - 0.4, -0.6)  # first method on top
    if best:
        value = metrics[best][measure]["value"]
        axes.axvline(value, color=BASELINE_COLOUR, linewidth=1, linestyle=(0, (4, 3)), zorder=0)
        axes.annotate(
            f"best baseline: {best}",
            (value, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(0, 3),
            textcoords="offset points",
            ha="center",
            fontsize=8,
            color=BASELINE_COLOUR,
        )
    axes.grid(axis="x", color="#e3e6e8", linewidth=0.8)
    axes.set_xlabel(f"{_title(measure)}, {_direction(measure)}, with 95 % intervals over users")
    axes.set_title(_plot_title(metrics, details), loc="left", fontsize=10, pad=18)
    return figure


def _history_figure(details: Document) -> Figure:
    measure, bands = details["measures"][0], _bands(details)
    first = details["bands"][bands[0]]["metrics"]
    shown = [
        (method, colour, marker)
        for method, colour, marker in (
            (REFERENCE, BASELINE_COLOUR, "o"),
            ("hydra_shared", SHARED_COLOUR, "s"),
            (OURS, OURS_COLOUR, "D"),
        )
        if method in first
    ]
    figure, axes = _new_figure(width=7.5, height=4.2)
    for index, (method, colour, marker) in enumerate(shown):
        shift = 0.14 * (index - (len(shown) - 1) / 2)  # side by side, so that intervals stay apart
        estimates = [details["bands"][band]["metrics"][method][measure] for band in bands]
        places = [place + shift for place in range(len(bands))]
        axes.plot(places, [e["value"] for e in estimates], color=colour, linewidth=1, alpha=0.5)
        for place, estimate in zip(places, estimates, strict=True):
            _dot(axes, place, estimate, colour=colour, horizontal=False, marker=marker)
        axes.plot([], [], color=colour, marker=marker, label=method)
    parts = [details["bands"][band] for band in bands]
    axes.set_xticks(
        range(len(bands)),
        [f"{b}\n{p['n_queries']} questions, {p['n_users']} users" for b, p in zip(bands, parts, strict=True)],
    )
    axes.set_xlim(-0.5, len(bands) - 0.5)
    axes.grid(axis="y", color="#e3e6e8", linewidth=0.8)
    axes.set_xlabel("history records of the user")
    axes.set_ylabel(f"{_title(measure)}, {_direction(measure)}")
    axes.set_title(
        f"{details['task']}: {_title(measure)} by length of history, 95 % intervals", loc="left", fontsize=10
    )
    axes.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def _plot_title(metrics: Document, details: Document) -> str:
    llm = f", LLM {metrics['llm']}" if "llm" in metrics else ""
    return f"{details['task']}: {details['n_queries']} questions of {details['n_users']} users{llm}"


def _direction(measure: str) -> str:
    return "higher is better" if higher_is_better(measure) else "lower is better"


def _colour(method: str) -> str:
    return OURS_COLOUR if is_hydra(method) else BASELINE_COLOUR


def _new_figure(width: float, height: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure  # here because the table is often wanted without plots

    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)
    return figure, axes


def _dot(axes: Axes, place: float, estimate: Document, *, colour: str, horizontal: bool, marker: str) -> None:
    value, low, high = estimate["value"], estimate["ci_low"], estimate["ci_high"]
    # A percentile interval can miss its own value by a hair; matplotlib refuses negative arms.
    arms = None if low is None else [[max(0.0, value - low)], [max(0.0, high - value)]]
    look: dict[str, Any] = {"fmt": marker, "color": colour, "markersize": 6, "elinewidth": 1.6, "capsize": 3}
    if horizontal:
        axes.errorbar([value], [place], xerr=arms, **look)
    else:
        axes.errorbar([place], [value], yerr=arms, **look)


def _save_figure(figure: Figure, path: Path) -> None:
    with atomic_path(path) as partial:
        figure.savefig(partial, format="png", metadata={"Software": None})  # no version in the bytes
