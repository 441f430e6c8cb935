"""The verbs of `hydra-ml` that operate the service: how it stands, requests answered and explained, heads updated.

Thin: each verb reads its options, calls one job and prints. The same jobs run on schedules through `flows/`.
"""

from __future__ import annotations

import sys
from contextlib import nullcontext
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from hydra_ml.cli.options import CACHE, DATA, PARAMS, JsonOption, ParamsOption, TaskOption, answer, task_settings
from hydra_ml.errors import ArtifactError, DataError, HydraError, ParamsError

operate_app = typer.Typer()


@operate_app.command()
def status(
    check: Annotated[bool, typer.Option("--check", help="exit code 1 if there is trouble, for monitors")] = False,
    as_json: JsonOption = False,
    params: ParamsOption = PARAMS,
) -> None:
    """Trouble first; then what is live, since when and from what; what waits; what runs next, and what failed."""
    from hydra_ml.io.params_file import load_params

    settings = load_params(params)
    from hydra_ml.jobs.status import collect_status
    from hydra_ml.jobs.status_text import status_text

    found = collect_status(settings, data=DATA)
    answer(status_text(found), found.document(), as_json)
    if check and found.troubles():
        raise typer.Exit(1)


@operate_app.command()
def doctor(as_json: JsonOption = False, params: ParamsOption = PARAMS) -> None:
    """Look for what usually stands in the way, each thing with its remedy; exit code 1 if something does."""
    from hydra_ml.jobs.doctor import examine

    findings = examine(root=Path(), params_path=params)
    width = max(len(finding.name) for finding in findings)
    lines = [f"{finding.state:<5} {finding.name:<{width}}  {finding.text}" for finding in findings]
    answer("\n".join(lines), [asdict(finding) for finding in findings], as_json)
    if any(finding.state == "BAD" for finding in findings):
        raise typer.Exit(1)


@operate_app.command()
def env() -> None:
    """What a shell needs to find this folder's servers: eval "$(hydra-ml env)"."""
    from hydra_ml.io.own_stack import load_own_stack

    stack = load_own_stack()
    if stack is None:
        raise HydraError("No servers were ever started in this folder. Start them with `make up`.")
    print(stack.exports())


@operate_app.command()
def score(
    requests: Annotated[
        Path,
        typer.Argument(help="JSONL, CSV or Parquet: request_id, user_id, input, history; -: JSONL in, predictions out"),
    ],
    task: TaskOption = None,
    release: Annotated[str, typer.Option(help="the release that answers, a version or alias")] = "champion",
    as_json: JsonOption = False,
    params: ParamsOption = PARAMS,
) -> None:
    """Answer a file of requests now; predictions go to data/predictions. Run again, a batch cut short goes on."""
    settings, found = task_settings(params, task)
    from hydra_ml.io.mlflow.registry import Registry
    from hydra_ml.io.predictions import predictions_json
    from hydra_ml.io.requests import requests_of_stdin
    from hydra_ml.jobs.batch_score import score_requests

    piped = str(requests) == "-"
    if not (piped or requests.exists()):
        raise ParamsError(f"{requests}: no such file. Name a file of requests, or - for standard input.")
    with requests_of_stdin(CACHE) if piped else nullcontext(requests) as file:
        report = score_requests(file, found, settings, data=DATA, registry=Registry(), which=release)
    if piped:
        typer.echo(report.text(), err=True)
        for line in predictions_json(Path(report.predictions)):
            print(line)
    else:
        answer(report.text(), asdict(report), as_json)
    if report.requests and not report.scored:
        raise typer.Exit(1)


@operate_app.command()
def why(
    request_id: str,
    predictions: Annotated[
        Path | None,
        typer.Option(help="a file in data/predictions/<task>; default: the newest that answers the request"),
    ] = None,
    requests: Annotated[
        Path | None, typer.Option(help="the file of requests, where data/requests no longer holds it")
    ] = None,
    ask: Annotated[bool, typer.Option("--ask", help="buy what the LLM would say without each record")] = False,
    html: Annotated[bool, typer.Option("--html", help="write a page, and print where it lies")] = False,
    params: ParamsOption = PARAMS,
) -> None:
    """Why a request was answered as it was: score in parts, records, a stranger's answer, other releases, feedback."""
    from hydra_ml.io.mlflow.registry import Registry
    from hydra_ml.io.page.why_page import save_why_page, why_path
    from hydra_ml.io.params_file import load_params
    from hydra_ml.io.record_reader import read_id
    from hydra_ml.jobs.why import why as explained
    from hydra_ml.jobs.why_text import text_of

    request_id = read_id(request_id, "request_id")
    files = [predictions] if predictions else _predictions_of(request_id)
    told = explained(
        files[0],
        request_id,
        DATA,
        files[1:],
        registry=Registry(),
        cache=CACHE,
        llm=load_params(params).llm,
        ask=ask,
        files=[requests] if requests else [],
    )
    if html:
        path = why_path(DATA, told)
        save_why_page(told, path)
        print(path)
    else:
        print(text_of(told))


