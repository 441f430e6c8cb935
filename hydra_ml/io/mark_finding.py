"""What there is of a user in files: the ids that name their rows, and the texts that nobody else's rows hold."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hydra_ml.io.parquet_rows import DAMAGE
from hydra_ml.io.rewriting import PARQUET, covered_rows, json_values
from hydra_ml.io.traces import ID_FIELDS, KINDS, SHORTEST, Fields, Kind, Marks, told_forms
from hydra_ml.records import normalized

Found = dict[Kind, set[str]]


def find_marks(files: Iterable[Path], user_id: str, record_id: str, task: str) -> Marks:
    """The marks of the user, or of one of their records, in the files; of somebody unknown nothing but the id."""
    paths = [*files]
    found: Found = {kind: set() for kind in KINDS}
    found["user"] = {user_id}
    if record_id:
        found["record"] = {record_id}
    marks = Marks(user_id, record_id, found, Fields.now(), task=task)
    for _ in range(2):  # the second finds what has no user but the id of a row that the first found
        # Texts lead no further: before those of others are taken out, a short answer would lead to everybody.
        sure = replace(marks, found={**{kind: frozenset(found[kind]) for kind in KINDS}, "text": frozenset()})
        for path in paths:
            for row in own_rows(path.read_bytes(), sure):
                _note(row, marks, found)
    if record_id:
        _note_written(paths, marks, found)
    others = _others(paths, marks)
    if not record_id and not others.asks:
        found["query"].add(user_id)  # of undated files a question is a user of its own
    found["text"] = {form for text in found["text"] - others.texts for form in told_forms(text)}
    return replace(marks, is_word=others.names_user)


def own_rows(content: bytes, marks: Marks) -> Iterator[dict[str, Any]]:
    """The rows of a file that the marks cover, rows within them too."""
    if content[:4] == PARQUET:
        table = _table(content)
        if table is not None and (gone := covered_rows(table, marks)).any():
            yield from table.filter(pa.array(gone)).to_pylist()
        return
    for value in json_values(content):
        yield from (row for row, mine in _owned(value, marks) if mine)


def texts_in(files: Iterable[Path], fields: Fields) -> set[str]:
    """Every text that stands in a field of a row of these files."""
    found: set[str] = set()
    for path in files:
        content = path.read_bytes()
        if content[:4] == PARQUET:
            table = _table(content)
            if table is None:
                continue
            for name in table.column_names:
                if name in fields.texts and _is_text(table[name].type):
                    found.update(value for value in pc.unique(table[name]).to_pylist() if value)
            continue
        for value in json_values(content):
            for row, _ in _owned(value, None):
                found.update(one for name, one in row.items() if name in fields.texts and isinstance(one, str))
    return found


def _note(row: Mapping[str, Any], marks: Marks, found: Found) -> None:
    """Add what names the row, and of a whole user what it says."""
    for field, kind in ID_FIELDS.items():
        value = row.get(field)
        if isinstance(value, str | int) and value != "" and (marks.whole_user or kind != "record"):
            found[kind].add(str(value))
    if "profile" in row and isinstance(row.get("id"), str) and marks.whole_user:
        found["query"].add(row["id"])
    for name in marks.fields.texts & row.keys():
        value = row[name]
        is_answer = not marks.whole_user and name in ("answer", "gold", "output", "prediction", "value")
        if isinstance(value, str) and len(value) >= SHORTEST and not is_answer:
            found["text"].add(value)


def _note_written(paths: Iterable[Path], marks: Marks, found: Found) -> None:
    """Add the fields that one record was written in: what of the user's rows stands in the record's own text."""
    texts = [normalized(text) for text in found["text"]]
    for path in paths:
        for row in _rows_of_user(path.read_bytes(), marks):
            for name in marks.fields.texts & row.keys():
                value = row[name]
                is_long = isinstance(value, str) and len(value) >= 2 * SHORTEST
                if is_long and any(normalized(value) in text for text in texts):
                    found["text"].add(value)


def _rows_of_user(content: bytes, marks: Marks) -> Iterator[dict[str, Any]]:
    everything = Marks(marks.user_id, "", {**{kind: set() for kind in KINDS}, "user": {marks.user_id}}, marks.fields)
    return own_rows(content, everything)


@dataclass
class _Others:
    """What rows of somebody else hold of a user's marks."""

    texts: set[str]
    names_user: bool = False  # the user id is a word in some text
    asks: bool = False  # a question is named as the user is

    def note(self, row: Mapping[str, Any], marks: Marks, word: re.Pattern[str], owner: str | None) -> None:
        """Add what a row of theirs holds. word: the user id; owner: whose the row is, None if it names nobody."""
        for name in marks.fields.texts & row.keys() - {"row_id"}:
            if isinstance(one := row[name], str):
                self.texts.update({one} & {*marks.found["text"]})
                self.names_user = self.names_user or word.search(one) is not None
        names = (row.get("query_id"), row.get("id") if "profile" in row else None)
        self.asks |= owner is not None and marks.user_id in names


