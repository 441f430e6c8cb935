"""The verb of `hydra-ml` that takes in what users said of their answers; the ingest flow does the same."""

from __future__ import annotations

from dataclasses import asdict

import typer

from hydra_ml.cli.options import DATA, PARAMS, JsonOption, ParamsOption, answer
from hydra_ml.errors import HydraError

feedback_app = typer.Typer()


@feedback_app.command()
def feedback(as_json: JsonOption = False, params: ParamsOption = PARAMS) -> None:
    """Take in what lies in data/feedback: a request_id, and accepted, chosen, edited, rating or rejected, a row.

    Final answers join the history of their users; rows whose request has no prediction yet wait. See docs/feedback.md.
    Exit code 1 if a file was refused.
    """
    from hydra_ml.io.params_file import load_params
    from hydra_ml.jobs.feedback import find_feedback, take_feedback, take_waiting
    from hydra_ml.terminal import plain

    settings = load_params(params)
    files = find_feedback(DATA, settings.ingest.settle_s)
    reports, failed = [], False
    for path in [None, *files]:  # those that waited came first
        try:
            if path is not None:
                reports.append(take_feedback(path, data=DATA, params=settings))
            elif (waited := take_waiting(data=DATA, params=settings)) is not None:
                reports.append(waited)
        except HydraError as error:  # it waits; the others do not wait for it
            failed = True
            typer.echo(f"{error}", err=True)
    text = "\n\n".join(plain(report.markdown()) for report in reports) or f"Nothing waits in {DATA / 'feedback'}."
    answer(text, [asdict(report) for report in reports], as_json)
    if failed or any(report.refused for report in reports):
        raise typer.Exit(1)
