"""What there is to say of an evaluation beside its tables, in words: the terminal and the page say the same.

Reads the documents of `evaluation.results.ArenaResults` as they come back from JSON; computes no figure of its own.
"""

from __future__ import annotations

from hydra_ml.answering.adapter import NEVER
from hydra_ml.evaluation.cells import (
    column_title,
    difference,
    is_gain,
    is_loss,
    number,
    p_value,
    percent,
    shown_methods,
    signed,
    title_of,
)
from hydra_ml.evaluation.harm import VERDICTS
from hydra_ml.evaluation.methods import is_floor, is_rival
from hydra_ml.evaluation.results import CEILING, OURS, REFERENCE, SWAPPED, Document
from hydra_ml.measures import higher_is_better

ALPHA = 0.05  # below it a comparison is taken for sure
_REPEATS = {
    "near_duplicates": "a near duplicate in the history",
    "repeated_answers": "the right answer word for word in the history",
    "quoted_answers": "the right answer in their own text",
}


def sentences(metrics: Document, details: Document) -> list[str]:
    """What there is to say beside the tables, the headline first."""
    return [
        *_headline(metrics, details),
        *_heads_lines(metrics, details),
        *_user_lines(details),
        *_response_lines(details),
        *_unparsable_lines(details),
        *_shortened_lines(details),
        *_leak_lines(details),
        *_warnings(metrics, details),
    ]


def _headline(metrics: Document, details: Document) -> list[str]:
    """The full method beside what users would get without it, and how sure that is; [] without either."""
    measure, opponents = details["measures"][0], details["paired"].get(OURS, {})
    other = REFERENCE if REFERENCE in opponents else details["best_baseline"]
    if other not in opponents:
        return []
    pair, title = opponents[other][measure], column_title(measure)
    told, p = "", pair["p_holm"]
    verdict = "not shown to differ from"
    if is_gain(pair, measure) or is_loss(pair, measure):
        verdict = "better than" if is_gain(pair, measure) else "worse than"
        told = f"; adjusted for all comparisons shown p {p_value(p)}" + (", which is not sure" if p >= ALPHA else "")
    return [
        f"{OURS} is {verdict} {other} in {title}: {number(metrics[OURS][measure]['value'])} against "
        f"{number(metrics[other][measure]['value'])}, a difference of {difference(pair)}{told}. So many "
        f"questions ({details['n_queries']} of {details['n_users']} users) show a true one of "
        f"{number(pair['detectable'])} 4 times in 5."
    ]


def _heads_lines(metrics: Document, details: Document) -> list[str]:
    """Whether there are personal heads, whether they are personal, and how much of what was to be gained was."""
    measure, heads = details["measures"][0], details.get("heads")
    lines = [_whether_heads(heads)] if heads else []
    lines += [_how_cautious(details["caution"])] if details.get("caution") else []
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


def _how_cautious(caution: Document) -> str:
    """When plain RAG's answer is kept."""
    found = (
        f"on {caution['n_judged']:,} unseen training questions {caution['harm']:.1%} fare worse by it "
        f"(allowed: {caution['bound']:.0%}), {caution['changed']:.0%} are answered otherwise."
    )
    if caution["margin"] >= NEVER:
        return f"Plain RAG's answer is always kept: no lead over it was sure enough; {found} `train_adapter.max_harm`."
    if caution["margin"] == 0:
        return f"The answer chosen is served however little it leads plain RAG's: {found}"
    return f"Plain RAG's answer is kept where no other leads it by {caution['margin']:.2f} in log-odds: {found}"


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
        if is_rival(method):  # told in a table
            continue
        changed = f"{method} answers {percent(told['changed'])} of the questions otherwise with the user's own head"
        gain, title = told["gain"], title_of(details["measures"][0])
        worth = f"; there it gains {signed(gain)} in {title} (above 0 is better)" if told["n_changed"] else ""
        lines.append(f"{changed} than with a stranger's{worth}. ({told['n_changed']} of {told['n']} questions)")
    return lines


def _unparsable_lines(details: Document) -> list[str]:
    lines = []
    for key, sentence in (("unparsable", "Not an answer"), ("missing", "No prediction at all")):
        counts = [(method, details[key][method]) for method in shown_methods(details[key])]
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
