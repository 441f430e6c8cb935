"""The verbs of `hydra-ml` about releases: which there are, which is live, which goes live, and their heads."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from hydra_ml.cli.options import (
    DATA,
    PARAMS,
    JsonOption,
    ParamsOption,
    TaskOption,
    answer,
    task_settings,
)
from hydra_ml.errors import ParamsError

releases_app = typer.Typer()
heads_app = typer.Typer(help="Registered versions of users' heads.", no_args_is_help=True)
list_app = typer.Typer(help="Registered releases.", no_args_is_help=True)
releases_app.add_typer(heads_app, name="heads")
releases_app.add_typer(list_app, name="releases")


@list_app.command("list")
def releases_list(task: TaskOption = None, as_json: JsonOption = False, params: ParamsOption = PARAMS) -> None:
    """Every release of a task, newest first: which is live, who made it from what, its figure and the gate's word."""
    _, found = task_settings(params, task)
    from hydra_ml.io.mlflow.registry import Registry
    from hydra_ml.jobs.releases import collect_releases, list_rows
    from hydra_ml.terminal import aligned

    releases = collect_releases(found, Registry())
    text = aligned(list_rows(releases)) if releases else f"{found.name}: no release yet. The nightly flow makes one."
    answer(text, [asdict(release) for release in releases], as_json)


@list_app.command("show")
def releases_show(
    version: Annotated[str, typer.Argument(help="a release version or alias")] = "champion",
    task: TaskOption = None,
    as_json: JsonOption = False,
    params: ParamsOption = PARAMS,
) -> None:
    """One release: its parts, data, LLM, settings that matter, figures, the gate's word, and who did what and why."""
    _, found = task_settings(params, task)
    from hydra_ml.io.mlflow.registry import Registry
    from hydra_ml.jobs.releases import show_release

    text, document = show_release(found, Registry(), version)
    answer(text, document, as_json)


@list_app.command("key")
def releases_key(
    file: Annotated[Path, typer.Argument(help="where to keep the private key, for nobody else to read")],
) -> None:
    """Make a key to sign releases with; prints its public half, for `promote.require_signature`."""
    from hydra_ml.io.signing import make_key

    print(make_key(file).public)


@list_app.command("sign")
def releases_sign(
    key: Annotated[Path, typer.Option(help="the private key, of `releases key`")],
    version: Annotated[str, typer.Argument(help="a release version or alias")] = "challenger",
    task: TaskOption = None,
    params: ParamsOption = PARAMS,
) -> None:
    """Sign a release you looked at: what `promote.require_signature` asks for before one is opened."""
    _, found = task_settings(params, task)
    from hydra_ml.io.mlflow.registry import Registry
    from hydra_ml.io.signing import load_key
    from hydra_ml.serving.signed_release import sign_release

    signed, name = sign_release(found, Registry(), version, load_key(key))
    print(f"{found.name}: release {signed} is signed with key {name}.")


@releases_app.command()
def promote(
    task: TaskOption = None,
    version: Annotated[str, typer.Option(help="a release version or alias")] = "challenger",
    force: Annotated[str, typer.Option(metavar="REASON", help="promote though a rule fails; kept as a tag")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="judge only; nothing changes")] = False,
    as_json: JsonOption = False,
    params: ParamsOption = PARAMS,
) -> None:
    """Judge a release against the champion, and make it live if the gate lets it pass; exit code 1 if not."""
    settings, found = task_settings(params, task)
    from hydra_ml.io.mlflow.registry import Registry
    from hydra_ml.jobs import promote as job
    from hydra_ml.terminal import plain

    if dry_run:
        decision = job.judge(found, settings, data=DATA, registry=Registry(), version=version)
    else:
        decision = job.promote(found, settings, data=DATA, registry=Registry(), version=version, force=force)
    answer(plain(decision.markdown()), decision.document(), as_json)
    if not (decision.passed if dry_run else decision.promoted_at):
        raise typer.Exit(1)


@releases_app.command()
def rollback(
    task: TaskOption = None,
    reason: Annotated[str, typer.Option(help="why; shown wherever the hold is")] = "",
    as_json: JsonOption = False,
    params: ParamsOption = PARAMS,
) -> None:
    """Make the previous champion live again, and hold automatic promotion until `release-hold` lifts that."""
    settings, found = task_settings(params, task)
    from hydra_ml.io.mlflow.registry import Registry
    from hydra_ml.jobs.promote import rollback as roll_back

    left, live = roll_back(found, Registry(), reason=reason, signed_with=settings.promote.require_signature)
    text = (
        f"{found.name}: release {live} is live again, instead of {left}.\nNo release goes live by itself until "
        f"`hydra-ml release-hold --task {found.name}`. What {left} learned from a bad drop is learned again unless "
        f"the drop is taken out: `hydra-ml data drops` lists them, `hydra-ml data withdraw DROP` takes one out."
    )
    answer(text, {"task": found.folder, "left": left, "live": live, "reason": reason}, as_json)


@releases_app.command()
def hold(
    reason: Annotated[str, typer.Option(help="why; shown wherever the hold is")],
    task: TaskOption = None,
    params: ParamsOption = PARAMS,
) -> None:
    """Let no release of a task go live by itself, until `release-hold`; `promote --force` still can."""
    _, found = task_settings(params, task)
    from hydra_ml.io.mlflow.registry import Registry
    from hydra_ml.jobs.hold import hold as hold_task

    made = hold_task(found, Registry(), reason)
    print(f"{found.name}: promotion is held since {made.since}: {made.reason}")


@releases_app.command("release-hold")
def release_hold(task: TaskOption = None, params: ParamsOption = PARAMS) -> None:
    """Lift the hold on a task: releases that the gate lets pass go live by themselves again."""
    _, found = task_settings(params, task)
    from hydra_ml.io.mlflow.registry import Registry
    from hydra_ml.jobs.hold import release_hold as lift

    known = lift(found, Registry())
    print(f"{found.name}: {f'no longer held ({known.reason})' if known else 'was not held'}.")


@heads_app.command("list")
def heads_list(task: TaskOption = None, params: ParamsOption = PARAMS) -> None:
    """Every registered version of a task's heads, and which releases use it."""
    _, found = task_settings(params, task)
    from hydra_ml.io.mlflow.registry import Registry
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
    _, found = task_settings(params, task)
    from hydra_ml.io.mlflow.registry import Registry
    from hydra_ml.jobs.heads_compare import compare_text

    print(compare_text(found, before, after, Registry(), part))
