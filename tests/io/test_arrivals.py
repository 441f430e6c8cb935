"""Whatever lies in a folder of ours is taken, waits, or is left with a reason."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from hydra_ml.io.arrivals import is_half, is_settled, look


def put(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")


def names(folder: Path, paths: object) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in paths]  # type: ignore[attr-defined]


def test_every_file_is_taken_or_waits_or_is_left_with_a_reason(tmp_path: Path) -> None:
    taken = ["2026-11/day.jsonl", "a.JSONL", "b.jsonl.gz", "c.ndjson", "d.csv", "e.json", "year end März 2026.jsonl"]
    growing = ["f.jsonl.partial", "g.jsonl.x8Hq2", "h.csv.part"]
    left = ["2026-11/photo.png", "i.docx", "j.xlsx", "k.zip", "l.jsonl.zst", "m", "n.parquet.gz"]
    put(tmp_path, *taken, *growing, *left, ".n.jsonl.x8Hq2", "spark.parquet/part-0.parquet", "spark.parquet/_SUCCESS")
    (tmp_path / "empty").mkdir()
    found = look(tmp_path)
    assert names(tmp_path, found.taken) == sorted([*taken, "spark.parquet"])
    assert names(tmp_path, found.growing) == growing
    assert sorted(names(tmp_path, found.left)) == sorted(left)
    why = {path.name: reason for path, reason in found.left.items()}
    assert why["i.docx"].startswith("its name ends in .docx: remove it; taken are .jsonl, .ndjson, .json, .csv")
    assert "save it as .csv" in why["j.xlsx"]
    assert "unpack it" in why["k.zip"]
    assert "unpack it" in why["n.parquet.gz"]
    assert "nothing known" in why["m"]


def test_folders_are_looked_into_as_deep_as_year_month_day(tmp_path: Path) -> None:
    put(tmp_path, "2026/11/05/a.jsonl", "2027/11/05/noon/b.jsonl", "photos/a.png", "photos/b.png")
    found = look(tmp_path)
    assert names(tmp_path, found.taken) == ["2026/11/05/a.jsonl"]
    assert {path.name: why[:46] for path, why in found.left.items()} == {
        "2027": "nothing in it is taken; of 11: nothing in it i",
        "photos": "nothing in it is taken; of a.png: its name end",
    }
    assert look(tmp_path / "nowhere").taken == []


def test_what_a_folder_holds_besides_what_is_taken_is_left_by_its_own_name(tmp_path: Path) -> None:
    put(tmp_path, "day/a.jsonl", "day/b.png", "day/_SUCCESS")
    assert names(tmp_path, look(tmp_path).left) == ["day/b.png"]


def test_some_folders_are_taken_as_they_are_and_some_names_not_looked_at(tmp_path: Path) -> None:
    put(tmp_path, "LaMP_2/x.png", "done/a.jsonl")
    found = look(tmp_path, is_one=lambda path: path.name.startswith("LaMP"), but={"done"})
    assert (names(tmp_path, found.taken), found.left) == (["LaMP_2"], {})


def test_a_folder_that_spark_still_writes_waits(tmp_path: Path) -> None:
    put(tmp_path, "x.parquet/_temporary/0/part-0.parquet", "day/_temporary/part-0.parquet", "day/a.jsonl")
    found = look(tmp_path)
    assert names(tmp_path, found.growing) == ["day"]
    assert [is_settled(path, 0) for path in found.taken] == [False]


@pytest.mark.parametrize(
    ("name", "half"),
    [
        ("a.jsonl", False),
        ("a.jsonl.partial", True),
        ("a.JSONL.Part", True),
        ("a.jsonl~", True),
        ("rsync.jsonl.x8Hq2", True),
        ("a.parquet.6eF3a2B1", True),
        ("a.jsonl.20261128", False),  # by day, not by chance
        ("a.jsonl.backup", False),
        ("a.png.x8Hq2", False),
        ("a.jsonl.gz", False),
    ],
)
def test_a_copy_under_way_is_known_by_its_name(name: str, half: bool) -> None:
    assert is_half(Path(name)) == half


def test_the_newest_file_of_a_folder_says_whether_it_is_settled(tmp_path: Path) -> None:
    put(tmp_path, "x.parquet/a.parquet", "x.parquet/b.parquet")
    for path in (tmp_path / "x.parquet/a.parquet", tmp_path / "x.parquet"):
        os.utime(path, (time.time() - 86400,) * 2)
    assert not is_settled(tmp_path / "x.parquet", 3600)
    os.utime(tmp_path / "x.parquet/b.parquet", (time.time() - 86400,) * 2)
    assert is_settled(tmp_path / "x.parquet", 3600)
