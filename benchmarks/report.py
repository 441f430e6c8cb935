"""Rows to a table on the terminal, a JSON file and a plot."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HEADINGS = ("work", "peer", "ours", "peer's", "unit", "ratio", "spread", "goal", "of limit")


def write_json(document: dict[str, Any], path: Path) -> None:
    """Replace the file in one step."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", "utf-8")
    partial.replace(path)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """One line a row; a goal that was missed carries an exclamation mark."""
    lines = [HEADINGS, *(cells(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEADINGS))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines)


def cells(row: dict[str, Any]) -> tuple[str, ...]:
    """The row as words."""
    ratio, goal, limit = row["ratio"], row["goal"], row["limit"]
    missed = "!" if goal is not None and ratio["median"] < goal else ""
    return (
        row["work"],
        row["peer_name"],
        figure(row["ours"]["median"]),
        figure(row["peer"]["median"]),
        row["unit"],
        f"{figure(ratio['median'])}x",
        f"{figure(ratio['low'])}-{figure(ratio['high'])}",
        "" if goal is None else f">={goal:g}x{missed}",
        ""
        if limit is None
        else f"{limit['fraction']:.0%} of {figure(limit['value'])} {limit['unit']} ({limit['name']})",
    )


def figure(value: float) -> str:
    """Three digits that count: 0.0123, 1.23, 12.3, 1,230."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def plot(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Ratio per row on a logarithmic axis, spread as a whisker, goal as a tick."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    if not rows:
        return
    figure_, axes = pyplot.subplots(figsize=(11, 1.2 + 0.42 * len(rows)), layout="constrained")
    places = range(len(rows), 0, -1)
    for place, row in zip(places, rows, strict=True):
        ratio, goal = row["ratio"], row["goal"]
        reached = goal is None or ratio["median"] >= goal
        colour = "#7f8c8d" if goal is None else "#2a7f62" if reached else "#c0392b"
        axes.plot([ratio["low"], ratio["high"]], [place, place], color=colour, linewidth=2, alpha=0.5)
        axes.plot(ratio["median"], place, "o", color=colour)
        axes.annotate(f" {figure(ratio['median'])}x", (max(ratio["high"], goal or 0), place), va="center", fontsize=8)
        if goal is not None:
            axes.plot([goal, goal], [place - 0.3, place + 0.3], color="black", linewidth=1.5)
    axes.set_xscale("log")
    axes.axvline(1, color="black", linewidth=0.8, linestyle=":")
    axes.set_yticks(list(places), [f"{row['work']}\nvs {row['peer_name']}" for row in rows], fontsize=8)
    axes.margins(x=0.12)
    axes.set_ylim(0.3, len(rows) + 0.7)
    axes.set_xlabel("times the peer's speed, median and spread\nblack tick: the goal; grey: none was set", fontsize=9)
    figure_.savefig(path, dpi=130)
    pyplot.close(figure_)
