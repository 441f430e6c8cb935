"""Two plots of an evaluation.

Reads the documents of `evaluation.results.ArenaResults` as they come back from JSON; computes no figure of its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra_ml.evaluation.cells import bands_of, methods_of, number, title_of
from hydra_ml.evaluation.methods import is_hydra
from hydra_ml.evaluation.results import OURS, REFERENCE, Document
from hydra_ml.io.files import atomic_path
from hydra_ml.measures import higher_is_better

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BASELINE_COLOUR, OURS_COLOUR, SHARED_COLOUR = "#5b6770", "#d1495b", "#e8a33d"
GRID_COLOUR = "#e3e6e8"
DPI = 110


def save_plots(metrics: Document, details: Document, folder: Path) -> None:
    """Write methods.png and, where there are history bands, history.png; equal documents give equal bytes.

    methods.png: the primary measure of every method with its interval, and a line at the best baseline.
    history.png: the same by number of history records, for REFERENCE, shared heads only, and HYDRA.
    """
    _save_figure(_methods_figure(metrics, details), folder / "methods.png")
    if details["bands"]:
        _save_figure(history_figure(details), folder / "history.png")


def _methods_figure(metrics: Document, details: Document) -> Figure:
    measure, best = details["measures"][0], details["best_baseline"]
    methods = methods_of(metrics)
    figure, axes = new_figure(width=7.5, height=1.4 + 0.34 * len(methods))
    for row, method in enumerate(methods):
        colour = colour_of(method)
        estimate = metrics[method][measure]
        dot(axes, row, estimate, colour=colour, horizontal=True, marker="D" if is_hydra(method) else "o")
        axes.annotate(
            number(estimate["value"]),
            (1.02, row),
            xycoords=("axes fraction", "data"),
            va="center",
            color=colour,
            fontsize=9,
        )
    axes.set_yticks(range(len(methods)), methods)
    for label, method in zip(axes.get_yticklabels(), methods, strict=True):
        label.set_color(colour_of(method))
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
    axes.grid(axis="x", color=GRID_COLOUR, linewidth=0.8)
    axes.set_xlabel(f"{title_of(measure)}, {_direction(measure)}, with 95 % intervals over users")
    axes.set_title(_plot_title(metrics, details), loc="left", fontsize=10, pad=18)
    return figure


def history_figure(details: Document, *, width: float = 7.5, height: float = 4.2, is_narrow: bool = False) -> Figure:
    """The primary measure by number of history records, for REFERENCE, shared heads only, and HYDRA; inches. is_narrow:
    the legend below and no title, for a page that has one."""
    measure, bands = details["measures"][0], bands_of(details)
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
    figure, axes = new_figure(width, height)
    for index, (method, colour, marker) in enumerate(shown):
        shift = 0.14 * (index - (len(shown) - 1) / 2)  # side by side, so that intervals stay apart
        estimates = [details["bands"][band]["metrics"][method][measure] for band in bands]
        places = [place + shift for place in range(len(bands))]
        axes.plot(places, [e["value"] for e in estimates], color=colour, linewidth=1, alpha=0.5)
        for place, estimate in zip(places, estimates, strict=True):
            dot(axes, place, estimate, colour=colour, horizontal=False, marker=marker)
        axes.plot([], [], color=colour, marker=marker, label=method)
    parts = [details["bands"][band] for band in bands]
    axes.set_xticks(
        range(len(bands)),
        [f"{b}\n{_size(p, is_narrow)}" for b, p in zip(bands, parts, strict=True)],
    )
    axes.set_xlim(-0.5, len(bands) - 0.5)
    axes.grid(axis="y", color=GRID_COLOUR, linewidth=0.8)
    axes.set_xlabel("history records of the user")
    axes.set_ylabel(f"{title_of(measure)}, {_direction(measure)}")
    if is_narrow:
        figure.legend(frameon=False, fontsize=9, loc="outside lower center", ncols=len(shown))
        return figure
    axes.set_title(
        f"{details['task']}: {title_of(measure)} by length of history, 95 % intervals", loc="left", fontsize=10
    )
    axes.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def _size(part: Document, is_narrow: bool) -> str:
    return f"n {part['n_queries']}" if is_narrow else f"{part['n_queries']} questions, {part['n_users']} users"


def _plot_title(metrics: Document, details: Document) -> str:
    llm = f", LLM {metrics['llm']}" if "llm" in metrics else ""
    return f"{details['task']}: {details['n_queries']} questions of {details['n_users']} users{llm}"


def _direction(measure: str) -> str:
    return "higher is better" if higher_is_better(measure) else "lower is better"


def colour_of(method: str) -> str:
    """Of what is drawn of a method."""
    return OURS_COLOUR if is_hydra(method) else BASELINE_COLOUR


def new_figure(width: float, height: float) -> tuple[Figure, Axes]:
    """An empty figure of so many inches, its axes open above and to the right."""
    from matplotlib.figure import Figure  # here because the table is often wanted without plots

    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)
    return figure, axes


def dot(axes: Axes, place: float, estimate: Document, *, colour: str, horizontal: bool, marker: str) -> None:
    """Draw an estimate with its interval at a place on the other axis."""
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
