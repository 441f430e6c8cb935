"""The verbs of `hydra-ml` that operate the service: what is live, what is promoted, what is scored, and why.

Thin: each verb reads its options, calls one job and prints. The same jobs run on schedules through `flows/`. Settings
are read before anything heavy is imported, so that a wrong option is told at once.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hydra_ml.errors import DataError, HydraError, ParamsError

if TYPE_CHECKING:
    from hydra_ml.params import Params
    from hydra_ml.tasks.task import Task

operate_app = typer.Typer()
heads_app = typer.Typer(help="Registered versions of users' heads.", no_args_is_help=True)
operate_app.add_typer(heads_app, name="heads")

DATA = Path("data")
ParamsOption = Annotated[Path, typer.Option("--params", help="the settings file")]
TaskOption = Annotated[str | None, typer.Option("--task", help="a task of params.yaml; may be left out if it has one")]
PARAMS = Path("params.yaml")


@operate_app.command()
def status(
    as_json: Annotated[bool, typer.Option("--json", help="as JSON")] = False, params: ParamsOption = PARAMS
) -> None:
    """What is live, since when and from what; what waits; what runs next, and what failed."""
    from hydra_ml.io.params_file import load_params

    settings = load_params(params)
    from hydra_ml.jobs.status import collect_status

    found = collect_status(settings, data=DATA)
    print(json.dumps(found.document(), indent=1) if as_json else found.text())


@operate_app.command()
def env() -> None:
    """What a shell needs to find this folder's servers: eval "$(hydra-ml env)"."""
    from hydra_ml.io.own_stack import load_own_stack

    stack = load_own_stack()
    if stack is None:
        raise HydraError("No servers were ever started in this folder. Start them with `make up`.")
    print(stack.exports())


@operate_app.command()
def promote(
    task: TaskOption = None,
    version: Annotated[str, typer.Option(help="a release version or alias")] = "challenger",
    force: Annotated[str, typer.Option(metavar="REASON", help="promote though a rule fails; kept as a tag")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="judge only; nothing changes")] = False,
    params: ParamsOption = PARAMS,
) -> None:
    """Judge a release against the champion, and make it live if the gate lets it pass; exit code 1 if not."""
    settings, found = _settings(params, task)
    from hydra_ml.io.registry import Registry
    from hydra_ml.jobs import promote as job

    if dry_run:
        decision = job.judge(found, settings, data=DATA, registry=Registry(), version=version)
    else:
        decision = job.promote(found, settings, data=DATA, registry=Registry(), version=version, force=force)
    print(decision.markdown())
    if not (decision.passed if dry_run else decision.promoted_at):
        raise typer.Exit(1)


@operate_app.command()
def rollback(task: TaskOption = None, params: ParamsOption = PARAMS) -> None:
    """Make the previous champion live again; the next batch uses it."""
    _, found = _settings(params, task)
    from hydra_ml.io.registry import Registry
    from hydra_ml.jobs.promote import rollback as roll_back

    left, live = roll_back(found, Registry())
    print(f"{found.name}: release {live} is live again, instead of {left}.")


@operate_app.command()
def score(
    requests: Annotated[Path, typer.Argument(help="JSONL or Parquet: request_id, user_id, task, input, history")],
    task: TaskOption = None,
    release: Annotated[str, typer.Option(help="the release that answers, a version or alias")] = "champion",
    params: ParamsOption = PARAMS,
) -> None:
    """Answer a file of requests now; predictions go to data/predictions. Run again, a batch cut short goes on."""
    settings, found = _settings(params, task)
    from hydra_ml.io.registry import Registry
    from hydra_ml.jobs.batch_score import score_requests

    report = score_requests(requests, found, settings, data=DATA, registry=Registry(), which=release)
    print(json.dumps(asdict(report), indent=1))


@operate_app.command()
def why(
    request_id: str,
    predictions: Annotated[
        Path | None,
        typer.Option(help="a file in data/predictions/<task>; default: the newest that answers the request"),
    ] = None,
) -> None:
    """What was predicted for a request, and from which records and candidates."""
    from hydra_ml.jobs.why import why_text

    print(why_text(predictions or _predictions_of(request_id), request_id, DATA))


