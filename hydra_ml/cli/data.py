"""The verbs of `hydra-ml` about data: what the pipeline learns from, what comes in, and what is taken out again."""

from __future__ import annotations

from functools import partial
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
    read_shares,
    tasks_meant,
    tell_taken,
)
from hydra_ml.io.layout import common_folder

data_app = typer.Typer(help="What is learned from: LaMP files, and drops of records.", no_args_is_help=True)
ingest_app = typer.Typer()
RAW = DATA / "raw"
DropArgument = Annotated[str, typer.Argument(metavar="DROP", help="its name, the start of it, or its file's name")]


@data_app.command("sample")
def data_sample(params: ParamsOption = PARAMS) -> None:
    """Write the bundled sample of every task in params.yaml."""
    from hydra_ml.io.lamp.raw_data import use_sample

    print("\n".join(use_sample(RAW, params)))


@data_app.command("add")
def data_add(
    source: Annotated[Path, typer.Argument(help="a folder of LaMP_n/{train,dev,test}, or with --task a table")],
    task: Annotated[str | None, typer.Option("--task", help="the own task whose records the table holds")] = None,
    time_split: Annotated[
        str, typer.Option(help="of a table: shares of each user's newest records that are asked, dev,test")
    ] = "0.1,0.1",
    params: ParamsOption = PARAMS,
) -> None:
    """Check LaMP files, or a table of records, and make them the pipeline's data.

    What was assumed or left out is told, on stderr where names go to stdout."""
    from hydra_ml.io.lamp.raw_data import assumed_text, use_folder, use_table

    if task is None:
        tasks = use_folder(source, RAW, params)
        typer.echo(assumed_text(tasks), err=True, nl=False)
        print("\n".join(tasks))
        return
    from hydra_ml.io.task_files import get_task

    meant = get_task(task)
    print(use_table(source, meant, RAW, params, shares=read_shares(time_split)).text(meant))


@data_app.command("fetch")
def data_fetch(
    tasks: Annotated[list[str], typer.Argument(help="LaMP_1 ... LaMP_7, LaMP_2N; not LaMP_6, which is licensed")],
    to: Annotated[Path, typer.Option(help="folder to download into; then `hydra-ml data add` it")] = Path(
        "data/fetched"
    ),
    time_based: Annotated[bool, typer.Option(help="the time split, with user ids and dates")] = True,
) -> None:
    """Download official LaMP files; goes on where an earlier download stopped."""
    from hydra_ml.io.lamp.download import fetch

    fetch(tasks, to, time_based=time_based)
    print(to)


@data_app.command("drops")
def data_drops(task: TaskOption = None, as_json: JsonOption = False, params: ParamsOption = PARAMS) -> None:
    """The drops of records that came in for a task, and which were withdrawn."""
    tasks = tasks_meant(params, task)
    from hydra_ml.jobs.withdraw import documents, drops_of, drops_text
    from hydra_ml.terminal import aligned

    drops = [drop for found in tasks for drop in drops_of(found, data=DATA)]
    nothing = f"{', '.join(found.name for found in tasks)}: no drop was ever taken in."
    text = aligned(drops_text(drops), right={3}) if drops else nothing
    answer(text, documents(drops), as_json)


@data_app.command("withdraw")
def data_withdraw(
    drop: DropArgument,
    task: TaskOption = None,
    reason: Annotated[str, typer.Option(help="why; kept beside it")] = "",
    params: ParamsOption = PARAMS,
) -> None:
    """Take a drop out of what is learned and answered from; its records stay out if they are delivered again."""
    tasks = tasks_meant(params, task)
    from hydra_ml.jobs.withdraw import withdraw

    out = withdraw(drop, tasks, data=DATA, reason=reason)
    print(
        f"{out.task}: drop {out.name} ({out.records:,} records) is withdrawn: {out.withdrawn}. Heads that learned it "
        "keep what they learned until the next nightly, or `hydra-ml rollback`."
    )


@data_app.command("give-back")
def data_give_back(drop: DropArgument, task: TaskOption = None, params: ParamsOption = PARAMS) -> None:
    """Put a withdrawn drop back; the next update learns it."""
    tasks = tasks_meant(params, task)
    from hydra_ml.jobs.withdraw import give_back

    back = give_back(drop, tasks, data=DATA)
    print(f"{back.task}: drop {back.name} ({back.records:,} records) is learned from again.")


@ingest_app.command()
def ingest(as_json: JsonOption = False, params: ParamsOption = PARAMS) -> None:
    """Take in what lies in data/incoming; exit code 1 if a drop was refused."""
    from hydra_ml.io.params_file import load_params
    from hydra_ml.jobs.ingest import find_drops, ingest_drop

    settings, incoming = load_params(params), common_folder(DATA, "incoming")
    drops = find_drops(incoming, settings.ingest.settle_s)
    takes = (partial(ingest_drop, drop, data=DATA, params=settings) for drop in drops)
    tell_taken(takes, f"Nothing waits in {incoming}.", as_json)
