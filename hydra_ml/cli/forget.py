"""The verb of `hydra-ml` that forgets a user, and looks whether one is forgotten."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from hydra_ml.cli.options import DATA, PARAMS, ParamsOption, tasks_meant
from hydra_ml.errors import HydraError, ParamsError

forget_app = typer.Typer()


@forget_app.command()
def forget(
    user: Annotated[str, typer.Argument(help="a user id; with --verify it may be left out")] = "",
    task: Annotated[
        str | None, typer.Option("--task", help="in this task alone; without: in all of params.yaml")
    ] = None,
    record: Annotated[str, typer.Option(metavar="ID", help="this record alone; the head is fitted on the others")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="tell what is kept, and change nothing")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="go on without asking; needed outside a terminal")] = False,
    verify: Annotated[
        Path | None, typer.Option(metavar="RECEIPT", help="search again for what the receipt names")
    ] = None,
    allow_return: Annotated[bool, typer.Option("--allow-return", help="let who was forgotten come in again")] = False,
    params: ParamsOption = PARAMS,
) -> None:
    """Take a user, or one record, out of everything that is kept; a signed receipt says what was done."""
    if not user and verify is None:
        raise ParamsError("Name a user: `hydra-ml forget USER`.")
    from hydra_ml.io.forgotten import ALL
    from hydra_ml.io.params_file import load_params
    from hydra_ml.jobs import forget as job
    from hydra_ml.jobs.forget_signatures import signing_ahead

    place = job.here(DATA, tasks_meant(params, task))
    meant = ALL if task is None else place.tasks[0].folder
    if verify is not None:
        _tell(job.verify(verify, place, user))
        return
    if allow_return:
        stood = job.let_return(user, place, record=record, task=meant)
        print("May come in again." if stood else "Was not on the list of those who were forgotten: nothing is changed.")
        return
    plan = job.plan_forget(user, place, record=record, task=meant)
    for name, where in plan.found.items():
        print(f"{name}: {', '.join(where[:5])}{f' and {len(where) - 5:,} more' if len(where) > 5 else ''}")
    for line in signing_ahead(place):
        print(line, file=sys.stderr)
    if plan.unfinished:
        print("An earlier run was cut short; this one goes on with it.", file=sys.stderr)
    if dry_run:
        print("Nothing is changed.")
        return
    if not yes and not (sys.stdin.isatty() and typer.confirm("Take all of this out, for good?")):
        raise ParamsError("forget cannot be undone: say --yes, or confirm in a terminal.")
    receipt = job.forget(plan, place, load_params(params), task=meant, say=print)
    print(f"Done. The receipt: {receipt.relative_to(place.root)}. Search again: hydra-ml forget --verify {receipt}")


def _tell(done: object) -> None:
    """Print what a second search came to; exit code 1 unless all is well."""
    from hydra_ml.jobs.forget import Verified

    assert isinstance(done, Verified)
    print(f"signature: {done.signature.told()}")
    for name, where in done.found.items():
        print(f"FOUND in {name}: {', '.join(where)}")
    if not done.found:
        print("Nothing of what the receipt names was found.")
    if not done.is_good:
        raise HydraError("The receipt does not hold.")
