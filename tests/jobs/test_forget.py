"""A forgotten user is in no file any more, others' heads are what they were, and what comes again is refused."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hydra_ml.cli.main import main
from hydra_ml.errors import ArtifactError, DataError
from hydra_ml.io import dvc as versions
from hydra_ml.io.files import load_json, save_json
from hydra_ml.io.history_store import drop_names, records_of, stored_records
from hydra_ml.io.mlflow.registry import Registry
from hydra_ml.io.response_cache import ResponseCache
from hydra_ml.io.tables import load_table
from hydra_ml.jobs import forget as job
from hydra_ml.jobs.forget_refit import fitted_heads
from hydra_ml.jobs.forget_stores import Place, stores
from hydra_ml.jobs.ingest import ingest_drop
from hydra_ml.jobs.ingest_report import IngestReport
from hydra_ml.params import Params
from hydra_ml.serving.open_release import open_release
from hydra_ml.tasks import get_task
from tests.jobs.forget_world import OTHER, PHRASE, USER, World, copied, opened
from tests.jobs.ingest_world import drop
from tests.jobs.update_world import ROOT

KEPT = ("data/forgotten.json",)
FORGET = """
import sys
from pathlib import Path
from hydra_ml.jobs import forget, forget_stores
real, n = forget_stores.take_out, 0
def counted(path, marks):
    global n
    n += 1
    if n == int(sys.argv[1]):
        import os, signal
        os.kill(os.getpid(), signal.SIGKILL)
    return real(path, marks)
