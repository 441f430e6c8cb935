"""Files without the rows of one user: what is left of tables, JSON, lists of lines and pages, whatever they are called.

The format is told by the content, for DVC's objects have no names. Rows that stay are written as they were: the same
columns, in the same order, and a file without such a row is not touched.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from safetensors import SafetensorError
from safetensors.numpy import load

from hydra_ml.io.files import atomic_path
from hydra_ml.io.parquet_rows import DAMAGE
from hydra_ml.io.traces import ID_FIELDS, Kind, Marks
from hydra_ml.io.user_tables import ROW_GROUP
from hydra_ml.tasks import as_folder

ID_LISTS = {"users", "user_ids", "shards"}  # keys of lists that hold user ids
SQLITE = b"SQLite format 3"
GZIP = b"\x1f\x8b"
PARQUET = b"PAR1"
GONE = object()


@dataclass(frozen=True)
class Rest:
    """What is left of a file."""

    content: bytes | None  # None: nothing, the file goes
    rows: int  # taken out


def rest_of(content: bytes, marks: Marks) -> Rest | None:
    """The content without what the marks cover; None if it holds nothing of it.

    A bank's shard is not rewritten here: one with the user's head counts as a file that goes.
    """
    if content[:4] == PARQUET:
        return _parquet(content, marks)
    if content[:2] == GZIP:
        return _gzip(content, marks)
    if content.startswith(SQLITE):
        return None  # the caches, which are asked by their own means
    if (names := heads_names(content)) is not None:
        return Rest(None, 1) if marks.whole_user and any(marks.has("user", name) for name in names) else None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None  # a picture, a vector, weights
    return _text(text, marks)


def holds(path: Path, marks: Marks) -> bool:
    """Whether the file holds something that the marks cover."""
    return rest_of(path.read_bytes(), marks) is not None


def take_out(path: Path, marks: Marks) -> int:
    """Rewrite a file without what the marks cover, or remove it where nothing is left; how many rows went.

    Its time stays, for readers go by which file is newest.
    """
    facts = path.stat()
    rest = rest_of(path.read_bytes(), marks)
    if rest is None:
        return 0
    if rest.content is None:
        path.unlink()
        return rest.rows
    with atomic_path(path) as partial:
        partial.write_bytes(rest.content)
        os.utime(partial, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    return rest.rows


def n_rows(path: Path) -> int:
    """How many rows a Parquet file holds."""
    return int(pq.read_metadata(path).num_rows)


def json_values(content: bytes) -> list[Any]:
    """The values of a file of JSON, of lines of it, or the rows of a CSV; [] of any other."""
    if content[:2] == GZIP:
        return json_values(_unzipped(content))
    if content[:4] == PARQUET or content.startswith(SQLITE):
        return []
    try:
        kind, parsed = _parsed(content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        return []
    return [] if kind == "page" else parsed


def heads_names(content: bytes) -> list[str] | None:
    """The user ids of a bank's shard; None if the content is none."""
    if len(content) < 16 or content[8:9] != b"{":
        return None
    try:
        tensors = load(content)
        padded = np.ascontiguousarray(tensors["user_ids"])
        names = padded.view(f"S{padded.shape[1]}").reshape(-1).tolist()
        return [name.decode("utf-8", "replace") for name in names]
    except (SafetensorError, ValueError, LookupError, TypeError):
        return None


def _parquet(content: bytes, marks: Marks) -> Rest | None:
    try:
        file = pq.ParquetFile(io.BytesIO(content))
        table = file.read()
    except DAMAGE:
        return None
    gone = covered_rows(table, marks)
    table, stripped = _without_ids(table, marks)
    n_gone = int(gone.sum())
    if not n_gone and not stripped:
        return None
    left = table.filter(pa.array(~gone))
    out = io.BytesIO()
    size = ROW_GROUP if file.num_row_groups > 1 or file.metadata.num_rows > ROW_GROUP else None
    pq.write_table(left, out, compression="zstd", row_group_size=size)
    return Rest(out.getvalue(), n_gone + stripped)


