"""The verb of `hydra-ml` that takes in what users said of their answers; the ingest flow does the same."""

from __future__ import annotations

from functools import partial

import typer

from hydra_ml.cli.options import DATA, PARAMS, JsonOption, ParamsOption, tell_taken
from hydra_ml.io.layout import common_folder

feedback_app = typer.Typer()


@feedback_app.command()
def feedback(as_json: JsonOption = False, params: ParamsOption = PARAMS) -> None:
    """Take in what lies in data/feedback: a request_id, and accepted, chosen, edited, rating or rejected, a row.

    Final answers join the history of their users; rows whose request has no prediction yet wait. See docs/feedback.md.
    Exit code 1 if a file was refused.
    """
    from hydra_ml.io.params_file import load_params
    from hydra_ml.jobs.feedback import find_feedback, take_feedback, take_waiting

    settings = load_params(params)
    files = find_feedback(DATA, settings.ingest.settle_s)
    takes = (partial(take_feedback, file, data=DATA, params=settings) for file in files)
    waited = partial(take_waiting, data=DATA, params=settings)  # those came first
    tell_taken([waited, *takes], f"Nothing waits in {common_folder(DATA, 'feedback')}.", as_json)
