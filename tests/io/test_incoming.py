"""What is taken for a drop, when it is whole, and how its rows read."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from hydra_ml.io.files import readable, short_name
from hydra_ml.io.incoming import drop_digest, drop_state, look_into, move_drop, waiting_drops

HOUR_S, DAY_S = 3600.0, 86400.0  # no delay of a test reaches either


def names(incoming: Path, settle_s: float = 0) -> list[str]:
    return [path.name for path in waiting_drops(incoming, settle_s)]


def test_what_is_a_drop(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.parquet", ".hidden.jsonl", "c.jsonl.partial", "notes.txt", "no_ending"):
        (tmp_path / name).write_text("{}")
    for folder in ("LaMP_2/train", "official/LaMP_3/dev", "done/LaMP_4/train", ".staging/LaMP_5", "photos"):
        (tmp_path / folder).mkdir(parents=True)
    assert names(tmp_path) == ["LaMP_2", "a.parquet", "b.jsonl", "official"]
    assert names(tmp_path / "nowhere") == []


def test_what_still_grows_is_left_alone(tmp_path: Path) -> None:
    for place in ("old.jsonl", "young.jsonl", "LaMP_2/train/train_questions.json", "LaMP_3/train/train_outputs.json"):
        path = tmp_path / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
        for each in (path, *path.parents[: len(Path(place).parts) - 1]):
            os.utime(each, (time.time() - DAY_S,) * 2)
    os.utime(tmp_path / "young.jsonl")
    (tmp_path / "LaMP_3/train/train_questions.json.partial").write_text("[")
    os.utime(tmp_path / "LaMP_3/train", (time.time() - DAY_S,) * 2)
    assert names(tmp_path, settle_s=HOUR_S) == ["LaMP_2", "old.jsonl"]
    assert names(tmp_path, settle_s=0) == ["LaMP_2", "old.jsonl", "young.jsonl"]  # a partial file is never whole
    ahead = time.time() + DAY_S  # written by a clock that is ahead, or ours was set back
    os.utime(tmp_path / "young.jsonl", (ahead, ahead))
    assert "young.jsonl" in names(tmp_path, settle_s=HOUR_S)


@pytest.mark.parametrize("name", ["drop.jsonl", "LaMP_2/train/train_questions.json"])
def test_a_drop_that_was_written_to_is_in_another_state(tmp_path: Path, name: str) -> None:
    path, file = tmp_path / Path(name).parts[0], tmp_path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("{}")
    state = drop_state(path)
    assert drop_state(path) == state
    with file.open("a") as more:
        more.write("{}")
    assert drop_state(path) != state


def test_digest_follows_content_not_name(tmp_path: Path) -> None:
    for name, text in (("a.jsonl", "x"), ("b.jsonl", "x"), ("c.jsonl", "y")):
        (tmp_path / name).write_text(text)
    assert drop_digest(tmp_path / "a.jsonl") == drop_digest(tmp_path / "b.jsonl") != drop_digest(tmp_path / "c.jsonl")
    assert len(drop_digest(tmp_path / "a.jsonl")) == 16


def test_moving_again_replaces_what_is_the_same(tmp_path: Path) -> None:
    for attempt in ("first", "second"):
        (tmp_path / "drop/LaMP_2").mkdir(parents=True)
        (tmp_path / "drop/LaMP_2/file").write_text(attempt)
        (tmp_path / "drop.jsonl").write_text(attempt)
        move_drop(tmp_path / "drop", tmp_path / "done/drop")
        move_drop(tmp_path / "drop.jsonl", tmp_path / "done/drop.jsonl")
    assert not (tmp_path / "drop").exists()
    assert (tmp_path / "done/drop/LaMP_2/file").read_text() == "second"
    assert sorted(path.name for path in (tmp_path / "done").iterdir()) == ["drop", "drop.jsonl"]


def test_what_is_no_file_and_no_folder_of_files_is_no_drop(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jsonl")
    (tmp_path / "gone.jsonl").symlink_to(tmp_path / "nowhere")
    (tmp_path / "self.jsonl").symlink_to(tmp_path / "self.jsonl")
    (tmp_path / "LaMP_2").symlink_to(tmp_path)
    (tmp_path / "good.jsonl").write_text("{}")
    assert names(tmp_path) == ["good.jsonl"]
    left = {path.name: why for path, why in look_into(tmp_path).left.items()}
    assert left == {
        "LaMP_2": "it is a link that leads back to where it lies",
        **dict.fromkeys(("gone.jsonl", "pipe.jsonl", "self.jsonl"), "it is no file, or a link to nothing"),
    }


def test_links_that_lead_round_change_nothing_and_stop_nobody(tmp_path: Path) -> None:
    folder = tmp_path / "official/LaMP_2/train"
    folder.mkdir(parents=True)
    (folder / "round").symlink_to(tmp_path)
    (folder / "self").symlink_to(folder / "self")
    (tmp_path / "good.jsonl").write_text("{}")
    assert names(tmp_path) == ["good.jsonl", "official"]
    state = drop_state(tmp_path / "official")
    (tmp_path / ".begun.json").write_text("{}")  # what the folder that is led to holds is nobody's drop
    assert drop_state(tmp_path / "official") == state
    drop_digest(tmp_path / "official")


def test_a_name_that_is_no_utf_8_is_told_and_its_folder_has_a_digest(tmp_path: Path) -> None:
    (tmp_path / "LaMP_2").mkdir()
    (tmp_path / os.fsdecode(b"caf\xe9.jsonl")).write_text("{}")
    (tmp_path / "LaMP_2" / os.fsdecode(b"caf\xe9.json")).write_text("{}")
    assert [readable(path.name) for path in look_into(tmp_path).taken] == ["LaMP_2", "caf\\xe9.jsonl"]
    assert len(drop_digest(tmp_path / "LaMP_2")) == 16


@pytest.mark.parametrize("name", ["a.jsonl", "ä" * 75, "x" * 140 + ".jsonl"])
def test_a_name_that_fits_stays(name: str) -> None:
    assert short_name(name) == name


@pytest.mark.parametrize("name", ["x" * 249 + ".jsonl", "ä" * 124 + ".jsonl", "." + "x" * 250])
def test_a_long_name_leaves_room_for_what_is_made_of_it(name: str) -> None:
    assert 140 < len(short_name(name).encode()) <= 150
    assert short_name(name).endswith(".jsonl") == name.endswith(".jsonl")
