"""An explanation as lines for a terminal."""

from __future__ import annotations

from hydra_ml.evaluation.explanation import TOLD, Breakdown, Candidate, Explanation, UsedRecord
from hydra_ml.io.page.page import seen

WIDTH = 100  # characters told of a record's text


def text_of(told: Explanation) -> str:
    """The explanation; what is not seen in a text, or steers a terminal, is written out."""
    facts = ", ".join(f"{name} {value}" for name, value in told.facts.items())
    generic = "(nothing the task can read)" if told.generic is None else told.generic
    same = " (the same)" if told.generic == told.prediction else ""
    lines = [
        f"request     {told.request_id} of user {told.user_id}, {told.task}, {facts}",
        *([f"question    {_short(told.question)}"] if told.question else []),
        f"prediction  {told.prediction}",
        f"generic     {generic}{same}",
        *([f"stranger's  {told.stranger}  (chosen under another user's head)"] if told.stranger is not None else []),
        f"served      {told.served}; {told.n_history} records of history",
        f"cost        {told.cost}",
        *([f"trouble     {told.trouble}"] if told.trouble else []),
        *[f"feedback    {said}" for said in told.feedback],
        "",
        *_record_lines(told),
        "",
        *(["answers to this request", *(f"  {line}" for line in told.others), ""] if told.others else []),
        *(["how it was chosen", *(f"  {line}" for line in told.decision), ""] if told.decision else []),
        *[line for one in told.breakdowns for line in (*_breakdown_lines(one), "")],
        *(["not told", *(f"  {line}" for line in told.missing), ""] if told.missing else []),
        "candidates (score: 1 more is 2.7 times as likely this user's choice; personal counts, shared is everybody's)",
        "     votes  personal    shared  answer",
        *map(_candidate_line, told.candidates),
    ]
    return seen("\n".join(lines))


def _record_lines(told: Explanation) -> list[str]:
    if not told.records:
        return ["records shown to the LLM: none"]
    lines = ["records shown to the LLM, most useful first"]
    lines += [f"  {_record_line(one)}" for one in told.records if one.is_shown]
    if any(not one.is_shown for one in told.records):
        lines += ["records not shown, that moved the score most"]
        lines += [f"  {_record_line(one)}" for one in told.records if not one.is_shown]
    if any(one.gives is not None for one in told.records):
        lines += _without_lines(told)
    return lines


def _record_line(one: UsedRecord) -> str:
    if not (one.asked or one.answer):
        return f"{one.record_id}  (came with the request: its text is not kept)"
    return f"{one.record_id}  {one.date or 'undated'}  {_short(one.asked)} -> {one.answer}"


def _without_lines(told: Explanation) -> list[str]:
    """What each record gives to the lead over the runner-up, and what would be answered without it."""
    lines = ["without each of them", "  gives     said the same  asked again"]
    for one in told.records:
        gives = "        " if one.gives is None else f"{one.gives:+8.4f}"
        again = one.without if one.without is not None else f"not asked: {one.n_calls} calls" if one.n_calls else ""
        lines.append(f"  {gives}  {_cell(one.if_same_said)}  {_cell(again)}  {one.record_id}")
    if told.n_calls:
        lines.append(f"  not asked: --ask would cost {told.n_calls} calls at most")
    return lines


def _breakdown_lines(one: Breakdown) -> list[str]:
    if one.over is None:
        lines = [f"its score, {one.stored:.6f}, in parts"]
    else:
        lines = [f"its lead over {one.what}, {_short(one.over)!r}: {one.stored:.6f}, in parts"]
    lines.append("    shared       own      both")
    lines += [f"  {t.shared:+8.4f}  {t.own:+8.4f}  {t.both:+8.4f}  {TOLD[t.name]}" for t in one.terms]
    total = sum(term.both for term in one.terms)
    lines.append(f"  {'':8}  {'':8}  {total:+8.4f}  together, {one.rounding:+.1e} of rounding aside")
    return lines


def _candidate_line(one: Candidate) -> str:
    figures = f"{one.votes:5d}  {one.personal:8.3f}  {one.shared:8.3f}"
    return f"  {'->' if one.is_chosen else '  '} {figures}  {_short(one.answer)}"


def _cell(text: str | None) -> str:
    shown = "" if text is None else _short(text)
    return f"{shown[:22]:22}"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= WIDTH else f"{line[: WIDTH - 3]}..."
