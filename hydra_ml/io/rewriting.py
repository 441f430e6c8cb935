"""Files without the rows of one user: what is left of tables, JSON, lists of lines and pages, whatever they are called.

The format is told by the content, for DVC's objects have no names. Rows that stay are written as they were: the same
columns, in the same order, and a file without such a row is not touched.
"""

from __future__ import annotations

import gzip
import io
import os
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
from hydra_ml.io.text_rows import Rest, parsed, text_rest
from hydra_ml.io.traces import ID_FIELDS, Marks, as_id
from hydra_ml.io.user_tables import ROW_GROUP
from hydra_ml.tasks import as_folder

SQLITE = b"SQLite format 3"
GZIP = b"\x1f\x8b"
PARQUET = b"PAR1"


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
    return text_rest(text, marks)


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
        kind, values = parsed(content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        return []
    return [] if kind == "page" else values


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
        if kind is not None and not pa.types.is_nested(table[name].type):
            read = as_id if kind != "text" else str  # a table may hold ids as numbers
            held = [one for one in _values(table[name]) if isinstance(one, str) or kind != "text"]
            tells |= _is_one_of(table[name], [one for one in held if marks.has(kind, read(one))])
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
