"""What a person reads of an evaluation in a terminal.

Reads the documents of `evaluation.results.ArenaResults` as they come back from JSON; computes no figure of its own.
"""

from __future__ import annotations

import textwrap

from hydra_ml.evaluation.cells import (
    asides,
    bands_of,
    column_title,
    difference,
    interval,
    leaders,
    methods_of,
    number,
    p_value,
    rival_rows,
    title_of,
)
from hydra_ml.evaluation.methods import is_floor, method_order
from hydra_ml.evaluation.results import (
    GOLD,
    HARMED,
    HELD_AGAINST,
    OURS,
    REFERENCE,
    WORST_DECILE,
    Document,
)
from hydra_ml.evaluation.sentences import sentences
from hydra_ml.measures import higher_is_better
from hydra_ml.terminal import aligned

_STYLES = {"style_characters": "style c", "style_function_words": "style w"}
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
        _rivals_section(metrics, details),
        _slices_section(metrics, details),
        _users_section(metrics, details),
        _bill_section(metrics),
        "\n".join(textwrap.fill(line, WIDTH, subsequent_indent="  ") for line in sentences(metrics, details)),
    ]
    return "\n\n".join(section for section in sections if section)


# The table.


def _heading(metrics: Document, details: Document) -> str:
    facts = [
        f"{name.replace('_', ' ')} {metrics[name]}"
        for name in ("llm", "prompts", "answers_read", "data_version", "seed")
        if name in metrics
    ]
    line = " · ".join([details["task"], *facts, f"{details['n_queries']} questions of {details['n_users']} users"])
    return f"{line}\n{'=' * len(line)}"


def _methods_section(metrics: Document, details: Document) -> str:
    measures, best = details["measures"], details["best_baseline"]
    methods = methods_of(metrics)
    best_of = {measure: leaders(metrics, methods, measure) for measure in measures}
    against = f"{title_of(measures[0])}, difference to {_short(best)}" if best and details["paired"] else ""
    rows = [["method", *(f" {column_title(measure)}" for measure in measures), "n", against]]
    for method in methods:
        cells = [("*" if method in best_of[m] else " ") + interval(metrics[method][m]) for m in measures]
        pair = details["paired"].get(method, {}).get(best, {}).get(measures[0])
        rows.append([_short(method), *cells, str(metrics[method][measures[0]]["n"]), difference(pair) if pair else ""])
    legend = "* best. [95 % interval, users resampled; differences paired on the same questions, two-sided p]"
    if best:
        legend += f"\nBest baseline: {_short(best)}, chosen on these same questions, which flatters it a little."
    legend = "\n".join([legend, *asides(details)])
    return f"{aligned(rows, right={len(measures) + 1})}\n{legend}"


def _comparison_section(details: Document) -> str:
    """HYDRA against each method it is compared with, in every measure; "" where it did not take part."""
    opponents = details["paired"].get(OURS, {})
    measures = details["measures"]
    rows = [[f"{OURS} less", *(title_of(measure) for measure in measures), "Holm p", "detectable", "McNemar"]]
    for other in sorted(opponents, key=method_order(list(opponents)).index):
        primary = opponents[other][measures[0]]
        cells = [difference(opponents[other][measure]) for measure in measures]
        adjusted, exact = p_value(primary["p_holm"]), p_value(primary.get("mcnemar_p"))
        rows.append([_short(other), *cells, adjusted, number(primary["detectable"]), exact])
    if all(row[-1] == "-" for row in rows[1:]):  # ratings and texts have no McNemar test
        rows = [row[:-1] for row in rows]
    title = title_of(measures[0])
    legend = (
        f"Holm p: of {title}, adjusted for all comparisons of these two tables. "
        f"detectable: true difference in {title} that\nthis many questions show 4 times in 5."
    )
    return f"{aligned(rows, right={len(measures) + 1, len(measures) + 2})}\n{legend}" if opponents else ""


