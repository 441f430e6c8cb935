"""Drops taken in for good: merged once, refused whole, quarantined by row, versioned, healed after an interruption."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from hydra_ml.errors import DataError, VersionsError
from hydra_ml.io.files import folder_digest
from hydra_ml.io.history_store import drop_names, records_of
from hydra_ml.jobs import ingest as job
from hydra_ml.jobs.ingest import find_drops, publish
from hydra_ml.jobs.ingest_report import Counts, IngestReport
from hydra_ml.params import Ingest, Params
from tests.jobs.ingest_world import PARAMS, drop, history, ingest, movie, quarantined, write_lamp


def waiting(root: Path) -> list[str]:
    return [path.name for path in find_drops(root / "data/incoming", 0)]


def test_a_drop_is_merged_versioned_pushed_and_reported(versioned: Path) -> None:
    rows = [movie(1), movie(2), movie(3, "bob"), movie(4, "bob"), movie(5, "cid"), movie(5, tag="a dull film")]
    report = ingest(versioned, drop(versioned, "monday.jsonl", *rows), PARAMS)
    assert report.refused == ""
    assert report.tasks == {"LaMP_2": Counts(accepted=5, known=0, quarantined=1)}
    assert [task for task, counts in report.tasks.items() if counts.accepted] == ["LaMP_2"]
    assert report.not_published == ""
    assert [report.history["LaMP_2"]] == drop_names(history(versioned))
    assert records_of(history(versioned), ["ann"])["text"].tolist() == ["film 1", "film 2"]

    (bad,) = quarantined(report)
    assert bad["row"] == 6
    assert bad["value"] == rows[5]
    assert [reason.split(":")[:2] for reason in bad["reasons"]] == [["expected", " answer is one of"]]

    details = json.loads(Path(report.details).read_text())
    assert details["users"] == {"LaMP_2": ["ann", "bob", "cid"]}
    assert report.n_users == details["n_users"] == 3
    version = report.data_version[str(history(versioned))]
    assert version in (versioned / "data/history/LaMP_2.dvc").read_text()
    remote = versioned / ".dvc-remote/files/md5" / version[:2] / version[2:]
    assert remote.exists()
    assert Path(report.docs).exists()
    assert waiting(versioned) == []
    done = versioned / "data/incoming/done" / f"{report.digest}-monday.jsonl"
    assert json.loads(done.read_text().splitlines()[0]) == rows[0]

    page = report.markdown()
    assert "| LaMP_2 | 5 | 0 | 1 |" in page
    assert not any(told in page for told in ("film", "ann", "bob", "dull"))

    again = ingest(versioned, drop(versioned, "tuesday.jsonl", *rows))
    assert again.tasks == {"LaMP_2": Counts(accepted=0, known=5, quarantined=1)}
    assert (again.history, again.n_users) == ({}, 0)
    assert again.data_version == report.data_version
    assert len(drop_names(history(versioned))) == 1
    status = ["git", "status", "--porcelain", "--untracked-files=all", "data"]
    shown = subprocess.run(status, cwd=versioned, capture_output=True, text=True, check=True).stdout
    assert shown.split() == ["??", "data/history/LaMP_2.dvc"]  # all else of data/ is DVC's, or nobody's


def test_parquet_of_several_tasks(versioned: Path) -> None:
    path = versioned / "data/incoming/mixed.parquet"
    path.parent.mkdir(parents=True)
    rows = [movie(1), {"task": "LaMP-3", "user_id": 7, "text": "Good", "score": 5.0}, {"task": "LaMP-3", "user_id": 8}]
    pd.DataFrame(
        [{**row, "user_id": str(row["user_id"])} for row in [*rows[:2], movie(2), movie(3), movie(4)]]
    ).to_parquet(path)
    report = ingest(versioned, path)
    assert report.tasks == {"LaMP_2": Counts(accepted=4), "LaMP_3": Counts(accepted=1)}
    assert sorted(report.history) == ["LaMP_2", "LaMP_3"]
    assert records_of(history(versioned, "LaMP_3"), ["7"])["answer"].tolist() == ["5"]
    assert (versioned / "data/history/LaMP_3.dvc").exists()


@pytest.mark.parametrize(
    ("name", "rows", "why"),
    [
        (
            "bad.jsonl",
            [movie(1), movie(2), movie(3), movie(4, user_id=None)],
            r"1 of 4 rows are bad: more than the 20%",
        ),
        ("LaMP_2.jsonl", ["{", movie(1)], "1 of 2 rows are bad"),
        ("empty.jsonl", [], "holds no row"),
        ("torn.parquet", ["PAR1"], r"torn.parquet: cannot be read"),
    ],
)
def test_a_drop_too_bad_is_refused_whole(versioned: Path, name: str, rows: list[Any], why: str) -> None:
    path = drop(versioned, name, *rows)
    content = path.read_bytes()
    report = ingest(versioned, path, PARAMS)
    assert why.replace("\\", "") in report.refused
    assert not history(versioned).exists()
    assert waiting(versioned) == []
    folder = versioned / "data/quarantine" / report.digest
    assert (folder / "drop" / name).read_bytes() == content
    assert json.loads((folder / "report.json").read_text())["refused"] == report.refused
    assert "refused" in report.markdown()


def test_lamp_files_are_taken_whole_or_not_at_all(versioned: Path) -> None:
    incoming = versioned / "data/incoming"
    write_lamp(incoming / "LaMP_2", "first")
    (path,) = find_drops(incoming, 0)
    report = ingest(versioned, path, PARAMS)
    assert report.tasks == {"LaMP_2": Counts(accepted=2)}
    raw = versioned / "data/raw/LaMP_2"
    assert report.data_version[str(raw)] in (versioned / "data/raw/LaMP_2.dvc").read_text()
    first = folder_digest(raw)

    write_lamp(incoming / "official/LaMP_2", "first")
    assert ingest(versioned, incoming / "official").tasks == {"LaMP_2": Counts(known=2)}
    write_lamp(incoming / "official/LaMP_2", "second", gold="a secret tag")
    refused = ingest(versioned, incoming / "official")
    assert refused.refused.startswith("Its files do not read as LaMP's")
    assert "secret" not in refused.markdown()
    assert "a secret tag" in (Path(refused.quarantine) / "faults.txt").read_text()
    assert folder_digest(raw) == first
    assert waiting(versioned) == []


def test_an_unreachable_remote_leaves_the_data_merged_and_the_next_run_pushes(versioned: Path) -> None:
    params = Params(ingest=Ingest(commit=True))
    config = versioned / ".dvc/config"
    good = config.read_text()
    config.write_text(good.replace("../.dvc-remote", "../dvc.yaml/nowhere"))
    report = ingest(versioned, drop(versioned, "a.jsonl", movie(1)), params)
    assert report.tasks["LaMP_2"].accepted == 1
    assert "See `dvc remote list`" in report.not_published
    assert waiting(versioned) == []
    config.write_text(good)
    publish(versioned / "data", params)
    version = report.data_version[str(history(versioned))]
    assert (versioned / ".dvc-remote/files/md5" / version[:2] / version[2:]).exists()

    show = ["git", "log", "--stat", "--format=%s"]
    told = subprocess.run(show, cwd=versioned, capture_output=True, text=True, check=True).stdout
    assert told.count("Data: what came in") == 1  # the second run found it committed
    assert "data/history/LaMP_2.dvc" in told


def users_told(report: IngestReport) -> dict[str, list[str]]:
    return dict(json.loads(Path(report.details).read_text())["users"])


def test_what_a_failed_run_merged_is_new_in_the_next_runs_report_and_only_there(versioned: Path) -> None:
    config = versioned / ".dvc/config"
    good = config.read_text()
    config.write_text("[core")
    with pytest.raises(VersionsError, match="dvc add failed"):
        ingest(versioned, drop(versioned, "a.jsonl", movie(1), movie(2, "bob")))
    assert len(drop_names(history(versioned))) == 1
    config.write_text(good)
    report = ingest(versioned, versioned / "data/incoming/a.jsonl")
    assert report.tasks == {"LaMP_2": Counts(accepted=2)}
    assert [*report.history.values()] == drop_names(history(versioned))
    assert (users_told(report), report.n_users) == ({"LaMP_2": ["ann", "bob"]}, 2)

    again = ingest(versioned, drop(versioned, "a.jsonl", movie(1), movie(2, "bob")))
    assert (again.tasks, again.history) == ({"LaMP_2": Counts(known=2)}, {})
    assert again.details != report.details
    assert (users_told(report), users_told(again)) == ({"LaMP_2": ["ann", "bob"]}, {})
    assert not list((versioned / "data/incoming").glob(".*.json"))


def test_a_run_that_died_between_two_tasks_is_told_whole_by_the_next(
    versioned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: Any) -> int:
        raise KeyboardInterrupt

    review = {"task": "LaMP_3", "user_id": "cid", "text": "Good", "score": 5}
    path = drop(versioned, "a.jsonl", movie(1), review)
    with monkeypatch.context() as patched:
        patched.setattr(job, "n_records", die)  # the first call after the first task's records are there
        with pytest.raises(KeyboardInterrupt):
            ingest(versioned, path)
    assert (len(drop_names(history(versioned))), drop_names(history(versioned, "LaMP_3"))) == (1, [])
    ingest(versioned, drop(versioned, "b.jsonl", movie(2, "dan")))  # meanwhile
    report = ingest(versioned, path)
    assert report.tasks == {"LaMP_2": Counts(accepted=1), "LaMP_3": Counts(accepted=1)}
    assert sorted(report.history) == ["LaMP_2", "LaMP_3"]
    assert users_told(report) == {"LaMP_2": ["ann"], "LaMP_3": ["cid"]}


@pytest.mark.parametrize("torn", [False, True])
def test_a_drop_that_grows_while_it_is_read_is_taken_again(
    versioned: Path, monkeypatch: pytest.MonkeyPatch, torn: bool
) -> None:
    line = json.dumps(movie(2))
    path = drop(versioned, "a.jsonl", movie(1))
    read_rows = job.read_rows

    def read_and_write(file: Path, **how: Any) -> Any:
        rows = list(read_rows(file, **how))
        with file.open("a") as more:
            more.write(f"{line[9:] if torn else line}\n")
        return rows

    with path.open("a") as half:
        half.write(line[:9] if torn else "")
    with monkeypatch.context() as patched:
        patched.setattr(job, "read_rows", read_and_write)
        first = ingest(versioned, path)
    assert first.refused == ""
    assert "changed while it was read" in first.left
    assert first.left in first.markdown()
    assert waiting(versioned) == ["a.jsonl"]
    second = ingest(versioned, path)
    assert second.tasks == {"LaMP_2": Counts(accepted=2) if torn else Counts(accepted=1, known=1)}
    assert (second.left, waiting(versioned)) == ("", [])
    assert records_of(history(versioned), ["ann"])["text"].tolist() == ["film 1", "film 2"]


def test_earlier_drops_that_are_not_here_are_fetched_before_anything_is_added(versioned: Path) -> None:
    ingest(versioned, drop(versioned, "a.jsonl", movie(1)), PARAMS)
    shutil.rmtree(history(versioned))  # a fresh clone: git has the .dvc file, nobody has pulled
    shutil.rmtree(versioned / ".dvc/cache")
    hidden = (versioned / ".dvc-remote").rename(versioned / ".dvc-remote-away")
    second = drop(versioned, "b.jsonl", movie(2))
    with pytest.raises(DataError, match=r"1 drop\(s\) that .*LaMP_2.dvc counts are not here"):
        ingest(versioned, second)
    assert drop_names(history(versioned)) == []
    assert waiting(versioned) == ["b.jsonl"]
    hidden.rename(versioned / ".dvc-remote")
    ingest(versioned, second)
    assert records_of(history(versioned), ["ann"])["text"].tolist() == ["film 1", "film 2"]


INGEST = """
import sys
from pathlib import Path
from hydra_ml.jobs.ingest import find_drops, ingest_drop
from hydra_ml.params import Ingest, Params
for path in find_drops(Path("data/incoming"), 0):
    ingest_drop(path, data=Path("data"), params=Params(ingest=Ingest(push=False)))
