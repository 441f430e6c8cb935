"""Two heads versions of a registry, listed and compared; and the measures of heads that no evaluation has seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hydra_ml.errors import ArtifactError
from hydra_ml.io.files import load_json, save_json
from hydra_ml.io.head_bank import update_bank
from hydra_ml.io.mlflow.tracking import Tracking
from hydra_ml.io.tables import load_table
from hydra_ml.jobs.heads_compare import compare_text, list_text, measure_users
from hydra_ml.jobs.nightly import register_chain
from hydra_ml.model.heads import Heads


def test_two_heads_versions_are_listed_and_compared_user_by_user(own_project):
    project = own_project
    path = project.data / "evaluate" / "LaMP_2" / "predictions.parquet"
    predictions = load_table(path)
    ours = predictions["method"] == "hydra"
    spoilt = predictions.loc[ours, "user_id"].iloc[0]
    wrong = ours & (predictions["user_id"] == spoilt)
    predictions["prediction"] = predictions["prediction"].where(~wrong, None)
    predictions.to_parquet(path)
    heads = project.data / "train_adapter" / "LaMP_2" / "heads" / "manifest.json"
    save_json(load_json(heads) | {"note": "another training"}, heads)
    register_chain(project.task, project.params, data=project.data, run_name="second", registry=project.registry)

    listed = list_text(project.task, project.registry)
    assert "lamp-2.adapter.heads: 2 version(s)" in listed
    assert "lamp-2.reranker.heads: 1 version(s)" in listed
    first = next(line for line in listed.splitlines() if line.lstrip().startswith("1 "))
    assert "champion" in first

    told = compare_text(project.task, "champion", "challenger", project.registry)
    assert told == compare_text(project.task, "1", "2", project.registry)
    assert "lamp-2.adapter.heads: version 2 against version 1" in told
    assert "Better for 0 users, worse for 1, the same for 7." in told
    (row,) = [line for line in told.splitlines() if line.startswith(spoilt)]
    assert row.endswith("worse")
    backwards = compare_text(project.task, "2", "1", project.registry)
    assert "Better for 1 users, worse for 0, the same for 7." in backwards
    same = compare_text(project.task, "1", "1", project.registry)
    assert "No user's measure changed." in same


def test_versions_that_cannot_be_compared_are_said(project):
    with pytest.raises(ArtifactError, match=r"lamp-2\.adapter\.heads: there is no version 77"):
        compare_text(project.task, "1", "77", project.registry)
    with pytest.raises(ArtifactError, match="no release is 'previous'"):
        compare_text(project.task, "1", "previous", project.registry)


def updated_release(project, tmp_path) -> tuple[str, set[str]]:
    """A release like the champion's, as update_heads makes them: nobody measured, and wild adapter heads for the users
    named."""
    registry, task = project.registry, project.task
    _, release = registry.release(task, project.champion)
    base = registry.fetch(task, release.components["adapter.base"])
    ref = release.components["adapter.heads"]
    bank = registry.open_bank(task, ref, base_digest=load_json(base / "manifest.json")["digest"])
    user_ids = tuple(bank.user_ids()[:4])
    table = np.random.default_rng(1).normal(scale=30.0, size=(4, bank.width)).astype(np.float32)
    about = {key: bank.manifest[key] for key in ("task", "component", "base_digest")}
    wild = Heads(bank.kind, bank.width, user_ids, table)
    update_bank(bank, wild, tmp_path / "h", old_version=ref.version, manifest=about)
    with Tracking(registry.uri).start(task, "update", job="update_heads", params=release.params) as run:
        heads = registry.register_component(task, "adapter.heads", tmp_path / "h", run_id=run.run_id)
        made = replace(release, components=dict(release.components) | {"adapter.heads": heads}, made_by="update_heads")
        return registry.register_release(task, made, run_id=run.run_id), set(user_ids)


def test_heads_that_no_evaluation_saw_are_measured_on_the_frozen_queries(own_project, tmp_path):
    project = own_project
    version, wild = updated_release(project, tmp_path)
    with pytest.raises(ArtifactError, match=r"its run \w+ measured no users\. `hydra-ml promote` measures"):
        compare_text(project.task, "1", "2", project.registry)

    def measure() -> bool:
        return measure_users(
            project.task, project.params, data=project.data, registry=project.registry, version=version
        )

    assert measure()
    assert not measure()  # once is enough
    first, second = (
        Tracking(project.uri).run(project.registry.version(project.task, "adapter.heads", heads).run_id).user_measures()
        for heads in ("1", "2")
    )
    same = ["user_id", "n", "cohort", "n_history", "band", "measure", "rag_k4"]
    assert first[same].equals(second[same])
    changed = set(first.loc[(first["hydra"] - second["hydra"]).abs() > 0, "user_id"])
    assert changed  # wild heads choose otherwise, and nobody else can
    assert changed <= wild
    run_id = project.registry.version(project.task, "release", version).run_id
    assert Tracking(project.uri).run(run_id).measures()["cohort/accuracy.all"] == pytest.approx(
        np.average(second["hydra"], weights=second["n"])
    )
    assert "version 2 against version 1" in compare_text(project.task, "1", "2", project.registry)
    listed = list_text(project.task, project.registry).split("lamp-2.adapter.heads")[1].splitlines()
    assert [line.split()[-1] for line in listed[3:5]] == [
        f"{np.average(users['hydra'], weights=users['n']):.3f}" for users in (second, first)
    ]


def test_the_gates_answers_give_the_evaluations_measures(own_project):
    """The serving path and the evaluation measure the same heads alike."""
    project = own_project
    _, release = project.registry.release(project.task, project.champion)
    with Tracking(project.uri).start(project.task, "again", job="update_heads", params=release.params) as run:
        version = project.registry.register_release(project.task, release, run_id=run.run_id)
    assert measure_users(project.task, project.params, data=project.data, registry=project.registry, version=version)
    measured = Tracking(project.uri).run(run.run_id).user_measures()
    champion = project.registry.version(project.task, "release", project.champion)
    evaluated = Tracking(project.uri).run(champion.run_id).user_measures()
    kept = ["user_id", "hydra", "rag_k4", "n", "cohort", "n_history"]
    assert measured[kept].equals(evaluated[kept])
