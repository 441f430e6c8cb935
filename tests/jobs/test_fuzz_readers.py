"""What comes in, what batches leave, and what releases are judged on: read to a value or to an error of ours, whatever
the bytes; one bad file stops no other."""

from __future__ import annotations

import datetime as dt
import gzip
import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import Any, cast

import pandas as pd
import pytest

from hydra_ml.errors import HydraError
from hydra_ml.io.batch_folder import BatchFacts, BatchFolder, begun_batch, clear_finished, content_of
from hydra_ml.io.gx.drop_checks import judge_rows
from hydra_ml.io.gx.expectations import new_context
from hydra_ml.io.predictions import DeadLetter, load_dead_letters, load_predictions
from hydra_ml.io.requests import read_requests
from hydra_ml.io.row_files import read_rows
from hydra_ml.io.tables import save_table
from hydra_ml.jobs.batch_report import BatchReport
from hydra_ml.jobs.waiting_requests import set_aside, unreadable, waiting_requests
from hydra_ml.jobs.why import why_text
from hydra_ml.params import LLM
from hydra_ml.predictions import PREDICTIONS
from hydra_ml.records import RECORD_COLUMNS, Request
from hydra_ml.release import PARTS, ComponentRef, Release
from hydra_ml.serving.frozen_queries import ANSWERED, FrozenQueries
from hydra_ml.tasks import get_task
from tests.fuzzing import Reading, misbehaviours

MOVIES = get_task("LaMP_2")
SHORT, LONG = 60, 5000


def asked(n: int) -> list[dict[str, Any]]:
    history = [{"id": "1", "tag": "comedy", "description": "A clown.", "date": "2020-01-01"}]
    whose = {"task": "LaMP-2", "input": f"{MOVIES.instruction} a film"}
    return [{"request_id": f"r{i}", "user_id": f"u{i}", **whose, "history": json.dumps(history)} for i in range(n)]


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pd.DataFrame(rows).to_parquet(path)
    elif path.suffix == ".csv":
        pd.DataFrame(rows).to_csv(path, index=False)
    else:
        lines = json.dumps(rows) if path.suffix == ".json" else "".join(json.dumps(row) + "\n" for row in rows)
        path.write_bytes(gzip.compress(lines.encode()) if path.suffix == ".gz" else lines.encode())
    return path


def requests_of(root: Path, ending: str) -> Reading:
    good = written(root / "requests/good.jsonl", asked(2))
    bad = written(root / f"requests/bad{ending}", asked(4))

    def read() -> None:
        waiting = waiting_requests(MOVIES, data=root)  # raises nothing at all
        assert good in waiting, "another file is hidden"
        assert not unreadable(good)
        unreadable(bad)
        read_requests(bad, MOVIES)

    return Reading(read, [bad])


def parquet_requests(root: Path) -> Reading:
    return requests_of(root, ".parquet")


def json_requests(root: Path) -> Reading:
    return requests_of(root, ".jsonl")


def csv_requests(root: Path) -> Reading:
    return requests_of(root, ".csv")


def zipped_requests(root: Path) -> Reading:
    return requests_of(root, ".jsonl.gz")


def drops_of(root: Path, ending: str) -> Reading:
    rows = [
        {"task": "LaMP-2", "user_id": f"u{i}", "date": f"2020-01-0{i + 1}", "description": f"film {i}", "tag": "comedy"}
        for i in range(4)
    ]
    path = written(root / f"drop{ending}", rows)
    return Reading(lambda: list(read_rows(path)), [path])


def parquet_drops(root: Path) -> Reading:
    return drops_of(root, ".parquet")


def json_drops(root: Path) -> Reading:
    return drops_of(root, ".jsonl")


def array_drops(root: Path) -> Reading:
    return drops_of(root, ".json")


def judged_drops(root: Path) -> Reading:
    """Rows that were read are judged, and bad ones can be written down."""
    reading = drops_of(root, ".parquet")
    runs = count()

    def read() -> None:
        rows = list(read_rows(reading.targets[0]))
        context = new_context()
        judged = judge_rows(
            rows, max_text_chars=999, today=dt.date(2026, 1, 1), context=context, run_name=str(next(runs))
        )
        assert len(judged.reasons) + sum(map(len, judged.records.values())) == len(rows)
        json.dumps([row.value for row in rows], default=str)

    return Reading(read, reading.targets)


def a_prediction(number: int) -> dict[str, Any]:
    candidates = [{"answer": "comedy", "votes": 3, "personal": 0.5, "shared": -0.25, "greedy_share": 0.5}]
    values = (f"r{number}", "u1", "comedy", 0.5, "comedy", "personal", 2, ["a", "b"], candidates, "1", 4, 100, 9, "")
    return dict(zip(PREDICTIONS.names, values, strict=True))


