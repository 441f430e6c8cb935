"""A whole `dvc repro` in this process, task by task, for whoever watches it in a terminal."""

from __future__ import annotations

import logging
import os
import random
import time
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

from hydra_ml.errors import INTERRUPTED, VersionsError
from hydra_ml.io.dvc import BUSY, BUSY_REMEDY, BUSY_WAIT_S, search_path, work_without_git

MEND = (
    "If a stage failed, its own message stands above. Mend what it names and run the same command again: finished "
    "stages are not run again."
)

log = logging.getLogger(__name__)


def repro_all(root: Path = Path(), *, upto: str = "*", wait_s: float = BUSY_WAIT_S) -> None:
    """Bring every stage of every task (upto: those before these, as a glob, and these) up to date: what stages say goes
    straight to the terminal.

    One task that fails does not stop the others. Waits for other DVC processes. Raises VersionsError with what stopped
    each and the remedy, KeyboardInterrupt if a stage was interrupted; stages that finished stay finished.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    work_without_git(root)
    os.environ["PATH"] = search_path()
    of_task: dict[str, list[str]] = {}
    try:
        with Repo(str(root)) as repo:
            for stage in repo.index.stages:
                name = getattr(stage, "name", None) or ""  # what is only tracked has none
                if fnmatch(name, upto):
                    of_task.setdefault(name.partition("@")[2], []).append(stage.addressing)
    except DvcException as error:
        raise VersionsError(f"{told_by(error)}\n{MEND}") from error
    failures = [told for stages in of_task.values() if (told := _repro(root, stages, wait_s))]
    if failures:
        raise VersionsError("\n".join([*failures, MEND]))


def _repro(root: Path, stages: Sequence[str], wait_s: float) -> str:
    """Why bringing these up to date failed; "" if it did not. Raises VersionsError if DVC stays busy."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    deadline = time.monotonic() + wait_s
    while True:
        try:
            with Repo(str(root)) as repo:
                repo.reproduce(list(stages))
            return ""
        except DvcException as error:
            told = told_by(error)
        if told.endswith(f"exited with {INTERRUPTED}"):
            raise KeyboardInterrupt
        if not any(sign in told for sign in BUSY):
            return told
        if time.monotonic() > deadline:
            raise VersionsError(f"{told}\n{BUSY_REMEDY.format(wait_s=wait_s)}")
        log.warning("Another DVC process is at work here; waiting for it to end. %s", told)
        time.sleep(random.uniform(1.0, 3.0))


def told_by(error: BaseException) -> str:
    """The messages of an error and of what caused it, as `dvc` itself prints them."""
    said = str(error).strip() or type(error).__name__
    cause = said if error.__cause__ is None else told_by(error.__cause__)
    return said if cause == said else f"{said}: {cause}"
