"""The `hydra-ml` command. Every verb imports what it needs when it runs, so that `--help` is quick.

Answers go to stdout, progress and problems to stderr; exit code 0 well, 1 failed, 2 wrong options or params.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from hydra_ml.cli.data import RAW, data_app, ingest_app
from hydra_ml.cli.feedback import feedback_app
from hydra_ml.cli.forget import forget_app
from hydra_ml.cli.operate import operate_app
from hydra_ml.cli.options import CACHE, DATA, PARAMS, ParamsOption, tasks_meant
from hydra_ml.cli.releases import releases_app
from hydra_ml.cli.tasks import task_app
from hydra_ml.errors import HydraError, exit_of
from hydra_ml.io.private_files import close_to_others, closed_text, work_privately

app = typer.Typer(
    help="Personalize a black-box LLM: a shared base plus one small head per user.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
llm_app = typer.Typer(help="The black-box LLM.", no_args_is_help=True)
app.add_typer(data_app, name="data")
app.add_typer(llm_app, name="llm")
app.add_typer(task_app, name="task")
for verbs in (ingest_app, feedback_app, releases_app, operate_app, forget_app):  # without a name: their verbs are ours
    app.add_typer(verbs)


@app.command()
def run(
    data: Annotated[
        Path | None,
        typer.Option(help="folder of LaMP_n/{train,dev,test}, or with --task a table; default: bundled sample"),
    ] = None,
    task: Annotated[
        str | None, typer.Option("--task", help="a task of your own, of tasks/; without --data: as its data lies there")
    ] = None,
    params: ParamsOption = PARAMS,
    llm: Annotated[
        str | None,
        typer.Option(
            help="a model on this machine, in a small profile: local (SmolLM2-135M), gemma3-270m, a .gguf file"
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="print what the LLM would be asked, with prices in money; buy nothing")
    ] = False,
) -> None:
    """Bring the data in, run the whole pipeline through `dvc repro`, and print the results."""
    if llm is None:
        _run(data, task, params, dry_run)
        return
    from hydra_ml.evaluation.methods import chosen_methods
    from hydra_ml.io.local_llm import SMOLLM2, local_llm
    from hydra_ml.io.params_file import set_params

    with local_llm(SMOLLM2 if llm == "local" else llm, Path(".logs/local_llm.log")) as server:
        print(f"{server.weights.name} answers at {server.address}; its log: {server.log}", file=sys.stderr)
        os.environ |= server.variables()
        if server.weights.terms:
            print(server.weights.terms, file=sys.stderr)
        if before := set_params(params, server.weights.settings(method.name for method in chosen_methods(None))):
            told = ", ".join(f"{key} (was {value})" for key, value in before.items())
            print(f"{params} is now sized for a model on this machine: {told}", file=sys.stderr)
        _run(data, task, params, dry_run)


def _run(data: Path | None, own: str | None, params: Path, dry_run: bool) -> None:
    """The run itself, with the LLM that the environment names."""
    from datetime import UTC, datetime

    from hydra_ml.io.dvc import work_without_git
    from hydra_ml.io.dvc_repro import repro_all
    from hydra_ml.io.layout import REPORT, task_folder
    from hydra_ml.io.llm_environment import asked_model, check_server, in_night, named_model
    from hydra_ml.io.params_file import load_params, set_params
    from hydra_ml.io.task_files import get_task

    if closed := closed_text(close_to_others(Path())):
        print(closed, file=sys.stderr)
    if work_without_git():
        print(_NO_GIT, file=sys.stderr)
    named = named_model()
    if named and (before := set_params(params, {"llm.model": named})):
        print(f"{params}: llm.model is now {named}, as OPENAI_MODEL says (was {before['llm.model']})", file=sys.stderr)
    settings = load_params(params).llm
    if not dry_run:
        check_server(settings)
    print(f"The LLM is {asked_model(settings)}.", file=sys.stderr)
    tasks = _bring(data, own, params)
    if dry_run:
        _print_costs(params)
        return
    print(f"Tasks: {', '.join(tasks)}. Running the pipeline of dvc.yaml.", file=sys.stderr)
    with in_night(f"run {datetime.now(UTC).isoformat()}"):
        repro_all()
    arena(params=params)
    reports = ", ".join(str(task_folder(Path("data"), "arena", get_task(task)) / REPORT) for task in tasks)
    print(_WHERE_NEXT.format(task=tasks[0], reports=reports), file=sys.stderr)


def _bring(data: Path | None, own: str | None, params: Path) -> list[str]:
    """Make the sample, a folder of LaMP files, or an own task's table or what lies there of it, the pipeline's data;
    the tasks that run."""
    from hydra_ml.io.lamp.raw_data import assumed_text, use_folder, use_sample, use_table, use_task
    from hydra_ml.io.params_file import load_params
    from hydra_ml.io.task_files import get_task

    if own is None and data is None:
        return [*use_sample(RAW, params)]
    if own is None and data is not None:
        brought = use_folder(data, RAW, params)
        print(assumed_text(brought), end="", file=sys.stderr)
        return [*brought]
    task = get_task(own or "")
    if data is None:
        use_task(task, RAW, params)
    else:
        print(use_table(data, task, RAW, params).text(task), file=sys.stderr)
    return load_params(params).tasks


def _print_costs(params: Path) -> None:
    """What the run would ask of the LLM, after the stages that ask nothing of it."""
    from hydra_ml.io.dvc_repro import repro_all
    from hydra_ml.io.params_file import load_params
    from hydra_ml.jobs import dry_run

    print(f"Running the stages up to {dry_run.BEFORE}, which ask nothing of the LLM.", file=sys.stderr)
    repro_all(upto=f"{dry_run.BEFORE}@*")
    settings = load_params(params)
    costs = dry_run.dry_run(settings, data=Path("data"), cache=CACHE)
    print(dry_run.costs_table(costs, settings.llm))


_NO_GIT = """\
No git repository here: DVC works without one (core.no_scm in .dvc/config.local). The pipeline and its results are the
same; releases name no commit, and `dvc exp` and `dvc metrics diff` need `git init` and a first commit."""

_WHERE_NEXT = """\
Where to look next
  plots        data/evaluate/{task}/plots/methods.png, history.png (or `dvc plots show`)
  predictions  data/evaluate/{task}/predictions.parquet, every method and query
  the results  {reports}, each a page to open in a browser
  figures      data/evaluate/{task}/metrics.json, details.json (headline: `dvc metrics show`)
  try a change dvc exp run -S generate.n_samples=32   then   dvc exp show
  your data    make run DATA=<folder with LaMP_n/train, dev, test>, or a table: docs/own_task.md"""


@app.command()
def arena(
    task: Annotated[
        str | None, typer.Option("--task", help="run what is lacking for this one; without: all, as they lie")
    ] = None,
    methods: Annotated[
        str | None, typer.Option(help="a,b,..: these alone, this once; all; default: params.yaml's")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="folder of LaMP_n/{train,dev,test}; default: what lies there")
    ] = None,
    samples: Annotated[
        int | None, typer.Option(help="repeat on so many samples of users, by as many seeds; tells what holds in each")
    ] = None,
    params: ParamsOption = PARAMS,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="print what the LLM would be asked, with prices in money; buy nothing")
    ] = False,
) -> None:
    """Methods side by side: print the last results of every task, or bring those of one task up to date."""
    from hydra_ml.errors import ParamsError

    if task is None and (methods or data or dry_run or samples is not None):
        raise ParamsError("--methods, --data, --samples and --dry-run are for one task. Say which with --task.")
    from hydra_ml.io.task_files import get_task
    from hydra_ml.jobs import arena as job

    if task is None:
        for known in tasks_meant(params, None):
            print(f"{job.shown_results(known, DATA)}\n")
        return
    if dry_run and samples is not None:
        raise ParamsError("--dry-run tells the price of one sample of users: leave --samples out, and multiply.")
    meant = get_task(task)
    named = job.named_methods(methods, meant) if methods else None
    if dry_run:
        print(job.price_of_arena(meant, named, folder=data, params=params, data=DATA, cache=CACHE))
    elif samples is not None:
        print(job.run_samples(meant, named, samples, folder=data, params=params, data=DATA))
    else:
        print(job.run_arena(meant, named, folder=data, params=params, data=DATA, cache=CACHE))


@app.command()
def methods() -> None:
    """The methods of the arena: what answers, and under which prompts the LLM is asked for it."""
    from hydra_ml.evaluation.methods import all_methods
    from hydra_ml.terminal import aligned

    rows = [["method", "what answers", "prompts", "paper"]]
    for method in all_methods().values():
        if not (method.paper and method.family == "control"):  # a rival brings its control along
            prompts = ", ".join(arm.name for arm in method.arms) or "-"
            rows.append([method.name, method.told, prompts, method.paper])
    print(aligned(rows))
    print("\nMethods of other papers run where they are named: hydra-ml arena --task T --methods all")


@app.command()
def params(file: Annotated[Path, typer.Argument(help="settings file to check and complete")] = PARAMS) -> None:
    """Check a settings file, and print every key with the value that will be used."""
    from ruamel.yaml import YAML

    from hydra_ml.io.params_file import load_params

    YAML(typ="rt").dump(load_params(file).model_dump(by_alias=True), sys.stdout)


@llm_app.command("local")
def llm_local(
    model: Annotated[str, typer.Option(help="smollm2, gemma3-270m, or the path of a .gguf file")] = "smollm2",
    port: int = 8322,
) -> None:
    """Serve a real language model on this machine until interrupted (extra local-llm)."""
    from hydra_ml.io.local_llm import local_llm

    with local_llm(model, Path(".logs/local_llm.log"), port=port) as server:
        exports = " ".join(f"{name}={value}" for name, value in server.variables().items())
        print(*filter(None, (server.weights.terms, f"export {exports}")), sep="\n", file=sys.stderr)
        server.join()


@llm_app.command("serve")
def llm_serve(host: str = "127.0.0.1", port: int = 8321, params: ParamsOption = PARAMS) -> None:
    """Serve the offline model as an OpenAI-compatible server."""
    from hydra_ml.io.encoders import open_encoder
    from hydra_ml.io.llm import serve
    from hydra_ml.io.params_file import load_params

    print(f"http://{host}:{port}/v1", file=sys.stderr)
    serve(host, port, open_encoder(load_params(params).encoder, CACHE, progress="").encode)


def main(argv: list[str] | None = None) -> Any:
    """Run the command; one message and the right exit code for every error that is the caller's to mend."""
    work_privately()
    try:
        app(args=argv)
    except (HydraError, OSError, KeyboardInterrupt) as error:
        message, code = exit_of(error)
        print(f"hydra-ml: {message}", file=sys.stderr)
        sys.exit(code)
