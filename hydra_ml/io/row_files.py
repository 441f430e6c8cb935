"""Files of rows, as people's tools write them: an object a line, an array, a table with a header, Parquet.

Text may be gzipped. A folder with such an ending (Spark's x.parquet/) is one file in parts. What a row must hold is
`io.record_reader`'s affair; nothing here guesses what a cell of text means.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, cast
from urllib.parse import unquote

from hydra_ml.errors import DataError
from hydra_ml.io.bounded_json import parse_json
from hydra_ml.io.parquet_rows import DAMAGE as PARQUET_DAMAGE
from hydra_ml.io.parquet_rows import first_line, parquet_rows

TAKEN = ".jsonl, .ndjson, .json, .csv, .tsv (each also .gz) and .parquet"  # as errors list them
ALIKE = {".ndjson": ".jsonl", ".tsv": ".csv"}
DAMAGE = (*PARQUET_DAMAGE, EOFError, zlib.error, csv.Error)
BOM = b"\xef\xbb\xbf"
_FLOAT = re.compile(r"-?(?:0|[1-9]\d*)\.0|-?\d(?:\.\d+)?e\+\d\d", re.ASCII)  # a float as pandas writes it
_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a file."""

    number: int  # line of a .jsonl, row of any other, from 1; counted through a folder's parts
    value: Any  # as JSON gives it; the line itself where that cannot be had
    fault: str = ""  # why the line is no JSON, or the row not one of its table


def format_of(path: Path) -> str:
    """The format that a file's or folder's name ends in, in one spelling (".jsonl" for .NDJSON.gz); "" for another."""
    name = path.name.lower()
    bare = name.removesuffix(".gz")
    ending = Path(bare).suffix
    ending = ALIKE.get(ending, ending)
    packed_parquet = ending == ".parquet" and bare != name
    return "" if packed_parquet or ending not in {".parquet", *READERS} else ending


def parts_of(path: Path) -> list[Path]:
    """The file itself; of a folder the files of rows below it, by name, but for hidden ones and marks (_SUCCESS).

    Raises DataError if the folder is a table whose log says which of its files count.
    """
    if not path.is_dir():
        return [path]
    if (path / "_delta_log").exists() or (path / ".hoodie").exists():
        raise DataError(f"{path}: is a Delta or Hudi table: files lie in it that it counts no more. Export its rows.")
    names = sorted(file.relative_to(path) for file in path.rglob("*") if file.is_file() and format_of(file))
    return [path / name for name in names if not any(part.startswith((".", "_")) for part in name.parts)]


def read_rows(path: Path, columns: Sequence[str] | None = None, *, ids: Collection[str] = ()) -> Iterator[Row]:
    """The rows of a file, or of a folder's parts, in order; blank lines and empty cells are passed over.

    columns: those of a .parquet to read, None for all; ids: those of a .csv that hold ids besides those whose names end
    so. Raises DataError if the file cannot be read.
    """
    try:
        before = number = 0
        for part in parts_of(path):
            said = _said_by_folders(part.relative_to(path)) if part != path else {}
            for row in _rows(part, columns, ids):
                number = before + row.number
                if said and isinstance(row.value, dict):
                    row.value.update(said)
                yield replace(row, number=number) if before else row
            before = number
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(f"{path}: no such file.") from None
    except DAMAGE as error:
        raise DataError(f"{path}: cannot be read ({first_line(error)}). Write the file again, whole.") from error


def _rows(path: Path, columns: Sequence[str] | None, ids: Collection[str]) -> Iterator[Row]:
    kind = format_of(path)
    if kind == ".parquet":
        for number, cells in enumerate(parquet_rows(path, columns), start=1):
            yield Row(number, {key: value for key, value in cells.items() if value is not None})
        return
    if not path.is_file() and path.exists():
        raise DataError(f"{path}: is no file.")  # a pipe would never end
    with path.open("rb") as file:
        packed = path.name.lower().endswith(".gz")
        content = cast(IO[bytes], gzip.GzipFile(fileobj=file)) if packed else file
        yield from _table(content, ids) if kind == ".csv" else READERS.get(kind, _lines)(content)


def _said_by_folders(part: Path) -> dict[str, str]:
    """What Hive's folder names say of the rows below them: date=2026-11-01/part-0.parquet."""
    pairs = (name.partition("=") for name in part.parts[:-1] if "=" in name)
    return {key: unquote(value) for key, _, value in pairs if value != _NO_VALUE}


def _lines(file: IO[bytes]) -> Iterator[Row]:
    return (_json_row(number, line) for number, line in enumerate(file, start=1) if line.strip())


def _json_row(number: int, line: bytes) -> Row:
    if number == 1:
        line = line.removeprefix(BOM)
    line = line.strip()
    try:
        return Row(number, parse_json(line.decode("utf-8")))
    except UnicodeDecodeError as error:
        return Row(number, line.decode("utf-8", "backslashreplace"), f"not UTF-8 at byte {error.start} of the line")
    except ValueError as error:
        where = f" at character {error.pos}" if isinstance(error, json.JSONDecodeError) else f" ({error})"
        return Row(number, line.decode("utf-8"), f"not JSON{where}")


def _array(file: IO[bytes]) -> Iterator[Row]:
    """The members of an array; the lines of a file that is none: Spark and BigQuery name those .json too."""
    content = file.read().removeprefix(BOM)
    if not content.lstrip().startswith(b"["):
        try:
            yield Row(1, parse_json(content))  # one object, over however many lines
        except ValueError:
            yield from _lines(io.BytesIO(content))
        return
    yield from (Row(number, value) for number, value in enumerate(parse_json(content), start=1))


def _table(file: IO[bytes], ids: Collection[str] = ()) -> Iterator[Row]:
    """The rows under a header as texts; an empty cell is a missing one, one that is no UTF-8 holds half characters."""
    text = io.TextIOWrapper(file, "utf-8-sig", errors="surrogateescape", newline="")
    head = text.readline()
    text.seek(0)
    csv.field_size_limit(2**31 - 1)  # a history may be long
    table = csv.reader(text, delimiter=max(",;\t|", key=head.count), strict=True)
    names = [name.strip() for name in next(table, [])]
    if twice := sorted({name for name in names if name and names.count(name) > 1}):
        raise csv.Error(f"its header names {', '.join(twice)} twice")
    for number, cells in enumerate(filter(None, table), start=1):
        value = {
            name: _cell(cell, name.endswith("id") or name in ids)
            for name, cell in zip(names, cells, strict=False)
            if cell.strip()
        }
        fits = len(cells) == len(names)
        yield Row(number, value, "" if fits else f"{len(cells)} cells under a header of {len(names)}")


def _cell(text: str, is_id: bool) -> str | float:
    """The text; the float that pandas wrote for a whole number because another row has no id (41.0)."""
    return float(text) if is_id and _FLOAT.fullmatch(text.strip()) else text


READERS: dict[str, Callable[[IO[bytes]], Iterator[Row]]] = {".jsonl": _lines, ".json": _array, ".csv": _table}
