"""Writes the page of one task's results: everything it needs inside, every text escaped.

Reads the documents of `evaluation.results.ArenaResults` as they come back from JSON; computes no figure of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from hydra_ml.evaluation.cells import (
    asides,
    column_title,
    difference,
    interval,
    leaders,
    methods_of,
    number,
    p_value,
    percent,
    rival_rows,
    title_of,
)
from hydra_ml.evaluation.examples import Examples
from hydra_ml.evaluation.methods import all_methods, is_control, is_hydra
from hydra_ml.evaluation.results import GOLD, HARMED, HELD_AGAINST, OURS, REFERENCE, WORST_DECILE, Document
from hydra_ml.evaluation.sentences import sentences
from hydra_ml.evaluation.style import DISTANCES
from hydra_ml.io.files import atomic_path
from hydra_ml.io.page.charts import cost_figure, gain_figure, history_chart, svg_of, users_figure
from hydra_ml.shown_text import visible_lines

STYLE_TITLES = dict(zip(DISTANCES, ("characters", "function words"), strict=True))


class Chart(NamedTuple):
    """One picture of the page."""

    title: str
    told: str  # what to see
    picture: Markup


def save_page(
    metrics: Document, details: Document, charts: Sequence[Chart], examples: Examples | None, path: Path
) -> None:
    """Write the page to `path`; the same documents give the same bytes.

    charts: of `draw_charts`. examples: None leaves them out, and with them every word of a user.
    """
    measure = details["measures"][0]
    said = sentences(metrics, details)
    page = page_template("page.html").render(
        details=details,
        facts=_facts(metrics, details),
        headline=said[0] if said else "",
        sentences=said[1:],
        charts=charts,
        results=_results(metrics, details),
        comparisons=_comparisons(details),
        rivals=rival_rows(metrics, details),
        harm=_harm(details),
        examples=examples,
        measure=title_of(measure),
        number=number,
    )
    with atomic_path(path) as partial:
        partial.write_text(page, "utf-8")


def page_template(name: str) -> Template:
    """A template of this folder, every value it is given escaped."""
    environment = Environment(
        loader=PackageLoader("hydra_ml.io.page", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["seen"] = seen
    return environment.get_template(name)


def seen(text: str) -> str:
    """A user's text with what is not seen in it written out, so that none of it can turn what stands beside it."""
    return visible_lines(text)


def _facts(metrics: Document, details: Document) -> dict[str, Any]:
    names = ("llm", "prompts", "answers_read", "data_version", "seed")
    facts = {name.replace("_", " "): metrics[name] for name in names if name in metrics}
    return facts | {"questions": details["n_queries"], "users": details["n_users"]}


def draw_charts(metrics: Document, details: Document, user_gains: Sequence[float]) -> list[Chart]:
    """The charts that have something to show. user_gains: of each user what OURS gains on REFERENCE, above 0 is
    better."""
    found = [
        (
            f"What {OURS} gains",
            "Bars: 95 % intervals, users resampled. Grey: gains too small for this many questions to show surely.",
            gain_figure(details),
        ),
        (
            "Quality against cost",
            "Each prompt as if asked by itself; methods at 0 ask no LLM. What training asked is not in it.",
            cost_figure(metrics, details),
        ),
        ("Length of history", "Bars: 95 % intervals, users resampled.", history_chart(details)),
        (
            "Who gains, who loses",
            f"Mean of each user's questions under {OURS}, less {REFERENCE}; above 0 is better. A user has few "
            "questions: much of it is luck.",
            users_figure(user_gains),
        ),
    ]
    return [Chart(title, told, svg_of(figure, title)) for title, told, figure in found if figure is not None]


def _results(metrics: Document, details: Document) -> Document:
    """The table of methods: head, and of each method its cells."""
    measures, best = details["measures"], details["best_baseline"]
    style = [name for name in DISTANCES if name in details["style"].get(GOLD, {})]
    ahead = {measure: leaders(metrics, methods_of(metrics), measure) for measure in measures}
    rows = []
    for method in methods_of(metrics):
        cells = [(interval(metrics[method][m]), method in ahead[m]) for m in measures]
        cells.append((interval(metrics[method][WORST_DECILE]), False))
        cells += [(number(metrics[method][name]["value"]), False) for name in style]
        told = all_methods()[method].told if method in all_methods() else ""
        kind = "ours" if is_hydra(method) else "control" if is_control(method) else ""
        rows.append({"method": method, "told": told, "kind": kind, "cells": cells})
    head = [*map(column_title, measures), f"{title_of(measures[0])}, worst tenth of users"]
    return {
        "head": head + [f"style: {STYLE_TITLES[name]}" for name in style],
        "rows": rows,
        "best": best,
        "asides": asides(details),
        "gold": " and ".join(number(details["style"][GOLD][name]["value"]) for name in style),
    }


def _comparisons(details: Document) -> list[dict[str, str]]:
    """Every paired difference in the primary measure that the tables show, with what could be detected."""
    measure, rows = details["measures"][0], []
    for method in methods_of(details["paired"]):
        for other in methods_of(details["paired"][method]):
            pair = details["paired"][method][other][measure]
            if "p_holm" in pair:
                row = {"what": f"{method} less {other}", "difference": difference(pair)}
                row |= {"holm": p_value(pair["p_holm"]), "detectable": number(pair["detectable"])}
                rows.append(row)
    return rows


def _harm(details: Document) -> Document:
    """The table of who is worse off: head, and of each method the shares under those of HELD_AGAINST that ran."""
    harm = details["harm"]
    against = [other for other in HELD_AGAINST if any(other in others for others in harm.values())]
    head = [f"{what} worse than under {other}" for other in against for what in HARMED]
    rows = []
    for method in methods_of(harm):
        found = [harm[method].get(other) for other in against]
        cells = [percent(of[what]["worse"]) if of else "" for of in found for what in HARMED]
        rows.append({"method": method, "cells": cells})
    return {"head": head, "rows": rows if head else []}
