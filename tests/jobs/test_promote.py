"""Promotion with real releases in a real registry: what passes, what is refused, and which pointers move."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest

from hydra_ml.errors import ArtifactError
from hydra_ml.evaluation.decision import gate_figures
from hydra_ml.io.files import load_json, save_json
from hydra_ml.io.head_bank import HeadBank, save_heads
from hydra_ml.io.mlflow.registry import Registry
from hydra_ml.io.tables import load_table
from hydra_ml.release import Release
from hydra_ml.serving.frozen_queries import FrozenQueries
from tests.jobs.promote_world import add_release, go, look, negated, pointers, refused_by


def test_the_first_release_passes_and_says_that_there_was_nothing_to_compare_with(own_project):
    project = own_project
    project.registry.point(project.task, {"champion": None})
    decision = go(project)
    assert decision.passed
    assert decision.figures is None
    assert "no champion" in decision.markdown()
    assert pointers(project) == {"champion": project.champion}
    assert project.registry.release_tags(project.task, project.champion)["promoted_at"] == decision.promoted_at


def test_a_worse_challenger_is_refused_and_nothing_moves(own_project):
    project = own_project
    version = add_release(project, negated)
    decision = go(project)
    assert "not inferior" in refused_by(decision)
    assert decision.figures.difference < -0.05
    assert decision.figures.n_affected > 0
    assert not decision.promoted_at
    assert pointers(project) == {"champion": project.champion, "challenger": version}
    tags = project.registry.release_tags(project.task, version)
    assert tags["gate.passed"] == "false"
    assert "not inferior" in tags["gate.refused_by"]
    assert gate_figures(tags)["difference"] == pytest.approx(decision.figures.difference, abs=1e-4)
    assert "" not in tags.values(), "what there is not is not noted"


def test_judging_changes_nothing_and_judging_again_asks_nothing(own_project, monkeypatch):
    project = own_project
    version = add_release(project, negated)
    tags = project.registry.release_tags(project.task, version)
    first = look(project)
    monkeypatch.setattr("hydra_ml.serving.frozen_queries.open_release", None)  # a second scoring would fail
    again = look(project, version=version)
    assert replace(again, judged_at=first.judged_at) == first
    assert project.registry.release_tags(project.task, version) == tags


def test_force_promotes_what_figures_refuse_and_records_why(own_project):
    project = own_project
    version = add_release(project, negated)
    decision = go(project, force="the old one leaks")
    assert not decision.passed
    assert pointers(project) == {"champion": version, "previous": project.champion}
    assert project.registry.release_tags(project.task, version)["gate.forced"] == "the old one leaks"


def test_equal_heads_pass_without_a_query_answered_anew_and_keep_the_way_back(own_project):
    project = own_project
    other = add_release(project)
    go(project)
    assert pointers(project) == {"champion": other, "previous": project.champion}
    _, champion = project.registry.release(project.task, other)
    version = add_release(project, same=True, components=champion.components, history=("a drop that changed no head",))
    decision = go(project)
    assert decision.passed
    assert (decision.figures.n_affected, decision.figures.difference, decision.figures.ci_low) == (0, 0.0, 0.0)
    assert pointers(project) == {"champion": version, "previous": project.champion}, "not the release that is the same"


def test_why_a_release_was_forced_is_kept_when_it_is_judged_again(own_project):
    project = own_project
    version = add_release(project, negated)
    go(project, force="the old one leaks")
    project.registry.point(project.task, {"champion": project.champion, "challenger": version})
    go(project)
    assert project.registry.release_tags(project.task, version)["gate.forced"] == "the old one leaks"


def test_only_users_whose_heads_differ_are_affected_and_all_others_tie(own_project):
    project = own_project

    def one_user_changed(table: np.ndarray) -> np.ndarray:
        return np.concatenate([-100 * table[:1], table[1:]])

    add_release(project, one_user_changed)
    decision = look(project)
    assert 0 < decision.figures.n_affected < decision.figures.n
    assert decision.figures.users_worse + decision.figures.users_better <= 1 / decision.figures.n_users


def test_scoring_the_affected_alone_gives_what_scoring_all_gives(own_project):
    project = own_project
    version = add_release(project, lambda table: np.concatenate([-100 * table[:1], table[1:]]))
    champion, challenger = (project.registry.release(project.task, which) for which in (project.champion, version))

    def side_by_side(one, other):
        shutil.rmtree(project.cache / "gate", ignore_errors=True)
        frozen = FrozenQueries(project.data, project.task, project.registry, project.cache, project.params.llm)
        answers, n_affected = frozen.side_by_side(one, other)
        return answers.set_index("query_id").sort_index(), n_affected

    part, n_affected = side_by_side(champion, challenger)
    whole, _ = side_by_side(challenger, challenger)
    assert 0 < n_affected < len(part)
    assert part["challenger"].tolist() == whole["champion"].tolist()
    assert part["champion"].tolist() != whole["champion"].tolist()


def test_data_that_failed_validation_is_refused(own_project):
    project = own_project
    version = add_release(project, validated=False)
    decision = go(project, version=version)
    assert refused_by(decision) == {"validated"}
    report = project.data / "validate" / project.task.folder / "report.json"
    save_json([finding | {"failed": True} for finding in load_json(report)], report)
    assert refused_by(look(project, version=add_release(project))) == {"validated"}


def foreign(project) -> str:
    """A release whose adapter heads were fitted on another base, as a tool other than ours may register it."""
    registry, task = project.registry, project.task
    _, release = registry.release(task, project.champion)
    run_id = registry.version(task, "release", project.champion).run_id
    bank = HeadBank(
        registry.fetch(task, release.components["adapter.heads"]),
        base_digest=load_json(registry.fetch(task, release.components["adapter.base"]) / "manifest.json")["digest"],
    )
    about = {key: bank.manifest[key] for key in ("task", "component", "fit")} | {"base_digest": "0123feed"}
    save_heads(bank.heads_of(bank.user_ids()), project.root / "foreign", about)
    ref = registry.register_component(task, "adapter.heads", project.root / "foreign", run_id=run_id)
    made = replace(release, components={**release.components, "adapter.heads": ref})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Registry, "_check_together", lambda *_: None)  # registering refuses it too
        return registry.register_release(task, made, run_id=run_id)


def test_heads_of_another_base_are_refused_even_by_force(own_project):
    project = own_project
    version = foreign(project)
    decision = go(project, version=version, force="I insist")
    base = load_json(
        project.registry.fetch(project.task, release_of(project, version).components["adapter.base"]) / "manifest.json"
    )
    assert refused_by(decision) == {"compatible"}
    told = next(reason.text for reason in decision.reasons if reason.name == "compatible")
    assert "0123feed" in told
    assert base["digest"] in told
    assert decision.figures is None
    assert pointers(project)["champion"] == project.champion


def release_of(project, version: str) -> Release:
    return project.registry.release(project.task, version)[1]


def test_a_base_that_was_altered_is_never_promoted(own_project):
    project = own_project
    project.registry.point(project.task, {"champion": None})
    folder = project.registry.fetch(project.task, release_of(project, "1").components["adapter.base"])
    weights = folder / "base.safetensors"
    content = weights.read_bytes()
    try:
        weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(ArtifactError, match=r"not what was registered as adapter\.base"):
            go(project)
    finally:
        weights.write_bytes(content)
    assert "champion" not in pointers(project)


def test_promoting_the_champion_changes_nothing(own_project):
    project = own_project
    version = add_release(project)
    first = go(project)
    again = go(project, version=version)
    assert again.passed
    assert again.promoted_at == first.promoted_at
    assert pointers(project) == {"champion": version, "previous": project.champion}


def test_an_unknown_version_and_a_missing_challenger_are_clear_errors(own_project):
    project = own_project
    with pytest.raises(ArtifactError, match="99"):
        go(project, version="99")
    project.registry.point(project.task, {"challenger": None})
    with pytest.raises(ArtifactError, match="challenger"):
        go(project)


def test_kept_answers_hold_ids_and_answers_alone(own_project):
    project = own_project
    add_release(project, negated)
    look(project)
    kept = sorted((project.cache / "gate" / project.task.folder).glob("*.parquet"))
    assert len(kept) == 2
    assert list(load_table(kept[0]).columns) == ["query_id", "user_id", "prediction", "failed"]


def test_run_again_once_the_challenger_went_live_it_says_so(own_project):
    project = own_project
    version = add_release(project)
    assert go(project).promoted_at
    tags = project.registry.release_tags(project.task, version)
    again = go(project)
    assert (again.version, again.against, again.promoted_at) == (version, version, tags["promoted_at"])
    assert pointers(project) == {"champion": version, "previous": project.champion}