def _rivals_section(metrics: Document, details: Document) -> str:
    """What each rival's own part for a user gives beyond a stranger's; "" without rivals."""
    rows = rival_rows(metrics, details)
    return aligned(rows, right={1, 2}) if rows else ""


def _slices_section(metrics: Document, details: Document) -> str:
    """Known and new users, then history bands: one line each, in the primary measure."""
    measure, best = details["measures"][0], details["best_baseline"]
    slices = [(f"{cohort} users", part) for cohort, part in sorted(details["cohorts"].items())]
    slices += [(f"history {band}", details["bands"][band]) for band in bands_of(details)]
    floors = sorted(filter(is_floor, metrics), key=lambda m: metrics[m][measure]["value"])  # shown: the best of them
    floor = floors[-1 if higher_is_better(measure) else 0] if floors else None
    shown = [m for m in dict.fromkeys([floor, best, REFERENCE, "hydra_shared", OURS]) if m and m in metrics]
    rows = [
        [
            title_of(measure),
            "n",
            "users",
            *map(_short, shown),
            f"{OURS} less {_short(best)}" if OURS in metrics and best else "",
        ]
    ]
    for name, part in slices:
        values = [number(part["metrics"][method][measure]["value"]) for method in shown]
        pair = part["paired"].get(OURS, {}).get(best, {}).get(measure)
        row = [name, str(part["n_queries"]), str(part["n_users"]), *values, difference(pair) if pair else ""]
        rows.append(row)
    return aligned(rows, right=set(range(1, len(shown) + 3))) if slices else ""


def _users_section(metrics: Document, details: Document) -> str:
    """Who is served worst and who is harmed, a line per method; style closeness where it was measured."""
    title, harm, style = title_of(details["measures"][0]), details["harm"], details["style"].get(GOLD, {})
    against = [other for other in HELD_AGAINST if any(other in others for others in harm.values())]
    rows = [
        [
            "method",
            f"{title}, worst tenth",
            *(f"worse than {other}" for other in against),
            *(_STYLES[name] for name in style),
        ]
    ]
    n_users = details["n_users"]
    for method in methods_of(metrics):
        shares = [harm.get(method, {}).get(other) for other in against]
        cells = [
            ", ".join(f"{of[what]['worse']['value']:.0%} {what}" for what in HARMED) if of else "" for of in shares
        ]
        cells += [number(metrics[method][name]["value"]) for name in style]
        rows.append([_short(method), interval(metrics[method][WORST_DECILE]), *cells])
    legend = f"worst tenth: mean over the users that the method serves worst ({n_users} users in all)."
    if style:
        gold = " and ".join(number(style[name]["value"]) for name in style)
        legend += (
            "\nstyle: distance from the user's own texts in character 3-grams and function words, 0 to 1; no measure "
            f"of what is said.\nThe users' true answers are at {gold}."
        )
    return f"{aligned(rows)}\n{legend}"


def _bill_section(metrics: Document) -> str:
    """What the answers of each method cost, and what training asked; "" where the bill is not known."""
    rows = [row for row in metrics.get("bill", []) if row["group"] == "all"]
    lines = [["LLM's tokens", "questions", "in", "out", "per question", "cost per 1,000"]]
    for row in rows:
        tokens, n = row["tokens_in"] + row["tokens_out"], row["questions"]
        price = "-" if row["cost"] is None else f"{1000 * row['cost'] / n:,.3f}"
        name = _short(row["method"]) or f"({row['stage']}, to learn from)"
        lines.append([name, str(n), f"{row['tokens_in']:,}", f"{row['tokens_out']:,}", f"{tokens / n:,.0f}", price])
    legend = "As bought, each prompt as if asked by itself; the LLM was asked once for prompts that methods share."
    return f"{aligned(lines, right=set(range(1, 6)))}\n{legend}" if rows else ""


def _short(method: str) -> str:
    return method if len(method) <= NAME_WIDTH else f"{method[: NAME_WIDTH - 1]}…"
