"""What is taken from a folder of LaMP files that somebody brought: its splits, and what was assumed or left out.

Bad records are left out up to a share; a folder with one answered split is divided; users without dates get them by
place. Where nothing of this was needed, the files are taken as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path

from hydra_ml.errors import DataError
from hydra_ml.io.lamp.checks import Leave
from hydra_ml.io.lamp.files import Question, is_dated, read_split
from hydra_ml.io.lamp.folders import SPLITS, files_of
from hydra_ml.learning.history import draw
from hydra_ml.tasks.task import Task

FIRST_DAY = date(1, 1, 1)  # of the first item of a user whose items have no dates: no real date is as early
EVALUATED = 3  # one in so many is evaluated, where there is only one split

Split = tuple[list[Question], Mapping[str, str] | None]  # questions, and golds if there are any


@dataclass(frozen=True)
class Contents:
    """A task folder, read."""

    splits: Mapping[str, Split]
    notes: Sequence[str]  # what was assumed or left out; none: the files are as `read_split` wants them


def read_contents(path: Path, task: Task, *, seed: int, max_bad_share: float) -> Contents:
    """The splits of a task folder. seed: who learns and who is evaluated, where the folder has one split only.

    Raises DataError with the faults of all its files.
    """
    leave, splits, faults = Leave(max_bad_share), dict[str, Split](), []
    for split in _splits_of(path):
        try:
            questions, golds = read_split(path, split, task, need_golds=split != "test", leave=leave)
            splits[split] = questions, golds if files_of(path, split)["outputs"].exists() else None
        except DataError as error:
            faults.append(str(error))
    if faults:
        raise DataError("\n".join(faults))
    _check_family(path, splits, leave)
    if leave.undated:
        splits = _dated_by_place(splits, task)
        leave.notes.append(
            f"users but no dates: each user's items are in the order given, dated {FIRST_DAY} the first, a day apart"
        )
    given = [split for split in ("train", "dev") if split in splits]
    if len(given) == 1:
        splits = {**splits, **_divided(path, splits[given[0]], given[0], seed, leave)}
    return Contents(splits, leave.notes)


def _splits_of(path: Path) -> list[str]:
    """The splits whose questions are there; train and dev if neither is, to be missed by name."""
    found = [split for split in SPLITS if files_of(path, split)["questions"].exists()]
    return found if {"train", "dev"} & {*found} else ["train", "dev", *found]


def _check_family(path: Path, splits: Mapping[str, Split], leave: Leave) -> None:
    kinds = {split: is_dated(questions) for split, (questions, _) in splits.items()}
    if len(set(kinds.values())) > 1:
        told = ", ".join(f"{split} is {'time' if dated else 'user'}-based" for split, dated in kinds.items())
        raise DataError(f"{path}: {told}. Take all splits from one of LaMP's two families.")
    if leave.undated and len(leave.undated) < len(splits):
        names = ", ".join(file.name for file in leave.undated)
        raise DataError(f"{path}: {names}: no item has a date, those of other splits have. Date all of them or none.")


def _dated_by_place(splits: Mapping[str, Split], task: Task) -> dict[str, Split]:
    """Every item with a date by its place in its user's order: as given, over the splits and questions, each once.

    So what comes earlier in a profile is strictly earlier; an item that several questions share has one date.
    """
    places: dict[str | None, dict[tuple[str, ...], int]] = {}
    dated: dict[str, Split] = {}
    for split, (questions, golds) in splits.items():
        kept = []
        for question in questions:
            own = places.setdefault(question.user_id, {})
            profile = []
            for item in question.profile:
                place = own.setdefault(tuple(item[key] for key in task.item_keys), len(own))
                profile.append({**item, "date": (FIRST_DAY + timedelta(days=place)).isoformat()})
            kept.append(replace(question, profile=tuple(profile)))
        dated[split] = kept, golds
    return dated


def _divided(path: Path, split: Split, name: str, seed: int, leave: Leave) -> dict[str, Split]:
    """Train and dev of one split: a third of its users, or of its questions where it names none, is evaluated."""
    questions, golds = split
    whose = {question.question_id: question.user_id or question.question_id for question in questions}
    everybody = set(whose.values())
    what = "users" if is_dated(questions) else "questions"
    if len(everybody) < 2:
        raise DataError(f"{path}: only {name} is there, of {len(everybody)} {what}: too few to learn and to evaluate.")
    evaluated = {*draw(everybody, max(1, len(everybody) // EVALUATED), seed=seed, purpose="split")}
    leave.notes.append(
        f"only {name} is there: of its {len(everybody)} {what}, {len(evaluated)} drawn by seed {seed} are evaluated "
        "(dev), the others learned from (train)"
    )
    parts: dict[str, Split] = {}
    for part, is_dev in (("train", False), ("dev", True)):
        chosen = [q for q in questions if (whose[q.question_id] in evaluated) == is_dev]
        parts[part] = chosen, {q.question_id: (golds or {})[q.question_id] for q in chosen}
    return parts