@operate_app.command()
def show(
    user: Annotated[str, typer.Argument(help="a user id")],
    task: TaskOption = None,
    release: Annotated[str, typer.Option(help="the release whose head is told, a version or alias")] = "champion",
    yes: Annotated[bool, typer.Option("--yes", help="this shows one person's data; needed outside a terminal")] = False,
    params: ParamsOption = PARAMS,
) -> None:
    """One user: records, what the head favours against the shared one, last predictions. Logs nothing."""
    _, found = task_settings(params, task)
    if not yes and not (sys.stdin.isatty() and typer.confirm(f"This shows what user {user} wrote. Go on?")):
        raise ParamsError("show prints one person's data: say --yes, or confirm in a terminal.")
    from hydra_ml.io.mlflow.registry import Registry
    from hydra_ml.jobs.show import user_text

    print(user_text(user, found, data=DATA, registry=Registry(), which=release))


@operate_app.command()
def drift(
    task: TaskOption = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="forget what was found and begin anew: the change is known and lived with")
    ] = False,
    as_json: JsonOption = False,
    params: ParamsOption = PARAMS,
) -> None:
    """Look now, as every night does, whether LLM, harm by heads or inputs have changed; exit code 1 if so."""
    settings, found = task_settings(params, task)
    from hydra_ml.io.drift import DriftFolder
    from hydra_ml.io.mlflow.registry import Registry
    from hydra_ml.jobs.drift import watch_drift
    from hydra_ml.terminal import plain

    if restart:
        DriftFolder(DATA, found).forget()
    night = f"{datetime.now(UTC):%Y-%m-%d}"  # a day's second look asks nothing
    report = watch_drift(found, settings, night, data=DATA, registry=Registry(), cache=CACHE)
    answer(plain(report.markdown()), asdict(report), as_json)
    if report.alarms:
        raise typer.Exit(1)


@operate_app.command("update-heads")
def update_heads(
    task: TaskOption = None,
    release: Annotated[str, typer.Option(help="the release to bring up to date, a version or alias")] = "champion",
    as_json: JsonOption = False,
    params: ParamsOption = PARAMS,
) -> None:
    """Refit the heads of users with new records into a new release, the challenger; `promote` then judges it."""
    settings, found = task_settings(params, task)
    from hydra_ml.io.mlflow.registry import Registry
    from hydra_ml.jobs import update_heads as job
    from hydra_ml.jobs.update_release import finish_update
    from hydra_ml.terminal import plain

    plan = job.plan_update(found, settings, data=DATA, registry=Registry(), which=release)
    reports = [job.update_shard(plan, shard) for shard in range(plan.n_shards)]
    report = finish_update(plan, reports, f"update-heads-{found.name}-{datetime.now(UTC):%Y-%m-%dT%H-%M}")
    answer(plain(report.markdown()), asdict(report), as_json)


def _predictions_of(request_id: str) -> list[Path]:
    """The predictions that answer the request, newest first, else those of a batch that refused it. Raises DataError
    without any."""
    from hydra_ml.io.predictions import load_dead_letters
    from hydra_ml.io.tables import load_table

    files = sorted((DATA / "predictions").glob("*/*.parquet"), key=lambda path: path.stat().st_mtime, reverse=True)
    answering, refusing, damaged = [], [], []
    for path in files:
        try:
            letters = load_dead_letters(path.with_suffix("") / "dead_letters.jsonl")
            refusing += [path for letter in letters if letter.request_id == request_id]
            answering += [path] if (load_table(path, ["request_id"])["request_id"] == request_id).any() else []
        except ArtifactError as error:
            damaged.append(str(error))
    if answering or refusing:
        return answering or refusing[:1]
    raise DataError(
        f"{DATA / 'predictions'}: none of {len(files)} batches had a request {request_id!r}. Answer it first, with "
        "`hydra-ml score` or the batch_score flow." + "".join(f"\nNot looked through: {told}" for told in damaged)
    )
