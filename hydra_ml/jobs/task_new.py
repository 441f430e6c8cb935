"""Writes a task's YAML to start from: what can be told from a table's columns is filled in, the rest is explained."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from hydra_ml.errors import DataError, ParamsError
from hydra_ml.io.files import atomic_path
from hydra_ml.io.record_reader import Fault, is_missing, read_date
from hydra_ml.io.row_files import read_rows
from hydra_ml.io.task_files import FOLDER
from hydra_ml.tasks import as_folder
from hydra_ml.tasks.answers import spelling
from hydra_ml.tasks.definition import parse_definition

LOOKED_AT = 5_000  # rows
MOST_LABELS = 40  # distinct answers of a closed list
_USER = re.compile(r"user|author|agent|customer|client|member|account|employee|person|who", re.IGNORECASE)
_DATE = re.compile(r"date|time|day|_at$|when|stamp", re.IGNORECASE)
_ANSWER = re.compile(
    r"answer|label|choice|chosen|macro|reply|response|output|target|rating|score|stars|tag|category|title",
    re.IGNORECASE,
)
_NO_TEXT = {"yes", "no", "true", "false", "null", "on", "off", "y", "n"}  # as YAML reads them


@dataclass(frozen=True)
class Guess:
    """What each column seems to be; "" where none is."""

    user: str
    date: str
    input: str
    answer: str
    kind: str
    answers: Sequence[str]  # the closed list, or the ends of the scale


def guess_columns(table: Path, given: Mapping[str, str]) -> Guess:
    """What the columns of a table seem to be, by their names and first rows; `given` names (user, date, input, answer)
    are taken as they are. Raises DataError if the table cannot be read or has no such column."""
    rows = [row.value for row in islice(read_rows(table), LOOKED_AT) if isinstance(row.value, dict)]
    columns = list(dict.fromkeys(str(name) for row in rows for name in row))
    if not columns:
        raise DataError(f"{table}: holds no row with columns.")
    for role, name in given.items():
        if name and name not in columns:
            raise DataError(f"{table}: --{role} {name}: no such column; there are {', '.join(columns)}.")
    free = [name for name in columns if name not in given.values()]
    user = given.get("user") or _first(free, _USER) or free[0]
    free = [name for name in free if name != user]
    dated = [name for name in free if _is_dated(rows, name)]
    date = given.get("date") or _first(dated, _DATE) or next((name for name in dated if _is_day(rows[0].get(name))), "")
    free = [name for name in free if name != date]
    length = {name: _mean_length(rows, name) for name in free}
    answer = given.get("answer") or _first(free, _ANSWER) or min(free, key=lambda name: length[name], default="")
    free = [name for name in free if name != answer]
    input = given.get("input") or max(free, key=lambda name: length[name], default="")
    if not (input and answer):
        raise DataError(
            f"{table}: of its columns {', '.join(columns)} none is left for what was asked, or for the answer. Name "
            "them with --input and --answer."
        )
    kind, answers = _kind(rows, answer)
    return Guess(user, date, input, answer, kind, answers)


def _first(names: Sequence[str], pattern: re.Pattern[str]) -> str:
    return next((name for name in names if pattern.search(name)), "")


def _is_dated(rows: Sequence[Mapping[str, Any]], name: str) -> bool:
    found = [row[name] for row in rows[:100] if not is_missing(row.get(name))]
    try:
        return bool([read_date({"date": value}) for value in found])
    except Fault:
        return False


def _is_day(value: Any) -> bool:
    return not isinstance(value, str | int | float) or bool(re.match(r"\d{4}-\d\d-\d\d", str(value)))


def _mean_length(rows: Sequence[Mapping[str, Any]], name: str) -> float:
    texts = [len(row[name]) for row in rows if isinstance(row.get(name), str)]
    return sum(texts) / len(texts) if texts else 0.0


def _kind(rows: Sequence[Mapping[str, Any]], name: str) -> tuple[str, list[str]]:
    """label, rating or text; and the answers, most frequent first, or the ends of the scale."""
    found = Counter(str(row[name]).strip() for row in rows if not is_missing(row.get(name)))
    numbers = [float(text) for text in found if re.fullmatch(r"-?\d+(?:\.0+)?", text)]
    if found and len(numbers) == len(found) and 1 < max(numbers) - min(numbers) + 1 <= 21:
        return "rating", [str(int(min(numbers))), str(int(max(numbers)))]
    if 2 <= len(found) <= min(MOST_LABELS, sum(found.values()) // 5):
        return "label", list({spelling(text): text for text, _ in reversed(found.most_common())}.values())[::-1]
    return "text", []


def write_task(name: str, guess: Guess | None, folder: Path = FOLDER) -> Path:
    """Write `folder`/<name>.yaml; its path. Raises ParamsError if there is such a file, or the name is none."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,39}", name) or as_folder(name).startswith("lamp"):
        raise ParamsError(
            f"task name {name!r}: a letter, then letters, digits, - or _, at most 40; names that begin "
            "with LaMP are taken."
        )
    path = folder / f"{name.replace('-', '_')}.yaml"
    if path.exists():
        raise ParamsError(f"{path}: is there already. Edit it, or name another task.")
    text = _yaml(name, guess or _EXAMPLE)
    problems = parse_definition(YAML(typ="safe").load(text))[1]
    if problems:
        told = "; ".join(f"{'.'.join(map(str, place))} {what}" for place, what in problems)
        raise ParamsError(f"{path}: no sound file comes of this table ({told}). Name its columns: --answer, ...")
    with atomic_path(path) as partial:
        partial.write_text(text, "utf-8")
    return path


