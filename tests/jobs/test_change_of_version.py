"""After an upgrade: a champion that only the version before could open must not stand in the way of every other."""

from __future__ import annotations

import pytest

from hydra_ml.errors import OtherVersionError
from hydra_ml.io.files import load_json, save_json
from hydra_ml.io.weights import load_base
from hydra_ml.jobs.promote import rollback
from tests.jobs.promote_world import add_release, go, pointers, refused_by


def of_another_version(project) -> str:
    """A live release whose settings this version does not know, as an upgrade leaves it behind."""
    _, release = project.registry.release(project.task, project.champion)
    train = {**release.params["train_adapter"], "text_labels": "above_mean"}
    version = add_release(project, params={**release.params, "train_adapter": train}, same=True)
    project.registry.point(project.task, {"champion": version, "challenger": None})
    return version


def test_it_is_the_operators_to_replace_and_nothing_crashes(own_project):
    old = of_another_version(own_project)
    _, release = own_project.registry.release(own_project.task, own_project.champion)
    challenger = add_release(own_project, params=dict(release.params))
    decision = go(own_project)
    assert refused_by(decision) == {"comparable"}
    assert f"release {old}, which is live, cannot be opened by this version of hydra_ml" in decision.markdown()
    assert "--force REASON" in decision.markdown()
    assert pointers(own_project)["champion"] == old
    assert go(own_project, force="upgraded").promoted_at
    assert pointers(own_project)["champion"] == challenger


def test_one_that_cannot_be_opened_does_not_go_live_again(own_project):
    of_another_version(own_project)
    _, release = own_project.registry.release(own_project.task, own_project.champion)
    challenger = add_release(own_project, params=dict(release.params))
    go(own_project, force="upgraded")
    with pytest.raises(OtherVersionError, match="settings this version of hydra_ml does not know"):
        rollback(own_project.task, own_project.registry, reason="?", cache=own_project.cache)
    assert pointers(own_project)["champion"] == challenger


def test_a_base_of_another_schema_says_so_before_anything_of_it_is_read(own_project):
    _, release = own_project.registry.release(own_project.task, own_project.champion)
    folder = own_project.registry.fetch(own_project.task, release.components["adapter.base"])
    manifest = load_json(folder / "manifest.json")
    copy = own_project.root / "earlier"
    save_json({**manifest, "schema_version": 1}, copy / "manifest.json")
    with pytest.raises(OtherVersionError, match="base of schema 1; this version reads 2"):
        load_base(copy, lambda: None)
