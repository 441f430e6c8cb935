"""The page's charts, drawn by matplotlib as `io.plots` draws and put into the page as SVG: text stays text, and colours
are the page's own, so that they turn with light and dark.

Reads the documents of `evaluation.results.ArenaResults` as they come back from JSON; computes no figure of its own.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from markupsafe import Markup

from hydra_ml.evaluation.cells import bands_of, methods_of, title_of
from hydra_ml.evaluation.methods import is_control, is_floor
from hydra_ml.evaluation.results import OURS, REFERENCE, Document
from hydra_ml.io.plots import (
    BASELINE_COLOUR,
    GRID_COLOUR,
    OURS_COLOUR,
    SHARED_COLOUR,
    colour_of,
    dot,
    history_figure,
    new_figure,
)
from hydra_ml.measures import higher_is_better

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GAIN_COLOUR, LOSS_COLOUR, BAND_COLOUR = "#2d7d57", "#b8323f", "#e9edf0"
THEME = {  # what is drawn in a colour, in the page's
    BASELINE_COLOUR: "base",
    OURS_COLOUR: "ours",
    SHARED_COLOUR: "shared",
    GRID_COLOUR: "rule",
    GAIN_COLOUR: "gain",
    LOSS_COLOUR: "loss",
    BAND_COLOUR: "band",
    "#000000": "quiet",
}
WIDTH = 4.6  # inches: near what a phone shows
LABEL_GAP = 13.0  # points between names that would lie over each other


def gain_figure(details: Document) -> Figure | None:
    """What OURS gains on each opponent, to the right where better, with intervals; a band where a gain could not be
    told from luck. None without opponents or intervals."""
    measure = details["measures"][0]
    opponents = details["paired"].get(OURS, {})
    shown = [other for other in methods_of(opponents) if opponents[other][measure]["ci_low"] is not None]
    if not shown:
        return None
    figure, axes = new_figure(WIDTH, 0.9 + 0.36 * len(shown))
    for row, other in enumerate(shown):
        pair = opponents[other][measure]
        low, high = pair["ci_low"], pair["ci_high"]
        if not higher_is_better(measure):
            pair, low, high = {"difference": -pair["difference"], "detectable": pair["detectable"]}, -high, -low
        axes.barh([row], [2 * pair["detectable"]], left=[-pair["detectable"]], height=0.6, color=BAND_COLOUR)
        estimate = {"value": pair["difference"], "ci_low": low, "ci_high": high}
        dot(axes, row, estimate, colour=OURS_COLOUR, horizontal=True, marker="D")
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(shown)), [f"less {other}" for other in shown])
    axes.set_ylim(len(shown) - 0.4, -0.6)  # first method on top
    axes.set_xlabel(f"gain in {title_of(measure)}, right is better")
    return figure


def cost_figure(metrics: Document, details: Document) -> Figure | None:
    """The primary measure of each method that can be had against the tokens of one question; floors cost none. None
    without a bill or a floor."""
    measure = details["measures"][0]
    tokens = {
        row["method"]: (row["tokens_in"] + row["tokens_out"]) / row["questions"]
        for row in metrics.get("bill", [])
        if row["group"] == "all" and row["method"]
    }
    tokens |= {method: 0.0 for method in methods_of(metrics) if is_floor(method)}
    shown = [method for method in methods_of(metrics) if method in tokens and not is_control(method)]
    if not shown:
        return None
    figure, axes = new_figure(WIDTH, max(3.4, 0.6 + LABEL_GAP / 72 * len(shown)))  # a line for each name
    values = [metrics[method][measure]["value"] for method in shown]
    for method, value in zip(shown, values, strict=True):
        axes.plot([tokens[method]], [value], "o", color=colour_of(method))
    axes.margins(0.08, 0.1)
    _better_up(axes, measure)
    figure.draw_without_rendering()  # places are known from now on
    bottom, top = (axes.transAxes.transform((0, end))[1] for end in (0, 1))
    to_points = 72 / figure.dpi
    heights = [float(axes.transData.transform((0, value))[1] - bottom) * to_points for value in values]
    for method, value, height in zip(shown, values, _apart(heights, float(top - bottom) * to_points), strict=True):
        axes.annotate(
            method,
            (tokens[method], value),
            xycoords="data",
            xytext=(1.04, height / (float(top - bottom) * to_points)),
            textcoords="axes fraction",
            va="center",
            fontsize=9,
            color=colour_of(method),
            arrowprops={"arrowstyle": "-", "color": GRID_COLOUR, "shrinkB": 4},
        )
    axes.set_xlabel("tokens of one question, in and out")
    axes.set_ylabel(f"{title_of(measure)}, better is up")
    return figure


def users_figure(gains: Sequence[float]) -> Figure | None:
    """One bar a user, the most helped first: what each gains or loses; None without users."""
    if not gains:
        return None
    ordered = sorted(gains, reverse=True)
    figure, axes = new_figure(WIDTH, 2.8)
    axes.bar(range(len(ordered)), ordered, color=[GAIN_COLOUR if gain > 0 else LOSS_COLOUR for gain in ordered])
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xticks([])
    axes.set_xlabel(f"{len(ordered)} users, the most helped first")
    return figure


def history_chart(details: Document) -> Figure | None:
    """`io.plots.history_figure` as wide as the others; None without bands, or methods to show."""
    known = (
        details["bands"]
        and {REFERENCE, "hydra_shared", OURS} & details["bands"][bands_of(details)[0]]["metrics"].keys()
    )
    return history_figure(details, width=WIDTH, height=3.4, is_narrow=True) if known else None


def svg_of(figure: Figure | None, title: str) -> Markup:
    """The figure as an element of the page, as wide as there is room; "" for none. Equal figures give equal bytes."""
    if figure is None:
        return Markup("")
    from matplotlib import rc_context

    drawn = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "hydra_ml"}):
        figure.savefig(drawn, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = drawn.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    # In a page no namespace is to be named, so that nothing in it looks like an address; its size is the page's affair.
    text = re.sub(r' (?:xmlns(?::xlink)?="[^"]*"|clip-path="[^"]*"|(?:width|height)="[\d.]+pt")', "", text)
    text = text.replace("xlink:href", "href")
    for colour, name in THEME.items():
        text = text.replace(colour, f"var(--{name})")
    return Markup(text.replace("<svg", Markup('<svg role="img" aria-label="{}"').format(title), 1))


def _better_up(axes: Axes, measure: str) -> None:
    axes.grid(axis="y", color=GRID_COLOUR, linewidth=0.8)
    if not higher_is_better(measure):
        axes.invert_yaxis()


def _apart(heights: Sequence[float], top: float) -> list[float]:
    """The heights moved until names have LABEL_GAP between them, in their order, and near where they were."""
    order = sorted(range(len(heights)), key=lambda i: heights[i])
    placed = [heights[i] for i in order]
    for i in range(1, len(placed)):
        placed[i] = max(placed[i], placed[i - 1] + LABEL_GAP)
    for i in range(len(placed) - 1, -1, -1):  # push down what ran out of the frame
        placed[i], top = min(placed[i], top), min(placed[i], top) - LABEL_GAP
    return [placed[order.index(i)] for i in range(len(heights))]
