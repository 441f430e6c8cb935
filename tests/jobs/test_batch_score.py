"""batch_score: every request is answered or told why not, once, whoever works on it, however often it is cut short."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from hydra_ml.errors import ArtifactError, BudgetExceeded, DataError
from hydra_ml.io.predictions import PREDICTIONS, load_dead_letters, load_predictions
from hydra_ml.jobs.batch_report import BatchPlan, BatchReport
from hydra_ml.jobs.batch_score import finish_batch, plan_batch, score_requests, score_shard
from hydra_ml.params import LLM, BatchScore
from hydra_ml.predictions import PREDICTION_COLUMNS
from hydra_ml.tasks import get_task

ROOT = Path(__file__).parents[2]
COSTS = ["llm_calls"]  # says who paid; everything else must come out the same


def evaluated(project) -> pd.DataFrame:
    queries = pd.read_parquet(project.data / "prepare/LaMP_2/queries.parquet")
    return queries[queries["role"] == "evaluate"].reset_index(drop=True)


def entry(request_id: str, user_id: str, input: str, **more) -> dict:
    return {"request_id": request_id, "user_id": user_id, "task": "LaMP-2", "input": input, **more}


def write(path: Path, entries: list) -> Path:
    lines = [line if isinstance(line, str) else json.dumps(line) for line in entries]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def stored_requests(project, n: int = 24, *, seed: int = 0) -> list[dict]:
    """Questions that `generate` has asked already, in drawn order."""
    queries = evaluated(project).sample(n, random_state=seed)
    columns = (queries[name] for name in ("query_id", "user_id", "input"))
    return [entry(*row) for row in zip(*columns, strict=True)]


def fresh_requests(project, n: int) -> list[dict]:
    """Questions nobody has asked: known users, other users' films; every third comes with a history of its own."""
    records = pd.read_parquet(project.data / "prepare/LaMP_2/records.parquet")
    users = sorted(records["user_id"].unique())
    drawn = random.Random(5)
    requests = []
    for i in range(n):
        user = users[i % len(users)]
        others = records[records["user_id"] != user]
        asked = others.iloc[drawn.randrange(len(others))]
        own = [
            {
                "id": str(j),
                "tag": row["answer"],
                "description": f"{row['text']} Part {i}-{j}.",
                "date": f"2020-01-{j + 1:02d}",
            }
            for j, row in enumerate(others.sample(5, random_state=i).to_dict("records"))
        ]
        requests.append(
            entry(f"fresh {i}", user, f"{asked['input']} Again, {i}.", **({"history": own} if i % 3 == 0 else {}))
        )
    return requests


def small_shards(project, n: int = 3):
    return project.params.model_copy(update={"batch_score": BatchScore(requests_per_shard=n)})


def places(project) -> dict[str, Any]:
    return {"data": project.data, "registry": project.registry, "cache": project.cache}


def run(project, requests: Path, params=None) -> BatchReport:
    return score_requests(requests, project.task, params or small_shards(project), **places(project))


def plan(project, requests: Path, params=None) -> BatchPlan:
    return plan_batch(requests, project.task, params or small_shards(project), **places(project))


def bought(cache: Path) -> int:
    try:
        with sqlite3.connect(f"file:{cache / 'responses.sqlite'}?mode=ro", uri=True) as db:
            return db.execute("SELECT count(*) FROM answers").fetchone()[0]
    except sqlite3.Error:
        return 0


def forget_answers(project) -> None:
    for path in project.cache.glob("responses.sqlite*"):
        path.unlink()


