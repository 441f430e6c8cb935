"""Incremental head updates: what changes, what must not, and what a kill leaves behind."""

from __future__ import annotations

import os
import shutil
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hydra_ml.answering.adapter import EVIDENCE
from hydra_ml.errors import ArtifactError
from hydra_ml.io import head_bank
from hydra_ml.io.files import load_json, save_json
from hydra_ml.io.head_bank import HeadBank, save_heads
from hydra_ml.io.mlflow.registry import Registry
from hydra_ml.io.tables import load_table
from hydra_ml.jobs import update_release
from hydra_ml.jobs.nightly import register_chain
from hydra_ml.jobs.update_heads import _shard_params, plan_update, update_shard
from hydra_ml.jobs.update_release import _tidy, finish_update
from hydra_ml.params import LLM, Params
from hydra_ml.records import shard_of_user
from hydra_ml.release import PARTS
from hydra_ml.serving.component import Component
from hydra_ml.serving.pair_reader import PairReader
from tests.jobs.update_world import ROOT, TASK, World, heads_bytes, run_all, start_elsewhere, unusual_tag, usual_tag


@pytest.fixture(scope="module")
def world(project, tmp_path_factory) -> World:
    """Three users of the drop: one with a new taste, one whose newest record denies the others, one unheard of. Another
    process finished shard 0 and was killed half way through shard 1."""
    root = tmp_path_factory.mktemp("update")
    data = root / "data"
    shutil.copytree(project.data, data)
    small = project.params.update_heads.model_copy(update={"users_per_shard": 1})
    params = project.params.model_copy(update={"update_heads": small})
    registry = Registry(f"sqlite:///{root / '.mlflow' / 'mlflow.db'}", cache=root / ".cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(head_bank, "USERS_PER_SHARD", 1)
        for stage in ("train_reranker", "train_adapter"):
            folder = data / stage / "LaMP_2/heads"
            manifest = load_json(folder / "manifest.json")
            bank = HeadBank(folder, base_digest=manifest["base_digest"])
            heads = bank.heads_of(bank.user_ids())
            shutil.rmtree(folder)
            save_heads(heads, folder, {name: manifest[name] for name in manifest if name not in ("shards", "n_users")})
    champion = register_chain(TASK, params, data=data, run_name="first", registry=registry)
    registry.point(TASK, {"champion": champion})
    shutil.copytree(project.cache, root / ".cache", dirs_exist_ok=True)
    users = sorted(load_table(data / "prepare/LaMP_2/records.parquet")["user_id"].unique())
    made = World(data, registry, params, root / ".cache", users, champion)

    changed, denied = users[:2]
    garbage = [unusual_tag(made, denied)] * 7 + [usual_tag(made, denied)]
    made.drop(
        made.records(changed, [unusual_tag(made, changed)] * 8),
        made.records(denied, garbage),
        made.records("stranger", ["comedy"]),
    )
    made.plan = made.planned()
    assert (made.plan.n_users, made.plan.n_shards) == (3, 3)
    half = start_elsewhere(made.plan, 0, 1)
    scratch = Path(made.plan.workspace) / "shards/00001/scratch"
    while half.poll() is None and not (scratch / "retrieve").exists():
        time.sleep(0.02)
    half.send_signal(signal.SIGKILL)
    assert half.wait() == -signal.SIGKILL
    return made


@pytest.fixture(scope="module")
def updated(world) -> World:
    """The world after the update went on in this process."""
    assert world.planned() == world.plan
    first, second = (Path(world.plan.workspace) / "shards" / name for name in ("00000", "00001"))
    before = (first / "report.json").stat().st_mtime_ns
    assert (second / "scratch").exists()
    with pytest.raises(ArtifactError, match="2 of 3 shards are not done, the first is 1"):
        finish_update(world.plan, [], "update")
    reports = [update_shard(world.plan, shard) for shard in range(3)]
    assert (first / "report.json").stat().st_mtime_ns == before  # not done again
    elsewhere = world.planned(cache=world.cache.parent / "second")
    with ThreadPoolExecutor(4) as pool:
        first, second, *_ = pool.map(update_shard, [elsewhere] * 4, [0, 0, 1, 2])
    assert first == second  # of two workers with one shard, one found it done: the times are equal too
    assert len(heads_bytes(world.plan)) > 6
    assert heads_bytes(world.plan) == heads_bytes(elsewhere)  # a process, a resumed shard, and threads without a cache
    world.report = finish_update(world.plan, reports, "update")
    return world


def test_a_release_is_registered_as_challenger_with_the_drop_learned(updated):
    version, release = updated.registry.release(TASK, "challenger")
    _, before = updated.registry.release(TASK, "champion")
    assert version == updated.report.release
    assert release.history == updated.plan.drops
    assert release.made_by == "update_heads"
    assert release.params == before.params
    assert [release.components[part] == before.components[part] for part in PARTS if part.endswith("base")] == [
        True
    ] * 2
    assert updated.registry.aliases(TASK)["champion"] == updated.champion


def test_verdicts_are_told_user_by_user(updated):
    changed, denied = updated.users[:2]
    adapter = updated.verdicts().loc["adapter"]
    assert adapter["replaced"].to_dict() == {changed: True, denied: False, "stranger": False}
    assert adapter.loc[denied, "new_loss"] > adapter.loc[denied, "old_loss"]
    assert adapter.loc[changed, "new_loss"] < adapter.loc[changed, "old_loss"]
    assert adapter.loc["stranger", "reason"] == "nothing new to learn from"
    figures = updated.report.components["adapter"]
    assert (figures["replaced"], figures["kept"], figures["nothing_new"]) == (1, 1, 1)
    assert figures["loss_after"] < figures["loss_before"]
    page = updated.report.markdown()
    assert "3 users" in page
    assert "secret" not in page


def test_only_the_shards_of_replaced_heads_are_written(updated):
    changed = updated.users[0]
    _, release = updated.registry.release(TASK, "challenger")
    ref = release.components["adapter.heads"]
    before, after = (updated.bank(version, "adapter") for version in (updated.champion, updated.report.release))
    touched = shard_of_user(changed, len(before.shards))
    assert len(before.shards) > 4
    for i, (old, new) in enumerate(zip(before.shards, after.shards, strict=True)):
        assert (new.digest != old.digest) == (i == touched)
        assert new.version == ("" if i == touched else "1")
    files = sorted(path.name for path in updated.registry.fetch(TASK, ref).iterdir())
    assert files == [after.shards[touched].file, "manifest.json"]


def test_heads_of_everybody_else_are_the_same_bits(updated):
    for component in ("reranker", "adapter"):
        before, after = (updated.bank(version, component) for version in (updated.champion, updated.report.release))
        replaced = {user_id for user_id in updated.users[:2] if updated.verdict(component, user_id)}
        others = [user_id for user_id in before.user_ids() if user_id not in replaced]
        assert len(others) >= 4
        assert after.heads_of(others).table.tobytes() == before.heads_of(others).table.tobytes()
        assert set(after.user_ids()) >= set(before.user_ids())


def test_the_new_head_prefers_the_new_taste(updated):
    changed = updated.users[0]
    tag = unusual_tag(updated, changed)
    _, release = updated.registry.release(TASK, "champion")
    base = updated.registry.fetch(TASK, release.components["adapter.base"])
    reader = PairReader(updated.params.train_adapter, updated.params.encoder, updated.cache, seed=updated.params.seed)
    records = load_table(updated.data / "prepare/LaMP_2/records.parquet")
    texts = records.loc[records["user_id"] == updated.users[3], "text"].tolist()[:10]
    pairs = [(text, label) for text in texts for label in TASK.labels]
    evidence = np.zeros((len(pairs), len(EVIDENCE)), dtype=np.float32)

    def liking(version: str) -> np.ndarray:
        component = Component(base, updated.bank(version, "adapter"), reader)
        personal, shared = component.score(
            *map(list, zip(*pairs, strict=True)), evidence, np.array([changed] * len(pairs))
        )
        return (personal - shared).reshape(len(texts), -1).mean(axis=0)  # [labels]

    new, former = TASK.labels.index(tag), TASK.labels.index(usual_tag(updated, changed))
    before, after = liking(updated.champion), liking(updated.report.release)
    assert before[new] < before[former]
    assert after[new] > after[former]  # and the evidence, which heads weigh too, says it besides


def test_texts_do_not_outlive_the_work(updated):
    left = {path.name for path in Path(updated.plan.workspace).iterdir()}
    assert left == {"plan.json", "done.json"}
    texts = load_table(updated.data / "history/LaMP_2" / f"{updated.plan.drops[0]}.parquet")["text"]
    written = "".join(path.read_text("utf-8") for path in Path(updated.plan.workspace).iterdir())
    assert not any(text in written for text in texts)


def test_shards_share_the_budget():
    document = {"params": Params(llm=LLM(max_calls=10)).model_dump(by_alias=True), "shards": [["a"], ["b", "c"], ["d"]]}
    assert [_shard_params(document, shard).llm.max_calls for shard in range(3)] == [2, 5, 3]


def test_a_finished_update_is_told_again_and_nothing_is_done(updated):
    n_versions = len(updated.registry.versions(TASK, "release"))
    again = updated.planned()  # the champion has still not learned the drop
    assert again.n_shards == 0
    assert finish_update(again, [], "again") == updated.report
    caught_up = updated.planned("challenger")
    assert (caught_up.drops, caught_up.n_users, caught_up.n_shards) == ((), 0, 0)
    report = finish_update(caught_up, [], "nothing")
    assert (report.release, report.based_on) == (None, updated.report.release)
    assert "nothing to do" in report.markdown()
    assert len(updated.registry.versions(TASK, "release")) == n_versions


def test_mlflow_out_of_reach_does_not_undo_a_finished_update(updated, monkeypatch):
    def unreachable(*_: Any) -> None:
        raise ArtifactError("MLflow is out of reach")

    done = Path(updated.plan.workspace) / "done.json"
    with monkeypatch.context() as patch:
        patch.setattr(Registry, "versions", unreachable)
        with pytest.raises(ArtifactError, match="out of reach"):
            updated.planned()
    assert done.is_file()


def test_a_plan_without_shards_left_makes_no_release_of_nothing(updated):
    """Its done.json went away after it was planned: a release of it would count drops that no head has learned."""
    plan = updated.planned()
    assert plan.n_shards == 0
    n_versions = len(updated.registry.versions(TASK, "release"))
    done = Path(plan.workspace) / "done.json"
    kept = done.read_bytes()
    done.unlink()
    try:
        with pytest.raises(ArtifactError, match="3 of 3 shards are not done"):
            finish_update(plan, [], "nothing")
    finally:
        done.write_bytes(kept)
    assert len(updated.registry.versions(TASK, "release")) == n_versions


def test_the_next_update_learns_the_next_drop_alone_though_killed_at_the_last(updated, monkeypatch):
    first, second = updated.report.release, updated.users[2]
    name = updated.drop(updated.records(second, [unusual_tag(updated, second)] * 8, month=2))
    plan = updated.planned(first)
    assert (plan.n_users, plan.drops) == (1, (name,))
    reports = [update_shard(plan, shard) for shard in range(plan.n_shards)]

    def killed(document: Any, path: Path) -> None:
        if path.name == "done.json":
            raise KeyboardInterrupt
        save_json(document, path)

    n_versions = len(updated.registry.versions(TASK, "release"))
    with monkeypatch.context() as patch:
        patch.setattr(update_release, "save_json", killed)
        with pytest.raises(KeyboardInterrupt):
            finish_update(plan, reports, "killed")
    report = finish_update(plan, reports, "again")
    assert len(updated.registry.versions(TASK, "release")) == n_versions + 1  # the killed one is taken up
    _, release = updated.registry.release(TASK, report.release)
    assert release.history == tuple(sorted([*updated.report.drops, name]))
    before, after = updated.bank(first, "adapter"), updated.bank(report.release, "adapter")
    rest = [user_id for user_id in before.user_ids() if user_id != second]
    assert after.heads_of(rest).table.tobytes() == before.heads_of(rest).table.tobytes()
    assert {entry.version for entry in after.shards} == {"", "1", "2"}  # this version, the first, the one between

    stranger = updated.drop(updated.records("another", ["comedy"], month=3))  # a lone record teaches nothing
    lone = run_all(updated.planned(report.release))
    _, last = updated.registry.release(TASK, lone.release)
    assert last.components == release.components
    assert stranger in last.history
    assert lone.components["adapter"]["replaced"] == 0


# What is wrong is told at once, and in one message.


def test_without_a_release_there_is_nothing_to_update(world, tmp_path):
    registry = Registry(f"sqlite:///{tmp_path / 'mlflow.db'}")
    with pytest.raises(ArtifactError, match="no release is 'champion'"):
        world.planned(registry=registry)


@pytest.mark.parametrize("name", ["records.parquet", "guard.parquet", "manifest.json"])
def test_missing_tables_of_prepare_are_told(name, updated, tmp_path):
    data = tmp_path / "data"
    for folder in ("prepare", "history"):
        shutil.copytree(updated.data / folder, data / folder)
    (data / "prepare/LaMP_2" / name).unlink()
    with pytest.raises(ArtifactError, match=rf"{name}: missing\. Run `dvc repro prepare@LaMP_2`"):
        updated.planned(data=data)


def test_a_tampered_base_stops_the_shard(updated, tmp_path):
    plan = updated.planned(cache=tmp_path / "cache")
    assert plan.n_shards
    _, release = updated.registry.release(TASK, plan.release)
    weights = updated.registry.fetch(TASK, release.components["reranker.base"]) / "base.safetensors"
    whole = weights.read_bytes()
    shards = load_json(Path(plan.workspace) / "plan.json")["shards"]
    at = next(i for i, users in enumerate(shards) if updated.users[0] in users)
    try:
        weights.write_bytes(whole[:-4] + b"\0\0\1\0")
        with pytest.raises(ArtifactError, match="differs from its manifest"):
            update_shard(plan, at)
    finally:
        weights.write_bytes(whole)
    assert not (Path(plan.workspace) / "shards" / f"{at:05d}" / "report.json").exists()


def test_a_release_made_with_settings_this_version_does_not_know_is_told(updated, monkeypatch):
    _, release = updated.registry.release(TASK, "champion")
    odd = replace(release, params={**release.params, "wings": 2})
    monkeypatch.setattr(updated.registry, "release", lambda task, which: (updated.champion, odd))
    with pytest.raises(Exception, match="wings"):
        updated.planned()


def test_workspaces_nobody_touched_for_a_day_are_removed(updated):
    place = Path(updated.plan.workspace).parent
    for name, age in (("stale", 2 * 86_400), ("fresh", 60)):
        (place / name / "shards").mkdir(parents=True)
        then = time.time() - age
        os.utime(place / name, (then, then))
    _tidy(Path(updated.plan.workspace))
    assert (place / "fresh").exists()
    assert not (place / "stale").exists()


def test_a_task_whose_definition_changed_waits_for_the_nightly(world, caplog):
    changed = replace(TASK, definition=TASK.definition.replace("Which tag", "What tag"))
    assert changed.definition != TASK.definition
    places = {"data": world.data, "registry": world.registry, "cache": world.cache, "root": ROOT}
    assert plan_update(TASK, world.params, which=world.champion, **places).drops
    plan = plan_update(changed, world.params, which=world.champion, **places)
    assert (plan.drops, plan.n_users, plan.n_shards) == ((), 0, 0)
    assert "wait for the next nightly" in caplog.text
