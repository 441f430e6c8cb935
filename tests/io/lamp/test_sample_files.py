"""The sample on disk: read back strictly, left alone when unchanged, the truth kept apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from hydra_ml.errors import ParamsError
from hydra_ml.io.files import load_json
from hydra_ml.io.lamp.files import is_dated, read_split
from hydra_ml.io.lamp.sample_files import write_sample
from hydra_ml.sample import generate
from hydra_ml.tasks import TASKS


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with raw/ and truth/ of every task."""
    folder = tmp_path_factory.mktemp("sample")
    write_sample(folder / "raw", sorted(TASKS), seed=42, truth=folder / "truth")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("folder", sorted(TASKS))
def test_the_reader_takes_every_split_as_it_was_generated(written: Path, folder: str):
    made = generate(folder, seed=42)
    for split in ("train", "dev", "test"):
        questions, golds = read_split(written / "raw" / folder, split, TASKS[folder])
        assert is_dated(questions)
        assert golds == made.golds[split]
        assert [(q.question_id, q.user_id, q.date, q.input, list(q.profile)) for q in questions] == [
            (q["id"], q["user_id"], q["date"], q["input"], q["profile"]) for q in made.questions[split]
        ]


def test_the_truth_is_not_among_what_is_read(written: Path):
    assert sorted(path.name for path in (written / "truth").iterdir()) == sorted(f"{folder}.json" for folder in TASKS)
    assert not [name for name in contents(written / "raw") if "truth" in name]
    assert b"priority" not in b"".join(contents(written / "raw" / "LaMP_2").values())
    assert load_json(written / "truth" / "LaMP_2.json")["user-000"]["taste"]["priority"][0] in TASKS["LaMP_2"].labels


def test_the_same_seed_leaves_files_untouched_and_another_replaces_them(tmp_path: Path):
    raw, truth = tmp_path / "raw", tmp_path / "truth"
    write_sample(raw, ["LaMP-2"], seed=1, truth=truth)
    before = contents(tmp_path)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    write_sample(raw, ["LaMP_2"], seed=1, truth=truth)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == times
    write_sample(raw, ["LaMP_2"], seed=2, truth=truth)
    after = contents(tmp_path)
    assert after.keys() == before.keys()
    assert all(after[name] != before[name] for name in before)


def test_one_damaged_file_alone_is_written_again(tmp_path: Path):
    raw, truth = tmp_path / "raw", tmp_path / "truth"
    write_sample(raw, ["LaMP_7"], seed=1, truth=truth)
    before = contents(tmp_path)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    damaged = raw / "LaMP_7" / "dev" / "dev_outputs.json"
    damaged.write_text("{}")
    write_sample(raw, ["LaMP_7"], seed=1, truth=truth)
    assert contents(tmp_path) == before
    assert [path for path, time in times.items() if path.stat().st_mtime_ns != time] == [damaged]


def test_an_unknown_task_stops_everything_before_a_byte_is_written(tmp_path: Path):
    with pytest.raises(ParamsError, match="LaMP_99"):
        write_sample(tmp_path / "raw", ["LaMP_2", "LaMP_99"], seed=1, truth=tmp_path / "truth")
    assert list(tmp_path.iterdir()) == []


def test_truth_inside_raw_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="inside"):
        write_sample(tmp_path / "raw", ["LaMP_2"], seed=1, truth=tmp_path / "raw" / "truth")


def test_all_tasks_together_stay_small(written: Path):
    assert sum(len(content) for content in contents(written / "raw").values()) < 50_000_000
