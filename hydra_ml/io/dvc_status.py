"""Whether DVC would run a stage."""

from __future__ import annotations

from pathlib import Path

from hydra_ml.errors import VersionsError
from hydra_ml.tasks.task import Task


def is_up_to_date(stage: str, task: Task, root: Path = Path()) -> bool:
    """Whether `dvc repro` would run neither the stage nor any before it. Raises VersionsError if dvc.yaml is broken."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo(str(root)) as repo:
            return not repo.status(targets=[f"{stage}@{task.folder}"], with_deps=True)
    except DvcException as error:
        raise VersionsError(f"{root / 'dvc.yaml'}: {error}. Mend the file; `dvc dag` shows what DVC reads.") from error