def covered_rows(table: pa.Table, marks: Marks) -> np.ndarray:
    """bool [N]: the rows that go, found column by column."""
    n = len(table)
    mine, named, tells = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
    for name in marks.fields.users:
        if name in table.column_names:
            owners = {value: marks.fields.owner({name: value}) for value in _values(table[name])}
            named |= _is_one_of(table[name], [value for value, owner in owners.items() if owner is not None])
            mine |= _is_one_of(table[name], [v for v, owner in owners.items() if owner and marks.has("user", owner)])
    for name in table.column_names:
        kind = ID_FIELDS.get(name) or ("text" if name in marks.fields.texts else None)
        if kind is not None and pa.types.is_large_string(table[name].type) | pa.types.is_string(table[name].type):
            tells |= _is_one_of(table[name], [value for value in _values(table[name]) if marks.has(kind, value)])
    found = (mine | (tells & ~named)) if marks.whole_user else (tells & (mine | ~named))
    if marks.task and "task" in table.column_names:
        others = [value for value in _values(table["task"]) if as_folder(str(value)) != as_folder(marks.task)]
        found &= ~_is_one_of(table["task"], others)
    return found


def _values(column: pa.ChunkedArray) -> list[Any]:
    return [value for value in pc.unique(column).to_pylist() if value is not None]


def _is_one_of(column: pa.ChunkedArray, values: list[Any]) -> np.ndarray:
    if not values:
        return np.zeros(len(column), dtype=bool)
    found: np.ndarray = pc.is_in(column, pa.array(values, column.type)).to_numpy(zero_copy_only=False).astype(bool)
    return found


def _without_ids(table: pa.Table, marks: Marks) -> tuple[pa.Table, int]:
    """The table with the record's id out of its lists of ids, and from how many lists it went."""
    stripped = 0
    for place, field in enumerate(table.schema if not marks.whole_user else ()):
        if pa.types.is_list(field.type) and pa.types.is_string(field.type.value_type):
            lists = table[field.name].to_pylist()
            kept = [ids and [one for one in ids if not marks.has("record", one)] for ids in lists]
            if kept != lists:
                stripped += sum(before != after for before, after in zip(lists, kept, strict=True))
                table = table.set_column(place, field, pa.array(kept, field.type))
    return table, stripped


def _gzip(content: bytes, marks: Marks) -> Rest | None:
    rest = rest_of(_unzipped(content), marks)
    return rest and Rest(None if rest.content is None else gzip.compress(rest.content, mtime=0), rest.rows)


def _unzipped(content: bytes) -> bytes:
    try:
        return gzip.decompress(content)
    except (OSError, EOFError):
        return b""


def _text(text: str, marks: Marks) -> Rest | None:
    kind, parsed = _parsed(text)
    if kind == "page":
        return Rest(None, 1) if marks.stands_in(text) else None
    if kind == "csv":
        return _csv(text, marks)
    if kind == "lines":
        return _lines(text, marks)
    left, gone = _cleaned(parsed[0], marks)
    if not gone:
        return None
    if left is GONE or left == []:
        return Rest(None, gone)
    indent = 1 if "\n" in text.strip() else None
    return Rest((json.dumps(left, ensure_ascii=False, indent=indent) + "\n").encode(), gone)


def _parsed(text: str) -> tuple[str, list[Any]]:
    """What a text is, "json", "lines" (of JSON), "csv" or "page", and its values."""
    start = text.lstrip()[:1]
    if start in ("{", "["):
        try:
            return "json", [json.loads(text)]
        except (ValueError, RecursionError):
            pass
        try:
            values = [json.loads(line) for line in text.split("\n") if line.strip()]
            return "lines", values
        except (ValueError, RecursionError):
            if len([line for line in text.split("\n") if _as_json(line)[1]]) > 1:
                return "lines", [value for value, fine in map(_as_json, text.split("\n")) if fine]
    head, _, rest = text.partition("\n")
    names = [name.strip().strip('"') for name in head.split(_comma(head))]
    if rest and len(names) > 1 and ("user_id" in names or "request_id" in names or "<" not in head) and all(names):
        try:
            rows = list(csv.DictReader(io.StringIO(text, newline=""), delimiter=_comma(head)))
            if all(None not in row for row in rows):
                return "csv", rows
        except csv.Error:
            pass
    return "page", []