forget_stores.take_out = counted
from hydra_ml.io.params_file import load_params
from hydra_ml.stages.prepare import prepare
from hydra_ml.tasks import get_task
place = forget.here(Path("data"), [get_task("LaMP_2")])
forget.forget(forget.plan_forget("user-000", place), place, load_params(Path("params.yaml")))
"""


@pytest.fixture
def world(project, tmp_path, monkeypatch) -> World:
    return opened(project, tmp_path / "project", monkeypatch)


def forget(world: World, user: str = USER, **options: str) -> Path:
    return job.forget(job.plan_forget(user, world.place, **options), world.place, world.params)


def files(world: World) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in world.root.rglob("*") if path.is_file() and path.suffix != ".lock"}


def test_nothing_of_the_user_is_left_in_any_file_and_others_are_what_they_were(world):
    before = {version: world.bank(version).heads_of(world.bank(version).user_ids()) for version in ("1", "2")}
    others = stored_records(world.data, world.task, [OTHER])
    models = world.root / ".mlflow/artifacts/lamp-2/models"
    bank = next(path.parent for path in models.rglob("heads-*") if USER.encode() in path.read_bytes())
    for name in ("m-whole", "m-half"):  # uploaded, and killed before a version named them
        shutil.copytree(bank, models / name / "artifacts")
    (models / "m-half/artifacts/manifest.json").unlink()
    where = world.lives_in(PHRASE, USER)
    assert len({name.split("/")[1] for name in where if name.startswith("data/")}) > 10, "the search finds things"
    assert {name.partition("/")[0] for name in where} == {"data", ".mlflow", ".cache"}

    receipt = forget(world)
    assert not world.lives_in(PHRASE, USER)
    assert not {store.name: found for store in stores(world.place, {}) if (found := store.find(job._bare(USER, "")))}
    for version, heads in before.items():
        now = world.bank(version).heads_of(heads.user_ids)
        assert USER in heads.user_ids
        assert now.user_ids == tuple(user for user in heads.user_ids if user != USER)
        kept = [place for place, user in enumerate(heads.user_ids) if user != USER]
        np.testing.assert_array_equal(now.table, heads.table[kept])
    assert stored_records(world.data, world.task, [OTHER]).equals(others)
    assert list(load_table(next(world.data.glob("predictions/LaMP_2/*.parquet")))["user_id"]) == [OTHER]
    with ResponseCache(world.cache / "responses.sqlite") as cache:
        assert [*cache.get_many([f"{n:032x}" for n in range(4)])] == [f"{n:032x}" for n in (1, 2)], "shared ones stay"
    told = json.dumps(load_json(receipt))
    assert PHRASE not in told
    assert USER not in told
    assert load_json(receipt)["base"]["LaMP_2"]["champion"] == world.champion

    # Every release opens, and serves the forgotten user with the shared head.
    for version in ("1", "2"):
        assert not len(world.head(version, component="reranker"))
        opened = open_release(world.registry, world.task, version, world.cache)
        assert not opened.adapter.bank.heads_of([USER]).user_ids
        assert "forgotten" in world.registry.version(world.task, "release", version).tags
    users = world.registry.tracking.run(world.registry.version(world.task, "release", "1").run_id).user_measures()
    assert users is not None
    assert set(users["user_id"]) >= {OTHER}
    assert USER not in set(users["user_id"])
    drop = drop_names(world.data / "history/LaMP_2")
    assert records_of(world.data / "history/LaMP_2", [USER]).empty
    assert len(drop) == 1, "the rewritten drop is the only one"


@pytest.mark.slow
def test_a_run_that_was_killed_is_gone_on_with_and_ends_the_same(world):
    for place in ("4", "25"):  # among the first files, and far into them
        killed = subprocess.run([sys.executable, "-c", FORGET, place], check=False, capture_output=True, timeout=120)
        assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
        assert world.lives_in(PHRASE, USER) - {*KEPT}
    (journal,) = (world.root / ".forget").glob("*.journal")
    assert journal.stat().st_mode & 0o077 == 0, "ids and texts are nobody else's to read"
    plan = job.plan_forget(USER, world.place)
    assert plan.unfinished
    receipt = job.forget(plan, world.place, world.params)
    assert not world.lives_in(PHRASE, USER)
    assert load_json(receipt)["stores"]["data/raw"]["removed"]
    open_release(world.registry, world.task, "2", world.cache)


def test_the_search_by_receipt_finds_what_came_back_and_a_changed_receipt(world, tmp_path):
    receipt = forget(world)
    assert job.verify(receipt, world.place, USER).is_good
    came = world.add_drop(world.row(3))
    assert [*job.verify(receipt, world.place).found] == ["data/history"], "by digests alone"
    (world.data / f"history/LaMP_2/{came}.parquet").unlink()
    (world.data / "reports/other.html").write_text(f"<p>{PHRASE} 3</p>")
    assert [*job.verify(receipt, world.place).found] == ["data/reports"]
    (world.data / "reports/other.html").unlink()

    document = load_json(receipt)
    document["stores"]["data/raw"]["removed"] += 1
    save_json(document, tmp_path / "forged.json")
    forged = job.verify(tmp_path / "forged.json", world.place)
    assert (forged.signature.is_whole, forged.is_good) == (False, False)
    (world.root / ".forget/key").unlink()
    foreign = job.verify(receipt, world.place).signature
    assert (foreign.is_whole, foreign.is_ours) == (True, False)
    with pytest.raises(DataError, match="is not of user 'user-001'"):
        job.verify(receipt, world.place, OTHER)
    save_json({"kind": "other"}, tmp_path / "none.json")
    with pytest.raises(ArtifactError, match="no receipt"):
        job.verify(tmp_path / "none.json", world.place)


@pytest.fixture
def hydra_ml(world, capsys):
    def run(*args: str) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([*args])
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


@pytest.mark.slow
def test_the_command_changes_nothing_unless_it_is_told_to(world, hydra_ml):
    before = files(world)
    code, out, _ = hydra_ml("forget", USER, "--dry-run")
    assert code == 0
    assert "data/raw: " in out
    assert "MLflow registry, LaMP-2: " in out
    code, _, err = hydra_ml("forget", USER)
    assert (code, "--yes" in err) == (2, True)
    code, _, err = hydra_ml("forget", "nobody", "--yes")
    assert (code, err.count("\n")) == (1, 1)
    assert "'nobody': nothing is kept" in err
    assert hydra_ml("forget", USER, "--record", "beef", "--yes")[0] == 1
    assert hydra_ml("forget", " ", "--yes")[0] == 1
    assert hydra_ml("forget")[0] == 2
    assert files(world) == before

    code, out, _ = hydra_ml("forget", USER, "--yes")
    assert code == 0
    (receipt,) = (world.root / ".forget").glob("*.json")
    code, out, _ = hydra_ml("forget", "--verify", str(receipt))
    assert (code, "good" in out) == (0, True)
    (world.data / "reports/late.html").write_text(f"by {USER}")
    code, out, err = hydra_ml("forget", USER, "--verify", str(receipt))
    assert (code, "FOUND in data/reports" in out) == (1, True)
    code, _, err = hydra_ml("forget", OTHER, "--allow-return")
    assert code == 0


@pytest.mark.slow
def test_one_record_goes_and_the_head_is_what_it_were_without_it(world, project, tmp_path, monkeypatch):
    """Two projects, one of which never had the record: the same heads, to 1e-6, on the same bases."""
    records = records_of(world.data / "history/LaMP_2", [USER])
    gone = records.iloc[2]
    never = copied(project, tmp_path / "never")
    never.add_drop(*(never.row(i) for i in range(1, 9) if f"{PHRASE} {i}" != gone["text"]), never.row(1, OTHER))
    with monkeypatch.context() as patch:
        patch.setattr(job, "refit_heads", lambda place, *rest: real_refit(with_stages(place), *rest))
        receipt = forget(world, record=str(gone["record_id"]))
    assert load_json(receipt)["refitted"] == {"LaMP_2": {"1": ["adapter"], "2": ["adapter"]}}
    assert not len(world.head("1", component="reranker")), "a head that is not better than the shared one is none"
    assert not world.lives_in(gone["record_id"])
    assert not world.lives_in(f'"{gone["text"]}"', f">{gone['text']}<")
    left = records_of(world.data / "history/LaMP_2", [USER])
    assert left["text"].tolist() == records["text"].drop(index=2).tolist()
    (component, heads), *_ = fitted_heads(with_stages(never.place), world.task, "1", USER, world.params).items()
    np.testing.assert_allclose(world.head("1", component=component), heads.table, atol=1e-6)
    assert np.abs(heads.table).max() > 1e-3, "a head that says something"
    assert job.verify(receipt, world.place, USER).is_good


@pytest.mark.slow
def test_what_comes_again_is_refused_until_it_is_let_in_and_old_versions_are_gone(versioned, monkeypatch):
    """With DVC, its remote and what ingest does: a user's rows are refused, then one record's, others' come in."""
    monkeypatch.chdir(versioned)
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    registry = Registry(f"sqlite:///{versioned / '.mlflow' / 'mlflow.db'}", cache=versioned / ".cache")
    place = Place(versioned, versioned / "data", versioned / ".cache", registry, [get_task("LaMP_2")])
    here = World(versioned, registry, place.tasks[0], Params(), "")

    def take(name: str, *rows: dict) -> IngestReport:
        return ingest_drop(drop(versioned, name, *rows), data=place.data, params=Params())

    first = take("first.jsonl", here.row(1), here.row(2), here.row(1, OTHER), here.row(2, OTHER))
    old = first.data_version[str(place.data / "history/LaMP_2")]
    forget(here)
    assert not here.lives_in(PHRASE, USER)
    assert not list(versioned.glob(f".dvc*/**/{old[2:]}")), "the list of the old version"
    history = versioned / "data/history/LaMP_2"
    assert versions.content_version(history, versioned) in history.with_name("LaMP_2.dvc").read_text()
    versions.pull([Path("data/history/LaMP_2.dvc")], versioned)

    again = take("again.jsonl", here.row(1), here.row(3), here.row(3, OTHER))
    assert (again.forgotten, again.tasks["LaMP_2"].accepted) == (2, 1)
    alone = take("alone.jsonl", here.row(4))
    assert "users who were forgotten" in alone.refused
    assert not here.lives_in(PHRASE, USER)
    assert job.let_return(USER, place)
    assert not job.let_return(USER, place)
    assert take("third.jsonl", here.row(1)).tasks["LaMP_2"].accepted == 1

    gone = records_of(history, [OTHER]).iloc[0]
    monkeypatch.setattr(job, "refit_heads", lambda *_: {})  # there is no release to fit one for
    job.forget(job.plan_forget(OTHER, place, record=str(gone["record_id"])), place, Params())
    back = take("back.jsonl", here.row(1, OTHER), here.row(5, OTHER))
    assert (back.forgotten, back.tasks["LaMP_2"].accepted) == (1, 1)
    assert records_of(history, [OTHER])["text"].tolist() == [f"a plain film {n}" for n in (2, 3, 5)]


real_refit = job.refit_heads


def with_stages(place: Place) -> Place:
    """The same project, its stages as this repository's dvc.yaml has them."""
    return replace(place, root=ROOT)
