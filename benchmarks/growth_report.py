"""The growth curves' points to exponents, a table and a plot."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def slopes(points: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Exponents of time and of memory beyond the idle process, per curve and part."""
    found = {}
    for name in dict.fromkeys(title(point) for point in points):
        some = sorted((point for point in points if title(point) == name), key=lambda point: point["size"])[-2:]
        if len(some) == 2:
            (a, b), step = some, math.log(some[1]["size"] / some[0]["size"])
            memory = [max(point["peak_mb"] - point["idle_mb"], 1.0) for point in (a, b)]
            times = [max(point["seconds"]["all"], 0.01) for point in (a, b)]
            found[name] = {
                "seconds": round(math.log(times[1] / times[0]) / step, 2),
                "memory": round(math.log(memory[1] / memory[0]) / step, 2),
            }
    return found


def title(point: Mapping[str, Any]) -> str:
    return " ".join(filter(None, (point["curve"], point["part"])))


def table(points: Sequence[Mapping[str, Any]]) -> str:
    """A line per curve and part: seconds and peak memory by size, and the exponents."""
    lines = []
    for name, exponents in slopes(points).items():
        cells = [
            f"{p['size']:>7,}: {p['seconds']['all']:7.2f} s {p['peak_mb']:6,.0f} MB" for p in points if title(p) == name
        ]
        lines.append(f"{name:24}{'  '.join(cells)}   time ^{exponents['seconds']}, memory ^{exponents['memory']}")
    return "\n".join(lines)


def plot(points: Sequence[Mapping[str, Any]], about: Mapping[str, tuple[str, str]], path: Path) -> None:
    """Two panels a curve, time above memory, both axes logarithmic; a dotted line grows in proportion.

    about: what grows, and the heading, per curve.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    names = list(dict.fromkeys(point["curve"] for point in points))
    figure, panels = plt.subplots(2, len(names), figsize=(4.2 * len(names), 7), squeeze=False)
    for column, name in enumerate(names):
        for row, (label, value) in enumerate(
            (("seconds", lambda p: max(p["seconds"]["all"], 0.01)), ("peak memory, MB", lambda p: p["peak_mb"]))
        ):
            panel = panels[row][column]
            for part in dict.fromkeys(point["part"] for point in points if point["curve"] == name):
                some = [point for point in points if (point["curve"], point["part"]) == (name, part)]
                panel.plot([p["size"] for p in some], [value(p) for p in some], marker="o", label=part or name)
            values = [value(point) for point in points if point["curve"] == name]
            high, low = max(values), max(min(values) / 2, max(values) / 1e4)
            panel.set(xscale="log", yscale="log", xlabel=about[name][0], ylabel=label)
            xs = panel.get_xlim()
            panel.plot(xs, [high * x / xs[1] for x in xs], ":", color="grey", label="in proportion", zorder=0)
            panel.set_ylim(min(low, high / 10), high * 2)  # a decade at least: what is flat shall look flat
            if not row:
                panel.set_title(about[name][1], fontsize=8)
                panel.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
