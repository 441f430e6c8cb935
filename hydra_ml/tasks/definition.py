"""What a task's YAML may say, and the Task that it stands for. One form for LaMP's tasks and for anybody's own.

Reading files, and which lines a problem stands on, is `io.task_files`'s work.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hydra_ml.errors import ParamsError
from hydra_ml.tasks.answers import spelling
from hydra_ml.tasks.field_task import FieldTask
from hydra_ml.tasks.task import Demos, Kind, Read, Task

INPUT = "{input}"  # where the question's text stands in the instruction
MEASURES: dict[Kind, tuple[str, ...]] = {  # of LaMP, the first is what is optimised and gated
    "label": ("accuracy", "f1"),
    "choice": ("accuracy", "f1"),
    "rating": ("mae", "rmse"),
    "text": ("rouge_1", "rouge_l"),
}
MOST_GRADES = 21  # of a scale
KEPT_NAMES = ("user_id", "date")  # of every row, whatever its table calls them
Place = tuple[str | int, ...]  # keys down to a value
Column = Annotated[str, Field(min_length=1)]
ImportPath = Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Columns(_Part):
    """Which column of a table, or field of a row, holds what."""

    user: Column = Field("user_id", description="whose record it is")
    date: Column | None = Field(None, description="the day; left out: a user's rows stand in order, oldest first")
    input: Column = Field(description="what was asked: the text that stands in the instruction")
    answer: Column | None = Field(None, description="what the user answered, chose or wrote")
    text: list[Column] = Field([], description="what retrieval reads of a record, joined; left out: the input")


class TaskDefinition(_Part):
    """A task, as its YAML file says it."""

    name: str = Field(
        pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,39}$",
        description="as the file is named; folders and MLflow's models are named after it",
    )
    kind: Kind = Field(description="label: one of a closed list; rating: whole numbers; text: free; choice: own logic")
    instruction: str = Field(description="what the LLM is told, in any language; {input} stands where the text goes")
    columns: Columns
    labels: list[Annotated[str, Field(min_length=1)]] = Field([], description="the closed list, of kind label")
    synonyms: dict[str, list[str]] = Field({}, description="other spellings of a label, in answers and in tables")
    scale: Annotated[list[int], Field(min_length=2, max_length=2)] | None = Field(
        None, description="lowest and highest number, of kind rating"
    )
    read: Read = Field("first_line", description="how much of an LLM's text is the answer, of kind text")
    measures: list[str] = Field([], description="the first decides; own ones as package.module:function")
    max_tokens: Annotated[int, Field(ge=1, le=131_072)] | None = Field(None, description="of an answer")
    system: str = Field("", description="a system turn before every chat")
    demos: Demos = Field("turns", description="records as earlier turns of the chat, or all in one block of text")
    marker: str = Field("", description="questions come written out: the text is what follows its first occurrence")
    python: ImportPath | Literal[""] = Field("", description="a Task class of your own, package.module:Class")

    @property
    def folder(self) -> str:
        """How folders and stages spell the name."""
        return self.name.replace("-", "_")

    def problems(self) -> list[tuple[Place, str]]:
        """What does not fit together, each with its place; [] if all does."""
        found: list[tuple[Place, str]] = []
        if self.instruction.count(INPUT) != 1:
            where = "does not hold" if INPUT not in self.instruction else "holds more than once"
            found.append((("instruction",), f"{where} {INPUT}, the place where the text goes"))
        found += self._column_problems()
        if self.kind == "choice" and not self.python:
            found.append((("kind",), "choice is for tasks with a class of their own: say python"))
        if self.marker and self.marker not in self.instruction:
            found.append((("marker",), f"{self.marker!r} does not stand in the instruction"))
        found += self._label_problems() if self.kind == "label" else self._closed_elsewhere()
        if self.kind == "rating":
            low, high = self.scale or (0, 0)
            if not 0 < high - low < MOST_GRADES:
                told = f"of kind rating is [lowest, highest], whole numbers, at most {MOST_GRADES} of them"
                found.append((("scale",), f"{told} (found {self.scale})"))
        for place, name in enumerate(self.measures):
            if ":" not in name and name not in MEASURES[self.kind]:
                allowed = ", ".join(MEASURES[self.kind])
                found.append(
                    (("measures", place), f"is {name!r}; of kind {self.kind} are {allowed}, or module:function")
                )
        return found

    def _column_problems(self) -> list[tuple[Place, str]]:
        columns, found = self.columns, list[tuple[Place, str]]()
        if columns.answer is None and not self.python:
            found.append((("columns",), "names no answer column"))
        if columns.answer == columns.input and not self.python:
            found.append((("columns", "answer"), f"is the input, {columns.input!r}: every question would tell it"))
        read = [("input", columns.input), ("answer", columns.answer), *(("text", name) for name in columns.text)]
        for place, name in read:
            if name in KEPT_NAMES:
                found.append((("columns", place), f"is {name!r}, which is kept for user and date: rename the column"))
        if columns.user == columns.date:
            found.append((("columns", "date"), f"is the user's column, {columns.user!r}"))
        return found

    def _label_problems(self) -> list[tuple[Place, str]]:
        found: list[tuple[Place, str]] = []
        if len(self.labels) < 2:
            found.append((("labels",), f"needs two labels at least (found {len(self.labels)})"))
        owner: dict[str, str] = {}
        for place, label in enumerate(self.labels):
            if owner.setdefault(spelling(label), label) != label or label in self.labels[:place]:
                found.append(
                    (
                        ("labels", place),
                        f"{label!r} is there already: case, blanks and accents' forms tell no labels apart",
                    )
                )
        for label, names in self.synonyms.items():
            if label not in self.labels:
                found.append((("synonyms", label), "is none of the labels"))
            for name in names:
                if owner.setdefault(spelling(name), label) != label:
                    told = f"{name!r} stands for {owner[spelling(name)]!r} already"
                    found.append((("synonyms", label), told))
        return found

    def _closed_elsewhere(self) -> list[tuple[Place, str]]:
        given: list[tuple[str, object]] = [("labels", self.labels and not self.python), ("synonyms", self.synonyms)]
        given += [] if self.kind == "rating" else [("scale", self.scale)]
        return [((name,), f"is not for kind {self.kind}") for name, value in given if value]

    def task(self) -> Task:
        """The task. Raises ParamsError if its Python class cannot be had."""
        before, after = self.instruction.split(INPUT)
        text = self.columns.text or [self.columns.input]
        keys = dict.fromkeys([*text, self.columns.input, *filter(None, [self.columns.answer])])
        labels = [str(grade) for grade in range(self.scale[0], self.scale[1] + 1)] if self.scale else self.labels
        return self._class()(
            name=self.name,
            folder=self.folder,
            kind=self.kind,
            instruction=before,
            after=after,
            marker=self.marker,
            item_keys=tuple(keys),
            measures=tuple(self.measures or MEASURES[self.kind]),
            labels=tuple(labels),
            synonyms=tuple((name, label) for label, names in self.synonyms.items() for name in names),
            user_key=self.columns.user,
            date_key=self.columns.date,
            document_keys=tuple(text),
            input_key=self.columns.input,
            answer_key=self.columns.answer or "",
            read=self.read,
            system=self.system,
            demos=self.demos,
            most_tokens=self.max_tokens,
            definition=self.model_dump_json(exclude_defaults=True),
        )

    def _class(self) -> type[FieldTask]:
        if not self.python:
            return FieldTask
        module, _, name = self.python.partition(":")
        try:
            found: object = getattr(importlib.import_module(module), name)
        except Exception as error:  # whatever the module raises: it is not ours
            told = f"{type(error).__name__}: {error}"
            raise ParamsError(f"task {self.name}: python: {self.python} cannot be imported ({told}).") from error
        if not (isinstance(found, type) and issubclass(found, FieldTask)):
            raise ParamsError(f"task {self.name}: python: {self.python} is no subclass of hydra_ml.tasks.FieldTask.")
        return found


def parse_definition(document: Any) -> tuple[TaskDefinition | None, list[tuple[Place, str]]]:
    """The definition in a mapping as YAML gives it, or None, and all problems: place and what is wrong there."""
    if not isinstance(document, Mapping):
        return None, [((), "is no mapping of keys; `hydra-ml task new` writes one to start from")]
    try:
        definition = TaskDefinition.model_validate(dict(document))
    except ValidationError as error:
        return None, [(tuple(problem["loc"]), f"{problem['msg']}" + _found(problem)) for problem in error.errors()]
    return definition, definition.problems()


def _found(problem: Any) -> str:
    shown = repr(problem["input"])
    return "" if problem["type"] == "missing" else f" (found {shown if len(shown) <= 60 else shown[:57] + '...'})"


def task_from_json(content: str) -> Task:
    """The task of a definition that was kept as JSON: `Task.definition`. Raises ParamsError."""
    return TaskDefinition.model_validate_json(content).task()


def json_schema() -> dict[str, Any]:
    """The JSON schema of a task's YAML."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **TaskDefinition.model_json_schema()}