_EXAMPLE = Guess("user_id", "date", "question", "answer", "label", ["yes", "no"])


def _yaml(name: str, guess: Guess) -> str:
    """The file's text: every key, those that are not needed as comments."""
    closed = f" Just answer with one of these: [{', '.join(guess.answers)}]." if guess.kind == "label" else ""
    scale = f" on a scale of {' to '.join(guess.answers)}" if guess.kind == "rating" else ""
    asked = {
        "label": f"Which {guess.answer} would this user choose?{closed}",
        "rating": f"Which {guess.answer} would this user give{scale}? Just answer with the number.",
        "text": f"Write the {guess.answer} that this user would write.",
    }[guess.kind]
    asks = " ".join(asked.replace("{", "(").replace("}", ")").split())
    lines = [
        "# yaml-language-server: $schema=schema.json",
        f"name: {_quoted(name)}",
        f"kind: {guess.kind}  # label: one of a closed list; rating: whole numbers; text: free",
        "",
        "# What the LLM is told, in any language. {input} stands where the text goes.",
        "instruction: |-",
        f"  {asks}",
        f"  {' '.join(guess.input.split()).strip('{}')}: {{input}}",
        "",
        "# Which column of your table holds what.",
        "columns:",
        f"  user: {_quoted(guess.user)}  # whose record it is",
        f"  date: {_quoted(guess.date)}"
        if guess.date
        else "  # date: ...  # none: a user's rows are in order, oldest first",
        f"  input: {_quoted(guess.input)}  # what was asked",
        f"  answer: {_quoted(guess.answer)}  # what the user answered, chose or wrote",
        f"  # text: [{_quoted(guess.input)}]  # what retrieval reads of a record; without it the input",
        "",
    ]
    if guess.kind == "label":
        lines += ["labels:", *(f"  - {_quoted(label)}" for label in guess.answers)]
        lines += [f"# synonyms: {{{_quoted(guess.answers[0])}: [other spellings, in tables and answers]}}"]
    elif guess.kind == "rating":
        lines += [f"scale: [{', '.join(guess.answers)}]"]
    else:
        lines += ["read: first_line  # of an LLM's text; or whole_text"]
    lines += [
        "",
        "# measures: [my_package.my_module:my_measure]  # (predictions, golds) -> numbers, higher is better",
        "# max_tokens: 64  # of an answer; without it what the kind needs",
        "# system: ...  # a system turn before every chat",
        "# demos: turns  # records as earlier turns; block: all in one turn, for models that only continue text",
        "",
    ]
    return "\n".join(lines)


def _quoted(text: str) -> str:
    """The text as YAML reads it back, quoted where it would be something else."""
    plain = re.fullmatch(r"[A-Za-z_][\w &/().-]*", text) and text == text.strip() and text.lower() not in _NO_TEXT
    return text if plain else json.dumps(text, ensure_ascii=False)  # YAML reads JSON's texts