def _comma(head: str) -> str:
    return max(",;\t|", key=head.count)


def _as_json(line: str) -> tuple[Any, bool]:
    try:
        return json.loads(line), True
    except (ValueError, RecursionError):
        return line, False


def _lines(text: str, marks: Marks) -> Rest | None:
    """Lines of JSON, each as it was; one that cannot be read goes if a mark stands in it."""
    kept, gone = [], 0
    for line in text.split("\n"):
        value, fine = _as_json(line)
        if not line.strip():
            continue
        left, taken = _cleaned(value, marks) if fine else (GONE, 1) if marks.stands_in(line) else (value, 0)
        gone += taken
        if left is not GONE:
            kept.append(line if not taken else json.dumps(left))
    if not gone:
        return None
    return Rest("".join(f"{line}\n" for line in kept).encode() if kept else None, gone)


def _csv(text: str, marks: Marks) -> Rest | None:
    comma = _comma(text.partition("\n")[0])
    rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=comma))
    names = [name.strip() for name in rows[0]]
    kept = [row for row in rows[1:] if not marks.covers(dict(zip(names, row, strict=False)))]
    gone = len(rows) - 1 - len(kept)
    if not gone:
        return Rest(None, 1) if marks.stands_in(text) and not set(names) & {*marks.fields.users} else None
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=comma, lineterminator="\n").writerows([rows[0], *kept])
    return Rest(out.getvalue().encode() if kept else None, gone)


def _cleaned(value: Any, marks: Marks, key: str = "", mine: bool | None = None) -> tuple[Any, int]:
    """A JSON value without what goes, or GONE, and how much went. key: the field it stands in; mine: whose the row
    around it is."""
    if isinstance(value, dict):
        return _cleaned_row(value, marks, key, mine)
    if not isinstance(value, list):
        return value, 0
    ids: Kind | None = "user" if marks.whole_user and key in ID_LISTS else None if marks.whole_user else "record"
    kept, gone = [], 0
    for one in value:
        is_gold = key == "golds" and isinstance(one, dict) and marks.has("query", one.get("id"))
        left, taken = (GONE, 1) if (ids and marks.has(ids, one)) or is_gold else _cleaned(one, marks, key, mine)
        gone += taken
        if left is not GONE:
            kept.append(left)
    return kept, gone


def _cleaned_row(row: dict[str, Any], marks: Marks, key: str, mine: bool | None) -> tuple[Any, int]:
    if marks.covers(row, mine=mine):
        return GONE, 1
    if isinstance(names := row.get("columns"), list) and isinstance(rows := row.get("data"), list):  # MLflow's tables
        kept = [one for one in rows if not marks.covers(dict(zip(names, one, strict=False)))]
        return {**row, "data": kept}, len(rows) - len(kept)
    of_user = marks.is_user(row)
    kept_fields, gone = {}, 0
    for name, one in row.items():
        if isinstance(one, dict) and "runs" in one and marks.has("request", name):  # io.failed_requests
            gone += 1
            continue
        if name == "value" and isinstance(one, str) and marks.stands_in(one):  # a line of a drop that is no JSON
            return GONE, 1
        inside = key if key in ID_LISTS else name  # {"users": {"LaMP_2": [...]}}
        left, taken = _cleaned(one, marks, inside, mine if of_user is None else of_user)
        gone += taken
        if left is GONE:
            return GONE, gone  # a row around the user's: it is told of nobody else
        kept_fields[name] = left
    return kept_fields, gone
