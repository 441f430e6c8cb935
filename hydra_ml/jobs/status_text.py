"""How `hydra-ml status` looks in a terminal: trouble first, then each task, then what runs next and what failed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hydra_ml.io.orchestrator import FlowRun
from hydra_ml.io.task_files import get_task
from hydra_ml.jobs.status import Status, TaskStatus, WorkerStatus


def status_text(status: Status) -> str:
    """As a terminal prints it."""
    troubles = status.troubles()
    lines = ["Look at", *(f"  {trouble}" for trouble in troubles), ""] if troubles else ["All is well.", ""]
    if status.worker is not None:
        lines += [_worker_line(status.worker), ""]
    lines += [line for task in status.tasks for line in (*_task_lines(task), "")]
    waiting = [*status.incoming, *(f"{name} (not taken)" for name in status.incoming_unknown)]
    lines += [f"data/incoming: {', '.join(waiting) or 'nothing waits'}"]
    said = [*status.feedback, *(f"{name} (not taken)" for name in status.feedback_unknown)]
    said += [f"{status.feedback_waiting:,} rows wait for a prediction"] if status.feedback_waiting else []
    lines += [f"data/feedback: {', '.join(said)}"] if said else []
    if status.growing:
        lines += [f"half written, by its name: {', '.join(status.growing)}; `mv` it to its own name when it is whole"]
    lines += [""]
    if status.problem:
        return "\n".join([*lines, f"Runs: {status.problem}"])
    return "\n".join([*lines, *_run_lines("Next runs", status.next_runs), *_failure_lines(status.failures)])


def _task_lines(status: TaskStatus) -> list[str]:
    name = get_task(status.task).name
    rows: list[tuple[str, str]] = []
    if status.problem:
        rows.append(("live", f"cannot be told: {status.problem}"))
    elif status.release is None:
        rows.append(("live", "nothing: no release is champion. Run the nightly flow, or `hydra-ml promote`"))
    else:
        rows.append(("live", f"release {status.release} since {status.since or 'an unknown time (alias set by hand)'}"))
        rows.append(("made", f"by {status.made_by}, {status.made_at}, git {status.git_commit or 'unknown'}"))
        rows.append(("data", status.data_version))
        rows.append(("parts", ", ".join(f"{part} {version}" for part, version in (status.components or {}).items())))
        rows.append(("gate", _gate_line(status.gate or {})))
    known = status.release is not None or not status.problem
    learned = f"{status.drops_learned} learned, {len(status.drops_not_learned)} not yet"
    rows.append(("drops", learned if known else f"{len(status.drops_not_learned)} in all"))
    waiting = f"{len(status.requests)} waiting{': ' if status.requests else ''}{', '.join(status.requests)}"
    rows.append(("requests", waiting))
    rows += [("unreadable", f"{name}: {why}") for name, why in status.requests_unreadable.items()]
    rows += [("set aside", f"{n} requests, why stands in {name}") for name, n in status.requests_set_aside.items()]
    rows += [("feedback", told) for told in status.feedback]
    rows += [("drift", told) for told in status.drift]
    if status.held:
        rows.append(("HELD", f"{status.held}; `hydra-ml release-hold --task {name}` lifts it"))
    if status.challenger:
        refused = f"refused by the gate: {status.challenger_refused_by}" if status.challenger_refused_by else "waits"
        rows.append(("challenger", f"release {status.challenger}, {refused}"))
    if status.previous:
        rows.append(("previous", f"release {status.previous}: `hydra-ml rollback` makes it live again"))
    return [name, *(f"  {label:<11}{value}" for label, value in rows)]


def _gate_line(gate: Mapping[str, Any]) -> str:
    if not gate:
        return "it was never judged"
    low = gate.get("ci_low")
    verdict = "passed" if gate.get("passed") == "true" else f"NOT passed, by force: {gate.get('forced', '')}"
    if "difference" not in gate:
        return f"{verdict}, nothing to compare with"
    return (
        f"{verdict} against release {gate['against']}: {gate['measure']} {gate['difference']:+.4f} "
        f"(95 % sure above {'unknown' if low is None else f'{low:+.4f}'}), {gate['users_worse']:.1%} of users worse, "
        f"{gate['n']} queries"
    )


def _run_lines(title: str, runs: tuple[FlowRun, ...]) -> list[str]:
    if not runs:
        return [f"{title}: none"]
    names = max(len(run.deployment or "-") for run in runs)
    rows = [
        f"  {run.at[:19]:<20} {run.deployment or '-':<{names}}  {run.name}  {run.state}  {run.reason}".rstrip()
        for run in runs
    ]
    return [title, *rows]


def _failure_lines(runs: tuple[FlowRun, ...]) -> list[str]:
    """Each failure with what caused it, and what to type next, under it."""
    if not runs:
        return ["Last failures: none"]
    lines = ["Last failures"]
    for run in runs:
        since = ", went well since" if run.settled else ""
        lines.append(f"  {run.at[:19]:<20} {run.deployment or '-'}  {run.name}  {run.state}{since}")
        if run.reason:
            lines.append(f"    {run.reason}")
        if run.deployment and not run.settled:  # a deployment's name is its flow's, with dashes
            again = f"prefect deployment run {run.deployment.replace('-', '_')}/{run.deployment}"
            lines.append(f"    when it is mended: {again}")
    return lines


def _worker_line(worker: WorkerStatus) -> str:
    if worker.online:
        return f"Worker: online, last heard of at {worker.seen_at}"
    last = f"; last heard of at {worker.seen_at}" if worker.seen_at else ""
    words = f". Its last words: {worker.last_words}" if worker.last_words else ""
    return f"Worker: NONE is online{last}{words}. `make up` starts one, `make logs` shows more."