"""


AT = ["docs/.validations", "history/LaMP_2.dvc", "incoming/done"]


@pytest.mark.parametrize("at", ["history/LaMP_2", *(pytest.param(at, marks=pytest.mark.slow) for at in AT)])
def test_a_kill_at_any_point_is_healed_by_the_next_run(versioned: Path, at: str) -> None:
    """Killed as soon as a step's first trace is there; the next run ends as if nothing had happened."""
    drop(versioned, "a.jsonl", *(movie(1 + i % 28, f"u{i}") for i in range(40)), movie(1, tag="x"))
    process = subprocess.Popen([sys.executable, "-c", INGEST], cwd=versioned)
    while not (versioned / "data" / at).exists() and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(1.0)  # DVC, if it runs, is not ours to wait for
    for path in find_drops(versioned / "data/incoming", 0):
        ingest(versioned, path)
    assert waiting(versioned) == []
    assert len(drop_names(history(versioned))) == 1
    assert len(records_of(history(versioned), [f"u{i}" for i in range(40)])) == 40
    assert len(list((versioned / "data/quarantine").glob("*/LaMP_2.jsonl"))) == 1
    status = [sys.executable, "-m", "dvc", "status", "--json", "data/history/LaMP_2.dvc"]
    assert json.loads(subprocess.run(status, cwd=versioned, capture_output=True, check=True).stdout) == {}