def finished_batch(root: Path, name: str = "asked-1") -> BatchFolder:
    folder = BatchFolder(root / "predictions/LaMP_2" / name)
    facts = BatchFacts(batch_id="1", content="00", task="LaMP_2", release="1")
    letters = [DeadLetter("lost", 3, "input is empty")]
    folder.lay_out(facts, [Request(f"r{i}", "u1", "x", i, None) for i in range(3)], letters, per_shard=9)
    folder.keep(0, pd.DataFrame([a_prediction(i) for i in range(3)]), {"shard": 0})
    report = BatchReport("1", "LaMP_2", "1", "p", "d", 4, 3, 1, 1, {"personal": 3}, 1, 1, 1, 1, 1.0, 1.0)
    folder.finish(*folder.joined(), {"batch": asdict(report), "shards": [{"shard": 0}]})
    return folder


def records_table(root: Path) -> Path:
    path = root / "prepare/LaMP_2/records.parquet"
    rows = [("u1", record_id, "text", "input", "comedy", "2020") for record_id in "abc"]
    save_table(pd.DataFrame(rows, columns=list(RECORD_COLUMNS)), path)
    return path


def predictions_and_why(root: Path) -> Reading:
    batch, records = finished_batch(root), records_table(root)

    def read() -> None:
        with suppress(HydraError):
            load_predictions(batch.predictions)
        with suppress(HydraError):
            why_text(batch.predictions, "lost", root)
        why_text(batch.predictions, "r1", root, [batch.predictions])

    return Reading(read, [batch.predictions, batch.path / "report.json", batch.dead_letters, records])


def batch_state(root: Path) -> Reading:
    """The notes of batches: a spoiled one hides no other batch, and stops no other from being begun."""
    home = root / "predictions/LaMP_2"
    batch, good = finished_batch(root), finished_batch(root, "asked-2")
    half = BatchFolder(home / "half-3")
    facts = BatchFacts(batch_id="3", content="11", task="LaMP_2", release="1")
    half.lay_out(facts, [Request("r", "u1", "x", 1, None)], [DeadLetter("a", 2, "why")], per_shard=9)
    half.keep(0, pd.DataFrame([a_prediction(0)]).assign(request_id="r"), {"shard": 0})
    kept = root / "kept"
    shutil.copytree(half.path, kept)
    waiting = written(root / "requests/LaMP_2/new.jsonl", asked(1))

    def read() -> None:
        assert good.dead_letters.relative_to(root).as_posix() in set_aside(MOVIES, data=root)
        assert waiting_requests(MOVIES, data=root) == [waiting]
        begun_batch(home, "22", "")
        clear_finished(home)
        for some in (batch, half):
            for look in (some.facts, some.report, some.joined, lambda some=some: some.asked(0)):
                with suppress(HydraError):
                    look()
            with suppress(HydraError):
                some.shard_report(0)
            with suppress(HydraError):
                load_dead_letters(some.dead_letters)
        content_of(waiting)

    names = ("batch.json", "refused.jsonl", "shard-00000.json", "shard-00000.parquet", "requests-00000.parquet")
    return Reading(
        read,
        [
            batch.path / "batch.json",
            batch.path / "report.json",
            batch.dead_letters,
            *(half.path / name for name in names),
        ],
    )


class Judging(FrozenQueries):
    """Frozen queries whose releases always say the same."""

    def _score(self, version: str, queries: pd.DataFrame) -> pd.DataFrame:
        answered = queries[["query_id", "user_id"]].assign(prediction="comedy", failed=False)
        return answered[list(ANSWERED)]


def frozen_queries(root: Path) -> Reading:
    records = records_table(root)
    queries = records.with_name("queries.parquet")
    names = ("query_id", "user_id", "role", "input", "gold", "profile")
    rows = [(f"q{i}", "u1", "evaluate", "asked", "comedy", ["a"]) for i in range(4)]
    save_table(pd.DataFrame(rows, columns=list(names)), queries)
    parts = {part: ComponentRef(part, "1", "d") for part in PARTS}
    release = Release("LaMP_2", parts, "v", (), {}, "", "nightly", "", True)

    def read() -> None:
        frozen = Judging(root, MOVIES, cast(Any, None), root / "cache", LLM())
        frozen.side_by_side(("1", release), ("2", release))

    read()
    kept = {path: path.read_bytes() for path in (root / "cache").rglob("*.parquet")}

    def restore() -> None:
        for path in (root / "cache").rglob("*.parquet"):
            path.unlink()
        for path, content in kept.items():
            path.write_bytes(content)

    return Reading(read, [queries, *sorted(kept)], restore=restore)


READERS = (
    parquet_requests, json_requests, parquet_drops, json_drops, predictions_and_why, batch_state, frozen_queries,
    judged_drops, csv_requests, zipped_requests, array_drops,
)  # fmt: skip
FEWER = {"judged_drops": 20}  # times fewer: a judgement takes a while


@pytest.mark.parametrize("n", [SHORT, pytest.param(LONG, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
@pytest.mark.parametrize("build", READERS, ids=lambda build: build.__name__)
def test_any_bytes_end_in_a_value_or_an_error_of_ours(build: Callable[[Path], Reading], n: int, tmp_path: Path) -> None:
    reading = build(tmp_path)
    n //= FEWER.get(build.__name__, 1)
    found = misbehaviours(reading, n)
    assert not found, found.most_common(5)
