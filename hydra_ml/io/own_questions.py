"""The records of a task's own table as `prepare` reads them: a user's newest are questions, the rest is history."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from hydra_ml.errors import DataError
from hydra_ml.io.lamp.files import Question
from hydra_ml.io.own_records import FILE, table_columns
from hydra_ml.io.parquet_rows import DAMAGE, first_line
from hydra_ml.learning.history import LampQuestion, read_record, strictly_earlier
from hydra_ml.learning.preparation import Asked
from hydra_ml.records import Record
from hydra_ml.tasks.task import Item, Task

SEEN = {"dev": ("train",), "test": ("train", "dev")}  # splits that lie before the evaluated one
REMEDY = "Add the table again with `hydra-ml data add`."


@dataclass(frozen=True)
class OwnQuestions:
    """A table's questions of one split, and what their users had written before."""

    path: Path
    task: Task
    split: str

    @classmethod
    def of(cls, raw: Path, task: Task, split: str) -> OwnQuestions | None:
        """Those of the folder; None if it holds LaMP's files, or nothing."""
        return cls(raw / FILE, task, split) if (raw / FILE).is_file() else None

    def user_ids(self) -> set[str]:
        """Everybody with a record that may be learned from."""
        return set(self._rows([("split", "in", SEEN[self.split])], ["user_id"])["user_id"])

    def asked(self) -> Asked:
        """Every question, as yet without what its user had written before."""
        rows = self._rows([("split", "=", self.split)])
        place = rows.groupby("user_id", sort=False).cumcount()
        questions: dict[str, list[Question]] = {}
        golds: dict[str, str] = {}
        for user_id, number, item in zip(rows["user_id"], place, self._items(rows), strict=True):
            question_id = f"{self.split}/{user_id}/{number}"
            question = Question(question_id, self.task.record_input(item), (), user_id, item["date"])
            questions.setdefault(user_id, []).append(question)
            golds[question_id] = self.task.record_answer(item)
        if odd := [gold for gold in golds.values() if self.task.labels and gold not in self.task.labels]:
            raise DataError(
                f"{self.path}: {len(odd)} of {len(golds)} answers are none of {self.task.name}'s labels now, the first "
                f"{odd[0][:60]!r}. Mend tasks/{self.task.folder}.yaml. {REMEDY}"
            )
        return Asked(True, {}, questions, golds)

    def with_profiles(self, asked: Asked, user_ids: Collection[str]) -> tuple[Asked, dict[str, list[Record]]]:
        """The questions of these users with all that they had written strictly before; and by user the records of the
        splits before, oldest first."""
        rows = self._rows([("user_id", "in", sorted(user_ids))])
        history: dict[str, list[Item]] = {}
        records: dict[str, list[Record]] = {}
        for user_id, split, item in zip(rows["user_id"], rows["split"], self._items(rows), strict=True):
            history.setdefault(user_id, []).append(item)
            if split in SEEN[self.split]:
                records.setdefault(user_id, []).append(read_record(self.task, user_id, item))
        questions: dict[str, Sequence[LampQuestion]] = dict(asked.evaluate)
        for user_id in history.keys() & questions.keys():
            questions[user_id] = [_with_profile(question, history[user_id], user_id) for question in questions[user_id]]
        return replace(asked, evaluate=questions), records

    def _rows(self, filters: list[Any], columns: list[str] | None = None) -> pd.DataFrame:
        """user_id, date, split and the task's item keys, each user's rows together and oldest first. Raises DataError
        if the file is damaged, or has other columns than the task reads."""
        wanted = columns or [*table_columns(self.task), "split"]
        try:
            missing = [name for name in wanted if name not in pq.read_schema(self.path).names]
            if missing:
                raise DataError(f"{self.path}: has no {', '.join(missing)}, which {self.task.name} reads now. {REMEDY}")
            rows: pd.DataFrame = pq.read_table(self.path, columns=wanted, filters=filters).to_pandas()
        except DAMAGE as error:
            raise DataError(f"{self.path}: cannot be read ({first_line(error)}). {REMEDY}") from error
        return rows.rename(columns=lambda name: name.removeprefix("item."))

    def _items(self, rows: pd.DataFrame) -> list[dict[str, str]]:
        return [
            {str(key): value for key, value in row.items()}
            for row in rows[["date", *self.task.item_keys]].to_dict("records")
        ]


def _with_profile(question: LampQuestion, items: list[Item], user_id: str) -> Question:
    earlier = tuple(dict(item) for item in items if strictly_earlier(item["date"], question.date))
    return Question(question.question_id, question.input, earlier, user_id, question.date)
