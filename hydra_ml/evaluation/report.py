"""What a person reads of an evaluation in a terminal.

Reads the documents of `evaluation.results.ArenaResults` as they come back from JSON; computes no figure of its own.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from hydra_ml.evaluation.cells import (
    bands_of,
    column_title,
    difference,
    interval,
    is_gain,
    leaders,
    methods_of,
    number,
    p_value,
    percent,
    signed,
    title_of,
)
from hydra_ml.evaluation.harm import VERDICTS
from hydra_ml.evaluation.methods import is_floor, method_order
from hydra_ml.evaluation.results import (
    CEILING,
    GOLD,
    HARMED,
    HELD_AGAINST,
    OURS,
    REFERENCE,
    SWAPPED,
    WORST_DECILE,
    Document,
)
from hydra_ml.measures import higher_is_better
from hydra_ml.terminal import aligned

_REPEATS = {
    "near_duplicates": "a near duplicate in the history",
    "repeated_answers": "the right answer word for word in the history",
    "quoted_answers": "the right answer in their own text",
}
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
        _slices_section(metrics, details),
        _users_section(metrics, details),
        _bill_section(metrics),
        "\n".join(
            _wrapped(
                [
                    *_heads_lines(metrics, details),
                    *_user_lines(details),
                    *_response_lines(details),
                    *_unparsable_lines(details),
                    *_shortened_lines(details),
                    *_leak_lines(details),
                    *_warnings(metrics, details),
                ]
            )
        ),
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


def _heads_lines(metrics: Document, details: Document) -> list[str]:
    """Whether there are personal heads, whether they are personal, and how much of what was to be gained was."""
    measure, heads = details["measures"][0], details.get("heads")
    lines = [_whether_heads(heads)] if heads else []
    pair = details["paired"].get(OURS, {}).get(SWAPPED, {}).get(measure)
    if pair and not is_gain(pair, measure) and (heads is None or heads["used"]):
        lines.append(
            f"{OURS} is not shown to beat {SWAPPED} ({title_of(measure)} {difference(pair)}): on this task another "
            "user's heads may do as well as one's own."
        )
    if {OURS, REFERENCE, CEILING} <= metrics.keys():
        ours, least, most = (metrics[method][measure]["value"] for method in (OURS, REFERENCE, CEILING))
        if most != least:
            share = (ours - least) / (most - least)
            lines.append(
                f"Of what choosing better among the LLM's own answers could gain over {REFERENCE} "
                f"({number(abs(most - least))}), {OURS} caught {share:.0%}."
            )
    return lines


def _whether_heads(heads: Document) -> str:
    """Whether the adapter has personal heads, and why."""
    gain, error, n = heads["gain"], heads["error"], heads["n_judged"]
    known = gain is not None and error is not None
    told = f" (log loss {gain:+.3f}, standard error {error:.3f}, {n} held-back questions)" if known else ""
    if heads["asked"] != "auto":
        return f"{'P' if heads['used'] else 'No p'}ersonal heads, as train_adapter.personal asks{told}."
    if heads["used"]:
        return f"Personal heads, for they gained on held-back questions{told}."
    why = "they showed no gain worth a head each" if known else "too few users tell whether they gain"
    return f"No personal heads: everybody is served by the shared one, for {why}{told}."


def _user_lines(details: Document) -> list[str]:
    shares = details["harm"].get(OURS, {}).get(REFERENCE, {}).get("users")
    if not shares:
        return []
    said = ", ".join(f"{verdict} {percent(shares[verdict])}" for verdict in VERDICTS)
    return [f"Users under {OURS}, against {REFERENCE} ({shares['worse']['n']} users): {said}."]


def _response_lines(details: Document) -> list[str]:
    """How often an answer changes with the user, and what that is worth."""
    lines = []
    for method, told in details["responsiveness"].items():
        changed = f"{method} answers {percent(told['changed'])} of the questions otherwise with the user's own head"
        gain, title = told["gain"], title_of(details["measures"][0])
        worth = f"; there it gains {signed(gain)} in {title} (above 0 is better)" if told["n_changed"] else ""
        lines.append(f"{changed} than with a stranger's{worth}. ({told['n_changed']} of {told['n']} questions)")
    return lines


def _unparsable_lines(details: Document) -> list[str]:
    lines = []
    for key, sentence in (("unparsable", "Not an answer"), ("missing", "No prediction at all")):
        counts = [(method, details[key][method]) for method in method_order(list(details[key]))]
        said = ", ".join(f"{method} {count}" for method, count in counts if count)
        if said:
            lines.append(f"{sentence} (kept, and scored as the official evaluator does): {said}.")
    return lines


def _shortened_lines(details: Document) -> list[str]:
    said = ", ".join(f"{arm} {count}" for arm, count in details.get("shortened", {}).items())
    return [f"Prompts shortened by whole records, the last in rank, for the LLM's context: {said}."] if said else []


def _leak_lines(details: Document) -> list[str]:
    """What the leak checks counted; breaches never come this far."""
    leaks = details.get("leaks")
    if not leaks:
        return []
    told = [f"{what} ({len(leaks[name])})" for name, what in _REPEATS.items() if leaks[name]]
    counted = f" Counted, not removed: questions with {', '.join(told)}." if told else ""
    return [f"Leak checks: {leaks['prompts']:,} prompts show only what they may.{counted}"]


def _warnings(metrics: Document, details: Document) -> list[str]:
    measure = details["measures"][0]
    lines = []
    for floor in filter(is_floor, metrics):
        if OURS in metrics:
            ours, least = metrics[OURS][measure]["value"], metrics[floor][measure]["value"]
            if not (ours > least if higher_is_better(measure) else ours < least):
                lines.append(
                    f"WARNING: {OURS} ({title_of(measure)} {number(ours)}) does not beat {floor} ({number(least)}): "
                    "it has not personalized anything."
                )
    return lines


def _short(method: str) -> str:
    return method if len(method) <= NAME_WIDTH else f"{method[: NAME_WIDTH - 1]}…"


def _wrapped(lines: Sequence[str]) -> list[str]:
    return [textwrap.fill(line, WIDTH, subsequent_indent="  ") for line in lines]
