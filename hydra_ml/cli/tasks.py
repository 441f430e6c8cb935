"""The verbs of `hydra-ml task`: declare a task of your own and look at it before anything is learned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

task_app = typer.Typer(help="Tasks of your own: a YAML file in tasks/ each.", no_args_is_help=True)
TableOption = Annotated[
    Path | None,
    typer.Option("--data", help="a table of records, as `hydra-ml data add` takes it"),
]


@task_app.command("new")
def task_new(
    name: Annotated[str, typer.Argument(help="letters, digits, - and _: support-replies")],
    data: TableOption = None,
    user: Annotated[str, typer.Option(help="the column that says whose a row is; else it is guessed")] = "",
    date: Annotated[str, typer.Option(help="the column with the day")] = "",
    input: Annotated[str, typer.Option(help="the column that says what was asked")] = "",
    answer: Annotated[str, typer.Option(help="the column that says what the user answered")] = "",
) -> None:
    """Write tasks/NAME.yaml to start from, filled in from a table's columns."""
    from hydra_ml.jobs.task_new import guess_columns, write_task

    given = {"user": user, "date": date, "input": input, "answer": answer}
    path = write_task(name, None if data is None else guess_columns(data, given))
    print(f"{path}\nNext: read it, then `hydra-ml task check {path}{f' --data {data}' if data else ''}`.")


@task_app.command("check")
def task_check(file: Path, data: TableOption = None) -> None:
    """All that is wrong with a task's file; with --data also what it makes of a table, and three prompts in full."""
    from hydra_ml.jobs.task_check import checked_task, facts_text, preview_text, previews, table_facts, task_text
    from hydra_ml.terminal import plain

    task = checked_task(file)
    print(task_text(task))
    if data is None:
        return
    facts = table_facts(task, data)
    print(plain(facts_text(facts, task)))
    for number, (asked, chat) in enumerate(previews(facts, task), start=1):
        print(plain(f"\nPrompt {number}, as the LLM gets it\n{preview_text(asked, chat)}"))
    if not facts.per_user:
        raise typer.Exit(1)


@task_app.command("schema")
def task_schema() -> None:
    """The JSON schema of a task's file, for editors."""
    from hydra_ml.tasks.definition import json_schema

    print(json.dumps(json_schema(), indent=1))