@operate_app.command()
def ingest(params: ParamsOption = PARAMS) -> None:
    """Take in what lies in data/incoming; exit code 1 if a drop was refused."""
    from hydra_ml.io.params_file import load_params
    from hydra_ml.jobs.ingest import find_drops, ingest_drop

    settings = load_params(params)
    drops = find_drops(DATA / "incoming", settings.ingest.settle_s)
    reports = [ingest_drop(drop, data=DATA, params=settings) for drop in drops]
    print("\n".join(report.markdown() for report in reports) or f"Nothing waits in {DATA / 'incoming'}.")
    if any(report.refused for report in reports):
        raise typer.Exit(1)


@operate_app.command("update-heads")
def update_heads(
    task: TaskOption = None,
    release: Annotated[str, typer.Option(help="the release to bring up to date, a version or alias")] = "champion",
    params: ParamsOption = PARAMS,
) -> None:
    """Refit the heads of users with new records into a new release, the challenger; `promote` then judges it."""
    settings, found = _settings(params, task)
    from hydra_ml.io.registry import Registry
    from hydra_ml.jobs import update_heads as job

    plan = job.plan_update(found, settings, data=DATA, registry=Registry(), which=release)
    reports = [job.update_shard(plan, shard) for shard in range(plan.n_shards)]
    report = job.finish_update(plan, reports, f"update-heads-{found.name}-{datetime.now(UTC):%Y-%m-%dT%H-%M}")
    print(report.markdown())


@heads_app.command("list")
def heads_list(task: TaskOption = None, params: ParamsOption = PARAMS) -> None:
    """Every registered version of a task's heads, and which releases use it."""
    _, found = _settings(params, task)
    from hydra_ml.io.registry import Registry
    from hydra_ml.jobs.heads_compare import list_text

    print(list_text(found, Registry()))


@heads_app.command("compare")
def heads_compare(
    before: Annotated[str, typer.Argument(metavar="A", help="a heads version, or champion, challenger, previous")],
    after: Annotated[str, typer.Argument(metavar="B", help="likewise")],
    part: Annotated[str, typer.Option(help="adapter.heads or reranker.heads")] = "adapter.heads",
    task: TaskOption = None,
    params: ParamsOption = PARAMS,
) -> None:
    """Which users fare better or worse under B than under A, by how much, with interval."""
    if part not in (allowed := ("adapter.heads", "reranker.heads")):
        raise ParamsError(f"--part is {part!r}; allowed are {' and '.join(allowed)}.")
    _, found = _settings(params, task)
    from hydra_ml.io.registry import Registry
    from hydra_ml.jobs.heads_compare import compare_text

    print(compare_text(found, before, after, Registry(), part))


def _predictions_of(request_id: str) -> Path:
    """The newest predictions that answer the request, else of a batch that refused it. Raises DataError without any."""
    from hydra_ml.io.predictions import load_dead_letters
    from hydra_ml.io.tables import load_table

    files = sorted((DATA / "predictions").glob("*/*.parquet"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in files:
        if (load_table(path, ["request_id"])["request_id"] == request_id).any():
            return path
    for path in files:
        letters = load_dead_letters(path.with_suffix("") / "dead_letters.jsonl")
        if any(letter.request_id == request_id for letter in letters):
            return path
    raise DataError(
        f"{DATA / 'predictions'}: none of {len(files)} batches had a request {request_id!r}. Answer it first, with "
        "`hydra-ml score` or the batch_score flow."
    )


def _settings(params: Path, task: str | None) -> tuple[Params, Task]:
    """The settings and the task meant. Raises ParamsError if none is named and params.yaml does not have just one."""
    from hydra_ml.io.params_file import load_params
    from hydra_ml.tasks import get_task

    settings = load_params(params)
    if task is None and len(settings.tasks) > 1:
        raise ParamsError(f"{params} has the tasks {', '.join(settings.tasks)}. Say which with --task.")
    return settings, get_task(task or settings.tasks[0])