def _others(paths: Iterable[Path], marks: Marks) -> _Others:
    """What the files' rows of others hold."""
    told, word = _Others(set()), re.compile(rf"(?<![\w-]){re.escape(marks.user_id)}(?![\w-])", re.IGNORECASE)
    everything = replace(marks, record_id="", found={**marks.found, "text": frozenset()})
    for path in paths:
        content = path.read_bytes()
        if content[:4] != PARQUET:
            for value in json_values(content):
                for row, mine in _owned(value, everything):
                    if not mine:
                        told.note(row, marks, word, marks.fields.owner(row))
            continue
        table = _table(content)
        if table is None:
            continue
        left = table.filter(pc.invert(pa.array(covered_rows(table, everything))))
        for name in left.column_names:
            if _is_text(left[name].type) and (name in marks.fields.texts or name == "query_id"):
                for one in pc.unique(left[name]).to_pylist():
                    told.note({name: one}, marks, word, "" if {*marks.fields.users} & {*left.column_names} else None)
    return told


def _owned(
    value: Any, marks: Marks | None, key: str = "", mine: bool | None = None
) -> Iterator[tuple[dict[str, Any], bool]]:
    """Every row in a JSON value, and whether the marks cover it or one around it."""
    if isinstance(value, dict):
        names, rows = value.get("columns"), value.get("data")
        if isinstance(names, list) and isinstance(rows, list):
            yield from _owned([dict(zip(names, row, strict=False)) for row in rows], marks, key, mine)
            return
        if marks is not None and mine is not True:
            is_gold = key == "golds" and marks.has("query", value.get("id"))
            mine = True if is_gold or marks.covers(value, mine=mine) else mine
        yield value, mine is True
        for name, one in value.items():
            if isinstance(one, dict | list):
                yield from _owned(one, marks, name, mine)
    elif isinstance(value, list):
        for one in value:
            if isinstance(one, dict | list):
                yield from _owned(one, marks, key, mine)


def _table(content: bytes) -> pa.Table | None:
    try:
        return pq.read_table(io.BytesIO(content))
    except DAMAGE:
        return None


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def as_document(marks: Marks) -> dict[str, Any]:
    """Marks as JSON stores them."""
    found = {kind: sorted(marks.found[kind]) for kind in KINDS}
    told = {"user": marks.user_id, "record": marks.record_id, "task": marks.task, "salt": marks.salt}
    return {**told, "is_word": marks.is_word, "found": found}


def from_document(document: Mapping[str, Any]) -> Marks:
    """Marks as they were stored."""
    found = {kind: frozenset(document["found"][kind]) for kind in KINDS}
    user, record, task, salt = (str(document[name]) for name in ("user", "record", "task", "salt"))
    return Marks(user, record, found, Fields.now(), salt, task, bool(document.get("is_word")))
