"""What an operator asks first: what is live, since when and from what, what waits, what runs next, and what failed.

Reads the registry, the folders of history and requests, and the Prefect server; what cannot be reached becomes a line
that says so, never the end of the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from hydra_ml.errors import HydraError
from hydra_ml.io.history_store import drop_names
from hydra_ml.io.orchestrator import FlowRun, read_schedule
from hydra_ml.io.registry import Registry
from hydra_ml.jobs.waiting_requests import set_aside, unreadable, waiting_requests
from hydra_ml.params import Params
from hydra_ml.release import PARTS
from hydra_ml.tasks import get_task
from hydra_ml.tasks.task import Task

NEWEST = 3  # batches whose dead letters are named


@dataclass(frozen=True)
class TaskStatus:
    """One task. Without a champion, `release` is None and what describes it is empty."""

    task: str  # folder
    release: str | None = None  # version that is champion
    since: str = ""  # ISO 8601 UTC; "": the alias was set by hand
    made_by: str = ""
    made_at: str = ""
    data_version: str = ""
    git_commit: str = ""
    components: Mapping[str, str] | None = None  # part: registered version
    gate: Mapping[str, str] | None = None  # tags gate.*, without the prefix
    challenger: str | None = None
    challenger_refused_by: str = ""  # names of the rules that refused it; "": not judged yet
    previous: str | None = None
    drops_learned: int = 0
    drops_not_learned: tuple[str, ...] = ()
    requests: tuple[str, ...] = ()  # files in data/requests that no finished batch has answered
    requests_unreadable: Mapping[str, str] = field(default_factory=dict)  # of those, what cannot be read, and why
    requests_set_aside: Mapping[str, int] = field(default_factory=dict)  # dead letters of the newest batches, by file
    problem: str = ""  # why something of this is missing


@dataclass(frozen=True)
class Status:
    """Everything `hydra-ml status` says."""

    tasks: tuple[TaskStatus, ...]
    next_runs: tuple[FlowRun, ...]
    failures: tuple[FlowRun, ...]
    problem: str = ""  # why nothing is known of runs

    def document(self) -> dict[str, Any]:
        """As JSON prints it."""
        return asdict(self)

    def text(self) -> str:
        """As a terminal prints it."""
        lines = [line for task in self.tasks for line in (*_task_lines(task), "")]
        if self.problem:
            return "\n".join([*lines, f"Runs: {self.problem}"])
        return "\n".join(
            [*lines, *_run_lines("Next runs", self.next_runs), *_run_lines("Last failures", self.failures)]
        )


def collect_status(
    params: Params, *, data: Path, connect: Callable[[], Registry] = Registry, api_url: str | None = None
) -> Status:
    """The state of every task of params.yaml; `api_url` as for `read_schedule`. Raises nothing that is a HydraError."""
    tasks = tuple(task_status(get_task(name), data=data, connect=connect) for name in params.tasks)
    try:
        schedule = read_schedule(api_url)
    except HydraError as error:
        return Status(tasks, (), (), str(error))
    return Status(tasks, schedule.next_runs, schedule.failures)


def task_status(task: Task, *, data: Path, connect: Callable[[], Registry] = Registry) -> TaskStatus:
    """What is live for one task, and what it has not learned yet; as much as can be told where something is down."""
    drops = drop_names(data / "history" / task.folder)
    found = TaskStatus(task.folder, drops_not_learned=tuple(drops))
    try:
        found = replace(found, **_requests(task, data))
        registry = connect()
        aliases = registry.aliases(task)
        champion, challenger = aliases.get("champion"), aliases.get("challenger")
        refused = registry.release_tags(task, challenger).get("gate.refused_by", "") if challenger else ""
        found = replace(found, challenger=challenger, challenger_refused_by=refused, previous=aliases.get("previous"))
        if champion is None:
            return found
        tags = registry.release_tags(task, champion)
        _, release = registry.release(task, champion)
    except HydraError as error:
        return replace(found, problem=str(error))
    return replace(
        found,
        release=champion,
        since=max(tags.get("promoted_at", ""), tags.get("restored_at", "")),
        made_by=release.made_by,
        made_at=release.made_at,
        data_version=release.data_version,
        git_commit=release.git_commit,
        components={part: release.components[part].version for part in PARTS},
        gate={name.removeprefix("gate."): value for name, value in tags.items() if name.startswith("gate.")},
        drops_learned=len(set(drops) & set(release.history)),
        drops_not_learned=tuple(name for name in drops if name not in release.history),
    )


def _requests(task: Task, data: Path) -> dict[str, Any]:
    """What waits, what of it cannot be read, and what of the newest batches could not be answered."""
    waiting = {path.relative_to(data).as_posix(): path for path in waiting_requests(task, data=data)}
    aside = set_aside(task, data=data)
    return {
        "requests": tuple(waiting),
        "requests_unreadable": {name: why for name, path in waiting.items() if (why := unreadable(path))},
        "requests_set_aside": dict(list(aside.items())[:NEWEST]),
    }


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
    rows.append(
        ("requests", f"{len(status.requests)} waiting{': ' if status.requests else ''}{', '.join(status.requests)}")
    )
    rows += [("unreadable", f"{name}: {why}") for name, why in status.requests_unreadable.items()]
    rows += [("set aside", f"{n} requests, why stands in {name}") for name, n in status.requests_set_aside.items()]
    if status.challenger:
        refused = f"refused by the gate: {status.challenger_refused_by}" if status.challenger_refused_by else "waits"
        rows.append(("challenger", f"release {status.challenger}, {refused}"))
    if status.previous:
        rows.append(("previous", f"release {status.previous}: `hydra-ml rollback` makes it live again"))
    return [name, *(f"  {label:<11}{value}" for label, value in rows)]


def _gate_line(gate: Mapping[str, str]) -> str:
    if not gate:
        return "it was never judged"
    verdict = "passed" if gate.get("passed") == "true" else f"NOT passed, by force: {gate.get('forced', '')}"
    if not gate.get("difference"):
        return f"{verdict}, nothing to compare with"
    return (
        f"{verdict} against release {gate['against']}: {gate['measure']} {gate['difference']} "
        f"(95 % sure above {gate['ci_low'] or 'unknown'}), {float(gate['users_worse']):.1%} of users worse, "
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
