"""The same rows come out of every file that people's tools write them to, and no cell of text becomes a number."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from hydra_ml.errors import DataError
from hydra_ml.io.record_reader import Fault, read_text
from hydra_ml.io.row_files import format_of, read_rows

ROWS = [{"user_id": "007", "text": "Käse, täglich"}, {"user_id": "9007199254740993", "text": 'a "b"\nc'}]
LINES = "\n".join(map(json.dumps, ROWS))
TABLE = 'user_id,text\n007,"Käse, täglich"\n9007199254740993,"a ""b""\nc"\n'
CONTENTS: dict[str, str] = {
    "a.jsonl": LINES,
    "b.JSONL": LINES,
    "c.ndjson": LINES,
    "d.json": json.dumps(ROWS, indent=2),
    "lines.json": LINES,  # as Spark and BigQuery name them
    "e.csv": TABLE,
    "semicolons.csv": TABLE.replace(",", ";", 1).replace("007,", "007;").replace("3,", "3;"),
    "f.tsv": 'user_id\ttext\n007\tKäse, täglich\n9007199254740993\t"a ""b""\nc"\n',
}


def write(path: Path, content: str, *, mark: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    encoded = content.encode("utf-8-sig" if mark else "utf-8")
    path.write_bytes(gzip.compress(encoded) if path.suffix == ".gz" else encoded)
    return path


def values(path: Path) -> list[Any]:
    return [row.value for row in read_rows(path)]


@pytest.mark.parametrize("mark", [False, True], ids=["plain", "byte order mark"])
@pytest.mark.parametrize("packed", ["", ".gz"])
@pytest.mark.parametrize("name", CONTENTS)
def test_every_format_gives_the_same_rows(tmp_path: Path, name: str, packed: str, mark: bool) -> None:
    assert values(write(tmp_path / f"{name}{packed}", CONTENTS[name], mark=mark)) == ROWS


def test_formats_are_known_by_the_end_of_the_name() -> None:
    known = {
        "a.jsonl": ".jsonl",
        "A.NDJSON.GZ": ".jsonl",
        "x.json.gz": ".json",
        "t.tsv": ".csv",
        "s.snappy.parquet": ".parquet",
        "2026.11.csv": ".csv",
        "s.parquet.gz": "",
        "a.jsonl.bak": "",
        "notes": "",
        "a.xlsx": "",
    }
    assert {name: format_of(Path(name)) for name in known} == known


def test_one_object_is_one_row_however_it_is_laid_out(tmp_path: Path) -> None:
    assert values(write(tmp_path / "a.json", json.dumps(ROWS[1], indent=4))) == [ROWS[1]]


@pytest.mark.parametrize("name", ["a.json", "a.csv", "a.jsonl", "a.jsonl.gz", "a.tsv"])
def test_an_empty_file_has_no_rows(tmp_path: Path, name: str) -> None:
    assert values(write(tmp_path / name, "")) == []


def test_a_header_alone_is_no_row(tmp_path: Path) -> None:
    assert values(write(tmp_path / "a.csv", "a,b\n")) == []


@pytest.mark.parametrize(
    ("cell", "read"),
    [
        ("41.0", "41"),  # pandas, where another row has no id
        ("41", "41"),
        ("041.0", "041.0"),
        ("007", "007"),
        ("1e5", "1e5"),
        ("9007199254740993", "9007199254740993"),
        ("9007199254740992.0", None),
        ("1e+16", None),
    ],
)
def test_ids_in_a_table_of_text_stay_texts_and_what_pandas_rounded_is_refused(
    tmp_path: Path, cell: str, read: str | None
) -> None:
    (value,) = values(write(tmp_path / "a.csv", f"user_id,score\n{cell},4.0\n"))
    assert value["score"] == "4.0"
    if read is not None:
        assert read_text(value, "user_id") == read
        return
    with pytest.raises(Fault, match="write it as text"):
        read_text(value, "user_id")


def test_an_empty_cell_is_a_missing_one_and_a_row_of_another_width_is_one_bad_row(tmp_path: Path) -> None:
    rows = list(read_rows(write(tmp_path / "a.csv", "user_id,text\nann,\n\nbob,x,y\ncid\ndan,z\n")))
    assert [(row.number, row.value, row.fault) for row in rows] == [
        (1, {"user_id": "ann"}, ""),
        (2, {"user_id": "bob", "text": "x"}, "3 cells under a header of 2"),
        (3, {"user_id": "cid"}, "1 cells under a header of 2"),
        (4, {"user_id": "dan", "text": "z"}, ""),
    ]


def test_a_cell_in_another_encoding_is_one_bad_cell(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("user_id,text\nann,Käse\nbob,x\n".encode("latin-1"))
    first, second = values(tmp_path / "a.csv")
    with pytest.raises(Fault, match="half a character"):
        read_text(first, "text")
    assert second["text"] == "x"


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("a.json", '[{"a": 1}, {"a"', "a.json: cannot be read"),
        ("a.csv", "a,a\n1,2\n", "its header names a twice"),
        ("a.csv", 'a,b\n"1,2\n', "a.csv: cannot be read"),
    ],
)
def test_what_cannot_be_read_row_by_row_is_refused_whole(tmp_path: Path, name: str, content: str, why: str) -> None:
    with pytest.raises(DataError, match=f"{why}.*Write the file again, whole"):
        values(write(tmp_path / name, content))


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.csv.gz", "a.json.gz"])
def test_a_torn_or_false_gzip_is_told(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, CONTENTS["a.jsonl"] * 50)
    for content in (path.read_bytes()[:-20], b"no gzip"):
        path.write_bytes(content)
        with pytest.raises(DataError, match="cannot be read"):
            values(path)


def test_a_folder_of_parts_is_one_file(tmp_path: Path) -> None:
    folder = tmp_path / "spark.parquet"
    folder.mkdir()
    for number, row in enumerate(ROWS):
        pd.DataFrame([row]).to_parquet(folder / f"part-0000{number}.snappy.parquet")
    for mark in ("_SUCCESS", "._SUCCESS.crc", ".part-00000.snappy.parquet.crc"):
        (folder / mark).write_bytes(b"")
    write(folder / "_temporary/0/part-9.jsonl", "half")
    assert [(row.number, row.value) for row in read_rows(folder)] == [(1, ROWS[0]), (2, ROWS[1])]


def test_what_folder_names_say_belongs_to_the_rows_as_text(tmp_path: Path) -> None:
    for place in ("date=2026-11-01/user_id=007", "date=__HIVE_DEFAULT_PARTITION__/user_id=a%2Fb"):
        write(tmp_path / "t.json" / place / "part-0.json", '{"text": "x"}\n{"text": "y"}')
    first, _, third, _ = values(tmp_path / "t.json")
    assert first == {"text": "x", "date": "2026-11-01", "user_id": "007"}
    assert third == {"text": "x", "user_id": "a/b"}


def test_a_table_whose_log_says_what_counts_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "t.parquet/_delta_log/0.json", "{}")
    with pytest.raises(DataError, match=r"t.parquet: is a Delta or Hudi table.* Export its rows"):
        values(tmp_path / "t.parquet")
