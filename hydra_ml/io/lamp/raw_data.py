"""What stands in data/raw and which tasks params.yaml names: the bundled sample, or a folder of LaMP files.

`data/raw/source.json` remembers where the files came from, so that going back to the sample also brings its tasks back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from hydra_ml.errors import DataError
from hydra_ml.io.files import load_json, save_json
from hydra_ml.io.forgotten import leave_out
from hydra_ml.io.lamp.add import add
from hydra_ml.io.lamp.files import outputs_path
from hydra_ml.io.lamp.sample_files import write_sample
from hydra_ml.io.layout import make_growing
from hydra_ml.io.own_records import Added, add_table
from hydra_ml.io.params_file import load_params, set_params
from hydra_ml.tasks.task import Task

_SPLIT = "evaluate_split_of_sample"  # in source.json: what stood in params.yaml before data without test answers came


def use_sample(raw: Path, params_path: Path) -> Sequence[str]:
    """Put the bundled sample into `raw` for the tasks of params.yaml; returns them. Unchanged files are left alone."""
    source = raw / "source.json"
    before = load_json(source) if source.exists() else {"source": "sample"}
    if before["source"] != "sample":
        split = {key: before[_SPLIT] for key in ("prepare.evaluate_split",) if _SPLIT in before}
        set_params(params_path, {"tasks": before["tasks_of_sample"], **split})
    params = load_params(params_path)
    write_sample(raw, params.tasks, truth=raw.parent / "sample_truth", seed=params.seed)
    if before["source"] != "sample" or not source.exists():
        save_json({"source": "sample"}, source)
    _open_folders(raw, params.tasks)
    return params.tasks


def is_sample(raw: Path) -> bool:
    """Whether the data in `raw` is the bundled sample, or will be: nothing was put there yet."""
    source = raw / "source.json"
    if source.exists():
        return bool(load_json(source)["source"] == "sample")
    return not any(not path.name.startswith(".") for path in raw.glob("*"))


def bring_data(raw: Path, params_path: Path, tasks: Sequence[str]) -> bool:
    """Whether the bundled sample was put into `raw`, because nothing ever was there: what a fresh clone starts from.

    Raises DataError with the remedy if there is data, but none of one of `tasks`.
    """
    missing = [task for task in tasks if not (raw / task).is_dir()]
    if not missing:
        return False
    known = sorted(path.name for path in raw.glob("*") if not path.name.startswith("."))  # .dvc files too
    if not known:
        use_sample(raw, params_path)
        missing = [task for task in tasks if not (raw / task).is_dir()]
        known = sorted(path.name for path in raw.glob("LaMP_*"))
    if missing:
        raise DataError(
            f"{raw}: no data of {', '.join(missing)}; there is {', '.join(known) or 'nothing'}. Run `make run` for the "
            "bundled sample, `hydra-ml data add FOLDER` for your own, or `dvc pull` for what this clone's .dvc files "
            "name; or take the task out of `tasks` in params.yaml."
        )
    return True


def use_folder(folder: Path, raw: Path, params_path: Path) -> dict[str, list[str]]:
    """Check the LaMP files of `folder`, put them into `raw`, and name their tasks in params.yaml, which
    evaluates on dev from then on if one of them has no test answers.

    Returns the tasks, and of each what was assumed or left out; source.json keeps it too.
    """
    source = raw / "source.json"
    before = load_json(source) if source.exists() else {"source": "sample"}
    params = load_params(params_path)
    tasks = add(folder, raw, seed=params.seed, max_bad_share=params.ingest.max_bad_share)
    split = before.get(_SPLIT, params.prepare.evaluate_split)
    kept = {"tasks_of_sample": before.get("tasks_of_sample", params.tasks)}
    if split == "test" and (lacking := [task for task in tasks if not outputs_path(raw / task, "test").exists()]):
        for task in lacking:
            tasks[task].append(f"no test answers: `prepare.evaluate_split` is dev in {params_path} from now on")
        kept[_SPLIT], split = split, "dev"
    save_json({"source": str(folder), **kept, "assumed": tasks}, source)
    set_params(params_path, {"tasks": [*tasks], "prepare.evaluate_split": split})
    _open_folders(raw, tasks)
    return tasks


def use_table(
    table: Path, task: Task, raw: Path, params_path: Path, *, shares: tuple[float, float] = (0.1, 0.1)
) -> Added:
    """Put a table of records into `raw` as a task's data and name the task in params.yaml, beside those whose data is
    somebody's own; what became of its rows. Raises as `own_records.add_table`."""
    source = raw / "source.json"
    before = load_json(source) if source.exists() else {"source": "sample"}
    settings = load_params(params_path)
    longest = min(settings.ingest.max_text_chars, settings.validate_.max_text_chars)  # else `validate` would stop at it
    share = settings.ingest.max_bad_share
    added = add_table(table, raw / task.folder, task, shares=shares, max_bad_share=share, max_text_chars=longest)
    kept = [] if before["source"] == "sample" else [name for name in settings.tasks if (raw / name).is_dir()]
    save_json({"source": str(table), "tasks_of_sample": before.get("tasks_of_sample", settings.tasks)}, source)
    set_params(params_path, {"tasks": [*kept, *({task.folder} - set(kept))]})
    _open_folders(raw, [task.folder])
    return added


def use_task(task: Task, raw: Path, params_path: Path) -> None:
    """Name a task in params.yaml whose data lies in `raw` already. Raises DataError if it does not."""
    if not (raw / task.folder).is_dir():
        raise DataError(
            f"{raw}: no data of {task.name}. Name its table with --data, or add it with `hydra-ml data add TABLE "
            f"--task {task.name}`."
        )
    tasks, source = load_params(params_path).tasks, raw / "source.json"
    if is_sample(raw):
        save_json({"source": str(raw / task.folder), "tasks_of_sample": tasks}, source)
        set_params(params_path, {"tasks": [task.folder]})
    elif task.folder not in tasks:
        set_params(params_path, {"tasks": [*tasks, task.folder]})


def assumed_text(tasks: Mapping[str, Sequence[str]]) -> str:
    """What was assumed or left out of each task's files, a line each; "" if nothing was."""
    return "".join(f"{task}: {note}\n" for task, notes in tasks.items() for note in notes)


def _open_folders(raw: Path, tasks: Iterable[str]) -> None:
    """Make the folders that jobs add to; whoever was forgotten goes out of what was brought."""
    for folder in tasks:
        make_growing(raw.parent, folder)
        leave_out(raw / folder, raw.parent)
