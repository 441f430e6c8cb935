"""What a finished chain becomes in MLflow: one run, four components, a release, and nobody's text."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from hydra_ml.errors import ArtifactError
from hydra_ml.io.files import load_json, save_json
from hydra_ml.io.mlflow.store import connect
from hydra_ml.io.mlflow.tracking import Tracking
from hydra_ml.io.tables import load_table
from hydra_ml.jobs.nightly import register_chain
from hydra_ml.release import PARTS


def run_of_release(project):
    facts = project.registry.version(project.task, "release", project.champion)
    return connect(project.uri).get_run(facts.run_id)


def test_the_chain_becomes_a_release_that_is_the_challenger(project):
    assert project.registry.aliases(project.task) == {"challenger": project.champion, "champion": project.champion}
    version, release = project.registry.release(project.task, "challenger")
    assert (version, release.task, release.made_by, release.history) == (project.champion, "LaMP_2", "nightly", ())
    assert release.validated
    assert release.params == project.params.model_dump(mode="json", by_alias=True)
    assert set(release.components) == set(PARTS)
    for part, ref in release.components.items():
        stored = project.registry.fetch(project.task, ref)
        stage, half = part.split(".")
        made = project.data / f"train_{stage}" / "LaMP_2" / half
        assert {p.name: p.read_bytes() for p in stored.iterdir()} == {p.name: p.read_bytes() for p in made.iterdir()}


def test_the_run_holds_parameters_data_curves_measures_and_files(project, tmp_path):
    run = run_of_release(project)
    assert run.info.status == "FINISHED"
    assert run.data.params["generate.n_samples"] == str(project.params.generate.n_samples)
    assert (run.data.tags["job"], run.data.tags["llm"]) == ("nightly", "offline-minilm")
    metrics = load_json(project.data / "evaluate" / "LaMP_2" / "metrics.json")
    assert run.data.metrics["hydra/accuracy"] == metrics["hydra"]["accuracy"]["value"]
    history = connect(project.uri).get_metric_history(run.info.run_id, "train_adapter/held_back_loss")
    curve = load_json(project.data / "train_adapter" / "LaMP_2" / "curve.json")["curve"]
    assert [m.value for m in sorted(history, key=lambda m: m.step)] == [point["held_back_loss"] for point in curve]
    names = {logged.dataset.name for logged in run.inputs.dataset_inputs}
    assert "LaMP_2.raw" in names
    folder = Path(connect(project.uri).download_artifacts(run.info.run_id, "", str(tmp_path)))
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert found >= {
        "evaluate/metrics.json",
        "evaluate/details.json",
        "arena/figures.html",
        "plots/methods.png",
        "validate/report.md",
        "users/per_user.parquet",
        "users/per_user.json",
    }


def test_no_text_of_a_user_reaches_mlflow(project):
    records = load_table(project.data / "prepare" / "LaMP_2" / "records.parquet")
    texts = [text.encode() for text in set(records["text"]) if len(text) > 20]
    assert texts
    kept = [path for path in (project.root / ".mlflow").rglob("*") if path.is_file() and path.suffix != ".png"]
    assert len(kept) > 10
    for path in kept:
        content = path.read_bytes()
        assert not any(text in content or json.dumps(text.decode()).encode() in content for text in texts), path


def test_measures_by_user_and_cohort_agree_with_the_evaluation(project):
    run = run_of_release(project)
    users = Tracking(project.uri).run(run.info.run_id).user_measures()
    predictions = load_table(project.data / "evaluate" / "LaMP_2" / "predictions.parquet")
    ours = predictions[predictions["method"] == "hydra"]
    hits = (ours["prediction"] == ours["gold"]).groupby(ours["user_id"]).mean().sort_index()
    pd.testing.assert_series_equal(
        users.set_index("user_id")["hydra"], hits.astype(float), check_names=False, check_index_type=False
    )
    measures = Tracking(project.uri).run(run.info.run_id).measures()
    details = load_json(project.data / "evaluate" / "LaMP_2" / "details.json")
    for cohort, part in details["cohorts"].items():
        assert measures[f"cohort/accuracy.{cohort}"] == pytest.approx(part["metrics"]["hydra"]["accuracy"]["value"])
    assert measures["cohort/accuracy.worst_decile"] == hits.min()


def test_the_same_chain_again_is_a_new_release_of_the_same_components(own_project):
    project = own_project
    again = register_chain(
        project.task, project.params, data=project.data, run_name="second", registry=project.registry
    )
    assert project.registry.aliases(project.task) == {"challenger": again, "champion": project.champion}
    before, after = (project.registry.release(project.task, version)[1] for version in (project.champion, again))
    assert before.components == after.components


def test_a_chain_that_is_not_whole_or_not_valid_becomes_nothing(own_project):
    project = own_project
    report = project.data / "validate" / "LaMP_2" / "report.json"
    findings = load_json(report)
    save_json([findings[0] | {"failed": True}, *findings[1:]], report)

    def register() -> None:
        register_chain(project.task, project.params, data=project.data, run_name="x", registry=project.registry)

    with pytest.raises(ArtifactError, match=r"report\.json: 1 expectation\(s\) failed"):
        register()
    save_json(findings, report)
    shutil.rmtree(project.data / "train_adapter")
    with pytest.raises(ArtifactError, match=r"train_adapter/LaMP_2/base/manifest\.json: no such file"):
        register()
    assert project.registry.aliases(project.task)["challenger"] == project.champion
    assert len(project.registry.versions(project.task, "release")) == 1


def test_a_run_that_breaks_in_the_middle_leaves_the_pointers(own_project):
    project = own_project
    (project.data / "evaluate" / "LaMP_2" / "details.json").unlink()
    with pytest.raises(ArtifactError, match="details"):
        register_chain(project.task, project.params, data=project.data, run_name="x", registry=project.registry)
    assert project.registry.aliases(project.task)["challenger"] == project.champion


def test_a_run_killed_before_it_could_say_leaves_no_second_equal_release(own_project):
    project = own_project
    project.registry.point(project.task, {"champion": None})
    asked = {"data": project.data, "registry": project.registry}
    first = register_chain(project.task, project.params, run_name="a", **asked)
    project.registry.point(project.task, {"challenger": None})  # killed between registering and pointing
    assert register_chain(project.task, project.params, run_name="a", **asked) == first
    assert project.registry.aliases(project.task)["challenger"] == first
    project.registry.tag_release(project.task, first, {"gate.passed": "false"})
    second = register_chain(project.task, project.params, run_name="b", **asked)
    assert second != first, "what was judged is done with: a new night makes a new release"