@pytest.mark.slow
def test_a_full_disk_is_told_once_and_leaves_nothing_half_written(versioned: Path) -> None:
    """A limit on file size stands in for the end of the disk: both fail the write half-way."""
    path = drop(versioned, "a.jsonl", *(movie(1 + i % 28, f"u{i}-{os.urandom(20).hex()}") for i in range(4000)))

    def little_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))

    code = (
        INGEST.replace("import sys\n", "import sys\nfrom hydra_ml.errors import HydraError\n").replace(
            "    ingest_drop", "    try: ingest_drop"
        )
        + "    except HydraError as error: sys.exit(f'TOLD {error}')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=versioned, preexec_fn=little_room, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "TOLD data/incoming/a.jsonl: could not be taken in, the disk failed" in done.stderr
    assert drop_names(history(versioned)) == []
    assert not list((versioned / "data").rglob("*.partial"))
    assert waiting(versioned) == ["a.jsonl"]
    assert ingest(versioned, path).tasks["LaMP_2"].accepted == 4000


@pytest.mark.slow
def test_two_at_once_take_turns(versioned: Path) -> None:
    paths = [
        drop(versioned, f"{name}.jsonl", *(movie(i, f"{name}{i}") for i in range(1, 20)), movie(1)) for name in "ab"
    ]
    reports: list[IngestReport] = []
    threads = [threading.Thread(target=lambda path=path: reports.append(ingest(versioned, path))) for path in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(report.tasks["LaMP_2"].accepted for report in reports) == [19, 20]  # one record stood in both
    with pytest.raises(DataError, match=r"a.jsonl: no such drop; another run may have taken it"):
        ingest(versioned, paths[0])


@pytest.mark.parametrize("name", [os.fsdecode(b"caf\xe9.jsonl"), "x" * 235 + ".jsonl"], ids=["no UTF-8", "long"])
def test_any_name_that_a_file_can_have_is_taken_and_told(versioned: Path, name: str) -> None:
    drop(versioned, name, movie(1))
    (path,) = find_drops(versioned / "data/incoming", 0)
    report = ingest(versioned, path)
    assert report.tasks["LaMP_2"].accepted == 1
    assert json.loads(Path(report.details).read_text())["drop"] == report.drop
    assert report.markdown().encode()
    assert waiting(versioned) == []
    assert not list((versioned / "data/incoming").glob(".*.begun.json"))


def test_a_folder_of_lamp_files_nested_deep_is_refused_and_ended(versioned: Path) -> None:
    folder = versioned / "data/incoming/LaMP_2"
    for split in ("train", "dev"):
        (folder / split).mkdir(parents=True, exist_ok=True)
        (folder / split / f"{split}_questions.json").write_text("[" * 900 + "]" * 900)
        (folder / split / f"{split}_outputs.json").write_text("[]")
    report = ingest(versioned, folder)
    assert "every fault is told" in report.refused
    assert waiting(versioned) == []
    assert not list((versioned / "data/incoming").glob(".*.begun.json"))


def test_a_pipe_among_lamp_files_is_refused(versioned: Path) -> None:
    folder = versioned / "data/incoming/LaMP_2"
    for split in ("train", "dev"):
        (folder / split).mkdir(parents=True)
        os.mkfifo(folder / split / f"{split}_questions.json")
    assert "every fault is told" in ingest(versioned, folder).refused
