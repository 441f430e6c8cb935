"""Charts of an evaluation as inline SVG: no script, no font, colours by the page's style sheet, so in light and dark.

Reads the documents of `evaluation.results.ArenaResults` as they come back from JSON; computes no figure of its own. All
are WIDTH units wide, near what a phone shows, and grow with the page.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from hydra_ml.evaluation.cells import bands_of, methods_of, number, title_of
from hydra_ml.evaluation.methods import is_control, is_floor, is_hydra
from hydra_ml.evaluation.results import OURS, REFERENCE, Document
from hydra_ml.measures import higher_is_better

WIDTH = 360
LEFT, RIGHT = 126, 24  # of the gain chart: room for names
ROW = 28
PLOT = (40.0, 26.0, WIDTH - 108.0, 220.0)  # left, top, right, bottom of charts with axes; names on the right
LABEL_GAP = 13  # between names that would lie over each other
LINES = ((REFERENCE, "base"), ("hydra_shared", "shared"), (OURS, "ours"))  # of the history chart: method, class


def gain_chart(details: Document) -> Markup:
    """What OURS gains on each opponent, to the right where better, with intervals; a band where a gain could not be
    told from luck. Empty without opponents or intervals."""
    measure = details["measures"][0]
    sign = 1 if higher_is_better(measure) else -1
    rows = []
    opponents = details["paired"].get(OURS, {})
    for other in methods_of(opponents):
        pair = opponents[other][measure]
        if pair["ci_low"] is not None:
            ends = sorted((sign * pair["ci_low"], sign * pair["ci_high"]))
            rows.append((other, sign * pair["difference"], *ends, pair["detectable"]))
    if not rows:
        return Markup("")
    low = min(0.0, *(min(start, -band) for _, _, start, _, band in rows))
    high = max(0.0, *(max(end, band) for _, _, _, end, band in rows))
    ticks = _ticks(low, high)
    height = ROW * len(rows) + 44

    def x(value: float) -> float:
        return float(LEFT + (value - low) / ((high - low) or 1.0) * (WIDTH - LEFT - RIGHT))

    bottom = ROW * len(rows) + 8
    parts = [_line("grid", x(tick), 4, x(tick), bottom) for tick in ticks]
    parts += [_text(x(tick), bottom + 14, number(tick, "+" if tick else ""), "middle") for tick in ticks]
    for index, (other, gain, start, end, band) in enumerate(rows):
        y = 8 + ROW * (index + 0.5)
        parts.append(_rect("band", x(-band), y - 9, x(band) - x(-band), 18))
        parts.append(_text(LEFT - 8, y + 4, f"less {other}", "end"))
        parts += [_line("ours", x(start), y, x(end), y), _dot("ours", x(gain), y)]
    parts.insert(len(ticks) * 2, _line("axis", x(0), 2, x(0), bottom))
    parts.append(
        _text((LEFT + WIDTH - RIGHT) / 2, height - 4, f"gain in {title_of(measure)}, right is better", "middle")
    )
    return _svg(height, f"What {OURS} gains on each method", parts)


def cost_chart(metrics: Document, details: Document) -> Markup:
    """The primary measure of each method that can be had against the tokens of one question; floors cost none."""
    measure = details["measures"][0]
    tokens = {
        row["method"]: (row["tokens_in"] + row["tokens_out"]) / row["questions"]
        for row in metrics.get("bill", [])
        if row["group"] == "all" and row["method"]
    }
    tokens |= {method: 0.0 for method in methods_of(metrics) if is_floor(method)}
    shown = [m for m in methods_of(metrics) if m in tokens and not is_control(m)]
    if not shown:
        return Markup("")
    values = [metrics[m][measure]["value"] for m in shown]
    frame = _Frame((0.0, max(tokens.values()) or 1.0), (min(values), max(values)), up=higher_is_better(measure))
    parts = frame.grid(with_x=True)
    labels = []
    for method, value in zip(shown, values, strict=True):
        kind = "ours" if is_hydra(method) else "base"
        px, py = frame.x(tokens[method]), frame.y(value)
        parts.append(_dot(kind, px, py))
        labels.append((py, px, method, kind))
    heights = _apart([py for py, *_ in labels])
    for (py, px, method, kind), at in zip(labels, heights, strict=True):
        right = WIDTH - 96
        parts.append(_line("lead", px + 5, py, right, at))
        parts.append(_text(right + 3, at + 3.5, method, "start", kind))
    parts.append(_text(PLOT[0], 258, "tokens of one question, in and out", "start"))
    return _svg(264, f"{title_of(measure)} against cost", parts, _y_title(measure))


def history_chart(details: Document) -> Markup:
    """The primary measure by length of history, with intervals; empty without bands."""
    measure, bands = details["measures"][0], bands_of(details)
    lines = [line for line in LINES if bands and line[0] in details["bands"][bands[0]]["metrics"]]
    if not lines:
        return Markup("")
    found = {m: [details["bands"][band]["metrics"][m][measure] for band in bands] for m, _ in lines}
    every = [e[key] for estimates in found.values() for e in estimates for key in ("value", "ci_low", "ci_high")]
    known = [value for value in every if value is not None]
    frame = _Frame((-0.5, len(bands) - 0.5), (min(known), max(known)), up=higher_is_better(measure), right=WIDTH - 10)
    parts = frame.grid(with_x=False)
    for index, band in enumerate(bands):
        part = details["bands"][band]
        parts.append(_text(frame.x(index), PLOT[3] + 16, f"{band} records", "middle"))
        parts.append(_text(frame.x(index), PLOT[3] + 29, f"n {part['n_queries']}", "middle", "quiet"))
    for place, (method, kind) in enumerate(lines):
        shift = 0.14 * (place - (len(lines) - 1) / 2)  # side by side, so that intervals stay apart
        points = [(frame.x(i + shift), frame.y(e["value"])) for i, e in enumerate(found[method])]
        path = " ".join(f"{px:.1f},{py:.1f}" for px, py in points)
        parts.append(Markup('<polyline class="{} thin" points="{}"/>').format(kind, path))
        for (px, py), estimate in zip(points, found[method], strict=True):
            if estimate["ci_low"] is not None:
                parts.append(_line(kind, px, frame.y(estimate["ci_low"]), px, frame.y(estimate["ci_high"])))
            parts.append(_dot(kind, px, py))
        parts += [_dot(kind, 44 + 108 * place, 262), _text(52 + 108 * place, 266, method, "start")]
    return _svg(272, f"{title_of(measure)} by length of history", parts, _y_title(measure))


def users_chart(gains: Sequence[float]) -> Markup:
    """One bar a user, sorted: what each gains or loses; empty without users."""
    if not gains:
        return Markup("")
    ordered = sorted(gains, reverse=True)
    frame = _Frame((0.0, float(len(ordered))), (min(0.0, *ordered), max(0.0, *ordered)), up=True, right=WIDTH - 10)
    parts = frame.grid(with_x=False)
    zero = frame.y(0.0)
    for index, gain in enumerate(ordered):
        left, right, top = frame.x(index), frame.x(index + 1), frame.y(gain)
        width = max(0.4, (right - left) * 0.86)
        kind = "gain" if gain > 0 else "loss"
        parts.append(_rect(kind, left, min(top, zero), width, max(abs(top - zero), 0.8)))
    parts.append(_line("axis", frame.x(0.0), zero, frame.x(len(ordered)), zero))
    parts.append(_text(PLOT[0], 246, f"{len(ordered)} users, the most helped first", "start"))
    return _svg(252, "Who gains and who loses", parts)


class _Frame:
    """A chart with two axes: from figures to places, the better up."""

    def __init__(self, xs: tuple[float, float], ys: tuple[float, float], *, up: bool, right: float = PLOT[2]) -> None:
        self.left, self.top, self.right, self.bottom = PLOT[0], PLOT[1], right, PLOT[3]
        self.xs = xs
        room = 0.06 * (ys[1] - ys[0]) or 0.5
        self.ys = (ys[0] - room, ys[1] + room) if up else (ys[1] + room, ys[0] - room)

    def x(self, value: float) -> float:
        return self.left + (value - self.xs[0]) / (self.xs[1] - self.xs[0]) * (self.right - self.left)

    def y(self, value: float) -> float:
        return self.bottom - (value - self.ys[0]) / (self.ys[1] - self.ys[0]) * (self.bottom - self.top)

    def grid(self, *, with_x: bool) -> list[Markup]:
        """Lines and figures of the axes."""
        parts = []
        for tick in _ticks(min(self.ys), max(self.ys)):
            parts.append(_line("grid", self.left, self.y(tick), self.right, self.y(tick)))
            parts.append(_text(self.left - 6, self.y(tick) + 3.5, f"{tick:.3g}", "end", "quiet"))
        for tick in _ticks(*self.xs) if with_x else ():
            parts.append(_text(self.x(tick), self.bottom + 18, f"{tick:,.0f}", "middle", "quiet"))
        return parts


def _ticks(low: float, high: float) -> list[float]:
    """Three to six round numbers between the ends."""
    span = (high - low) or 1.0
    step = 10.0 ** math.floor(math.log10(span / 3))
    step *= next(factor for factor in (1, 2, 5, 10) if span / (step * factor) <= 5)
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 10) + 0.0 for k in range(first, math.floor(high / step + 1e-9) + 1)]


def _apart(heights: Sequence[float]) -> list[float]:
    """The heights moved until names have LABEL_GAP between them, in their order, and near where they were."""
    order = sorted(range(len(heights)), key=lambda i: heights[i])
    placed = [heights[i] for i in order]
    for i in range(1, len(placed)):
        placed[i] = max(placed[i], placed[i - 1] + LABEL_GAP)
    lowest = PLOT[3] + 4
    for i in range(len(placed) - 1, -1, -1):  # push up what ran out of the frame
        placed[i] = min(placed[i], lowest)
        lowest = placed[i] - LABEL_GAP
    return [placed[order.index(i)] for i in range(len(heights))]


def _y_title(measure: str) -> str:
    return f"{title_of(measure)}, better is up"


def _svg(height: float, title: str, parts: Sequence[Markup], y_title: str = "") -> Markup:
    above = [_text(2, 10, y_title, "start", "quiet")] if y_title else []
    frame = '<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>'
    return Markup(frame).format(WIDTH, math.ceil(height), title, Markup("").join([*above, *parts]))


def _text(x: float, y: float, text: str, anchor: str, kind: str = "") -> Markup:
    element = Markup('<text x="{}" y="{}" text-anchor="{}" class="{}">{}</text>')
    return element.format(f"{x:.1f}", f"{y:.1f}", anchor, kind, text)


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> Markup:
    ends = (f"{value:.1f}" for value in (x1, y1, x2, y2))
    return Markup('<line class="{}" x1="{}" y1="{}" x2="{}" y2="{}"/>').format(kind, *ends)


def _rect(kind: str, x: float, y: float, width: float, height: float) -> Markup:
    sides = (f"{value:.1f}" for value in (x, y, width, height))
    return Markup('<rect class="{}" x="{}" y="{}" width="{}" height="{}"/>').format(kind, *sides)


def _dot(kind: str, x: float, y: float) -> Markup:
    return Markup('<circle class="{}" cx="{}" cy="{}" r="4"/>').format(kind, f"{x:.1f}", f"{y:.1f}")