def test_every_request_is_answered_or_told_why_not(own_project):
    known = stored_requests(own_project, 6)
    film = own_project.task.templated("Two brothers rob the bank they work for.")
    history = [{"id": "1", "tag": "comedy", "description": "A clown and a judge.", "date": "2021-03"}]
    bad = {
        "{broken": "not JSON",
        "[1]": "not a JSON object",
        json.dumps({**entry("no user", "x", film), "user_id": None}): "lacks user_id",
        json.dumps(entry("blank", "x", "  ")): "input is empty",
        json.dumps(known[0]): "request_id repeated; it stands on line 1 already",
        json.dumps({**entry("else", "x", film), "task": "LaMP-3"}): "is for LaMP-3; this batch scores LaMP-2",
        json.dumps({**entry("what", "x", film), "task": "LaMP-99"}): "task is none that is known here",
        json.dumps(
            entry("foreign", "x", get_task("LaMP_3").templated("It broke."))
        ): "its input is a question of LaMP-3, not of LaMP-2",
        json.dumps(
            entry("hist", "x", film, history=[{"tag": "no such", "description": "d"}])
        ): "history item 1 is no record",
        json.dumps(entry("list", "x", film, history={"a": 1})): "history is not a list",
    }
    good = [*known, entry("stranger", "nobody", film), entry("sent", "nobody too", film, history=history)]
    path = write(own_project.root / "data/requests/LaMP_2/mixed.jsonl", [*good, "", *bad])
    report = run(own_project, path)

    assert (report.requests, report.scored, report.dead_letters) == (len(good) + len(bad), len(good), len(bad))
    found = load_predictions(Path(report.predictions))
    assert list(found.columns) == list(PREDICTION_COLUMNS) == PREDICTIONS.names
    assert found["request_id"].tolist() == [request["request_id"] for request in good]
    assert found["release"].unique().tolist() == [own_project.champion]
    by_id = found.set_index("request_id")
    assert by_id.loc["stranger", ["personalization", "n_history"]].tolist() == ["none", 0]
    assert by_id.loc["sent", ["personalization", "n_history"]].tolist() == ["shared", 1]
    assert sum(report.personalization.values()) == report.scored
    assert (found["error"] == "").all()

    letters = load_dead_letters(Path(report.dead_letters_file))
    assert [letter.line for letter in letters] == list(range(len(good) + 2, len(good) + 2 + len(bad)))
    for letter, reason in zip(letters, bad.values(), strict=True):
        assert letter.reason.startswith(reason)
    assert (
        "clown"
        not in Path(report.dead_letters_file).read_text()
        + Path(report.predictions).with_suffix("").joinpath("report.json").read_text()
    )
    assert not list(Path(report.predictions).with_suffix("").glob("requests-*")), "texts go when the batch is done"


def test_predictions_are_those_of_the_evaluation_for_whom_the_history_is_the_same(own_project):
    """A request sees all of its user's records, so only users whose questions saw all of theirs can be compared."""
    queries = evaluated(own_project)
    records = pd.read_parquet(own_project.data / "prepare/LaMP_2/records.parquet").groupby("user_id").size()
    whole = queries[queries["profile"].str.len() == queries["user_id"].map(records)]
    assert len(whole) > 3
    path = write(
        own_project.root / "whole.jsonl",
        [entry(*row) for row in zip(whole["query_id"], whole["user_id"], whole["input"], strict=True)],
    )
    found = load_predictions(Path(run(own_project, path).predictions)).set_index("request_id")
    wrote = pd.read_parquet(own_project.data / "evaluate/LaMP_2/predictions.parquet")
    wrote = wrote[wrote["method"] == "hydra"].set_index("query_id").loc[found.index]
    assert found["prediction"].tolist() == wrote["prediction"].tolist()
    assert found["n_history"].tolist() == wrote["n_history"].tolist()


def test_order_and_threads_change_no_bit(own_project):
    path = write(own_project.root / "fresh.jsonl", fresh_requests(own_project, 12))
    first = run(own_project, path)
    expected = Path(first.predictions).read_bytes()
    assert first.shards > 2
    Path(first.predictions).unlink()
    again = run(own_project, path)  # pays for nothing now
    assert again.llm_calls == 0
    paid = load_predictions(Path(again.predictions))
    Path(again.predictions).write_bytes(expected)
    pd.testing.assert_frame_equal(
        load_predictions(Path(again.predictions)).drop(columns=COSTS), paid.drop(columns=COSTS)
    )

    outcomes = []
    for workers, order in ((1, reversed), (3, list)):
        Path(first.predictions).unlink()
        planned = plan(own_project, path)
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(score_shard, [planned] * planned.n_shards, order(range(planned.n_shards))))
        outcomes.append(Path(finish_batch(planned).predictions).read_bytes())
    assert outcomes[0] == outcomes[1]
    Path(first.predictions).write_bytes(outcomes[0])
    pd.testing.assert_frame_equal(load_predictions(Path(first.predictions)), paid)


SCRIPT = """
import sys
from pathlib import Path
from hydra_ml.io.params_file import load_params
from hydra_ml.io.mlflow.registry import Registry
from hydra_ml.jobs.batch_score import plan_batch, score_requests, score_shard
from hydra_ml.params import BatchScore
from hydra_ml.tasks import get_task
requests, uri, action = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
params = load_params(Path("params.yaml")).model_copy(update={"batch_score": BatchScore(requests_per_shard=3)})
params = params.model_copy(update={"llm": params.llm.model_copy(update={"concurrency": 2})})
where = {"data": Path("data").resolve(), "registry": Registry(uri), "cache": Path(".cache").resolve()}
if action == "all":
    score_requests(requests, get_task("LaMP_2"), params, **where)
else:
    plan = plan_batch(requests, get_task("LaMP_2"), params, **where)
    print(score_shard(plan, int(action)).llm_calls)
"""


def worker(project, requests: Path, action: str) -> subprocess.Popen:
    command = [sys.executable, "-c", SCRIPT, str(requests), project.uri, action]
    return subprocess.Popen(command, cwd=project.root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_killed_batch_goes_on_and_pays_for_nothing_twice(own_project):
    path = write(own_project.root / "killed.jsonl", [*stored_requests(own_project, 30), "{broken"])
    forget_answers(own_project)
    uninterrupted = run(own_project, path)
    whole = load_predictions(Path(uninterrupted.predictions))
    Path(uninterrupted.predictions).unlink()
    forget_answers(own_project)

    first = worker(own_project, path, "all")
    deadline = time.monotonic() + 100
    shards = own_project.data / "predictions/LaMP_2"
    while (
        not (bought(own_project.cache) > 60 and list(shards.glob("*/shard-*.parquet"))) and time.monotonic() < deadline
    ):
        assert first.poll() is None, first.stderr.read()
        time.sleep(0.002)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    paid, finished = bought(own_project.cache), {file: file.read_bytes() for file in shards.glob("*/shard-*.parquet")}
    assert finished
    assert not list(shards.glob("killed*.parquet")), "killed too late to show anything"

    already = sum(json.loads(file.with_suffix(".json").read_text())["llm_calls"] for file in finished)
    report = run(own_project, path)
    found = load_predictions(Path(report.predictions))
    pd.testing.assert_frame_equal(found.drop(columns=COSTS), whole.drop(columns=COSTS))
    assert (report.requests, report.dead_letters) == (31, 1)
    # A prompt is one greedy call, one answer, and one sampled call, n answers; two calls were in flight.
    calls_paid = paid * 2 / (1 + own_project.params.generate.n_samples)
    assert abs(calls_paid + (report.llm_calls - already) - uninterrupted.llm_calls) <= 3


def test_two_processes_at_one_shard_leave_one_result_and_pay_once(own_project):
    forget_answers(own_project)
    path = write(own_project.root / "twice.jsonl", stored_requests(own_project, 8))
    planned = plan(own_project, path)
    workers = [worker(own_project, path, "0") for _ in range(2)]
    outputs = [one.communicate(timeout=120) for one in workers]
    assert [one.returncode for one in workers] == [0, 0], outputs
    said = [int(out.split()[-1]) for out, _ in outputs]
    assert said[0] == said[1] > 0  # both tell the one report of the one run
    for shard in range(1, planned.n_shards):
        score_shard(planned, shard)
    report = finish_batch(planned)
    assert report.scored == 8
    assert score_shard(planned, 0).llm_calls == said[0]  # who comes after the end still hears it


def test_a_begun_batch_keeps_its_release_and_a_new_one_takes_the_champion(own_project):
    path = write(own_project.root / "pinned.jsonl", stored_requests(own_project, 16))
    begun = plan(own_project, path)
    score_shard(begun, 0)
    registry, task = own_project.registry, own_project.task
    _, release = registry.release(task, "champion")
    run_id = registry.versions(task, "release")[0].run_id
    version = registry.register_release(task, dataclasses.replace(release, made_by="update_heads"), run_id=run_id)
    registry.point(task, {"champion": version})

    resumed = plan(own_project, path)
    assert (resumed.batch_id, resumed.release) == (begun.batch_id, own_project.champion)
    assert 0 not in resumed.unfinished
    report = run(own_project, path)
    assert load_predictions(Path(report.predictions))["release"].unique().tolist() == [own_project.champion]
    fresh = run(own_project, path)
    assert (fresh.batch_id == report.batch_id, fresh.release) == (False, version)
    assert run(own_project, path) == fresh  # done is done


def test_a_begun_batch_without_a_scored_shard_follows_the_champion(own_project):
    project = own_project
    path = write(project.root / "ask.jsonl", stored_requests(project, 8))
    options = {"data": project.data, "registry": project.registry, "cache": project.cache}
    begun = plan_batch(path, project.task, project.params, **options)
    _, release = project.registry.release(project.task, "champion")
    run_id = project.registry.version(project.task, "release", project.champion).run_id
    made = project.registry.register_release(
        project.task, dataclasses.replace(release, made_at="2026-11-20T01:00:00+00:00"), run_id=run_id
    )
    project.registry.point(project.task, {"champion": made})
    again = plan_batch(path, project.task, project.params, **options)
    assert (begun.release, again.release) == (project.champion, made)
    assert not Path(begun.folder).exists(), "its texts go with it"


def test_a_budget_stops_the_batch_and_the_next_run_goes_on(own_project):
    forget_answers(own_project)
    path = write(own_project.root / "budget.jsonl", stored_requests(own_project, 24))
    params = small_shards(own_project)
    params = params.model_copy(update={"llm": params.llm.model_copy(update={"max_calls": 40})})
    finished: list[int] = []
    for _ in range(2):
        with pytest.raises(BudgetExceeded, match=r"llm\.max_calls = .*shards are scored"):
            run(own_project, path, params)
        planned = plan(own_project, path, params)
        finished.append(planned.n_shards - len(planned.unfinished))
    assert run(own_project, path).scored == 24
    assert 0 < finished[0] < finished[1]


def test_money_is_one_budget_for_all_shards_and_is_told(own_project):
    forget_answers(own_project)
    path = write(own_project.root / "money.jsonl", stored_requests(own_project, 24))
    small = small_shards(own_project)
    prices = {"price_in": 1.0, "price_out": 2.0}
    whole = run(own_project, path, small.model_copy(update={"llm": small.llm.model_copy(update=prices)}))
    assert whole.cost == pytest.approx((whole.tokens_in + 2 * whole.tokens_out) / 1e6)
    assert "in money" in whole.text()

    forget_answers(own_project)
    again = write(own_project.root / "less.jsonl", stored_requests(own_project, 24))
    bounded = small.llm.model_copy(update={**prices, "max_cost": whole.cost / 2})
    with pytest.raises(BudgetExceeded, match=r"llm\.max_cost = .*shards are scored"):
        run(own_project, again, small.model_copy(update={"llm": bounded}))
    with sqlite3.connect(own_project.cache / "responses.sqlite") as db:
        paid_in, paid_out = db.execute("SELECT sum(tokens_in), sum(tokens_out) FROM answers").fetchone()
    assert 0.2 * whole.cost < (paid_in + 2 * paid_out) / 1e6 <= whole.cost / 2


def test_shards_share_the_budget(own_project):
    path = write(own_project.root / "share.jsonl", stored_requests(own_project, 24))
    params = small_shards(own_project).model_copy(update={"llm": LLM(max_calls=101)})
    planned = plan(own_project, path, params)
    assert sum(planned.share(shard).max_calls for shard in range(planned.n_shards)) == 101
    assert planned.share(0).max_tokens is None
    score_shard(planned, 0)
    later = plan(own_project, path, params)
    assert later.share(0).max_calls == 0
    assert sum(later.share(shard).max_calls for shard in later.unfinished) == 101
    assert BatchPlan(**json.loads(json.dumps(dataclasses.asdict(later)))).share(1) == later.share(1)


def test_what_cannot_be_planned_or_finished_is_told(own_project):
    with pytest.raises(DataError, match=r"gone\.jsonl: cannot be read"):
        plan(own_project, own_project.root / "gone.jsonl")
    with pytest.raises(DataError, match="holds no request"):
        plan(own_project, write(own_project.root / "empty.jsonl", [""]))
    with pytest.raises(DataError, match="requests are read from"):
        plan(own_project, write(own_project.root / "some.docx", ["a,b"]))
    path = write(own_project.root / "half.jsonl", stored_requests(own_project, 16))
    planned = plan(own_project, path)
    score_shard(planned, 0)
    with pytest.raises(ArtifactError, match=r"of \d+ shards are not scored"):
        finish_batch(planned)


def test_only_dead_letters_make_an_empty_table(own_project):
    report = run(own_project, write(own_project.root / "junk.jsonl", ["{", "}"]))
    assert (report.scored, report.dead_letters, report.shards) == (0, 2, 0)
    assert load_predictions(Path(report.predictions)).empty


def test_texts_of_a_batch_killed_before_it_was_cleared_go_with_the_next(own_project, tmp_path):
    first, second = (write(tmp_path / f"{i}.jsonl", stored_requests(own_project, 4, seed=i)) for i in (1, 2))
    folder = Path(plan(own_project, first).folder)
    kept = {path: path.read_bytes() for path in folder.glob("requests-*")}
    assert kept
    run(own_project, first)
    assert not any(path.exists() for path in kept)
    for path, content in kept.items():  # as a kill between report and clearing would have left it
        path.write_bytes(content)
    plan(own_project, second)
    assert not any(path.exists() for path in kept)


@pytest.mark.parametrize("stem", [os.fsdecode(b"caf\xe9"), "x" * 240], ids=["no UTF-8", "long"])
def test_requests_of_any_name_are_scored(own_project, stem):
    project = own_project
    path = project.data / "requests/LaMP_2" / f"{stem}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    entry = {"request_id": "r", "user_id": "nobody", "task": "LaMP-2", "input": f"{project.task.instruction} a film"}
    path.write_text(json.dumps(entry) + "\n")
    where = {"data": project.data, "registry": project.registry, "cache": project.cache}
    report = score_requests(path, project.task, project.params, **where)
    assert report.scored == 1
    assert report.predictions.encode()
