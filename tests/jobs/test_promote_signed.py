"""Releases that only go live, go back and answer if the operator's key signed them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hydra_ml.errors import ArtifactError, ParamsError
from hydra_ml.io.signing import make_key
from hydra_ml.jobs.promote import rollback
from hydra_ml.params import parse_params
from hydra_ml.serving.open_release import open_release
from hydra_ml.serving.signed_release import check_signature, sign_release
from tests.jobs.promote_world import add_release, go, look, pointers, refused_by


def asking_for(project, key):
    """The project, with the key in its params.yaml."""
    promote = project.params.promote.model_copy(update={"require_signature": key.public})
    return replace(project, params=project.params.model_copy(update={"promote": promote}))


def test_only_what_the_operator_signed_goes_live(own_project, tmp_path):
    key, other = make_key(tmp_path / "own.key"), make_key(tmp_path / "other.key")
    project = asking_for(own_project, key)
    task, registry = project.task, project.registry
    second = add_release(project)
    for decision in (look(project), go(project), go(project, force="in a hurry")):
        assert refused_by(decision) == {"signed"}
        assert not decision.promoted_at
    sign_release(task, registry, "challenger", other)
    assert "is none of key" in refused_by_text(go(project))
    sign_release(task, registry, "challenger", key)
    with pytest.raises(ArtifactError, match=rf"release {project.champion} is not opened: it is not signed.*sign"):
        go(project)
    sign_release(task, registry, "champion", key)
    assert go(project).passed
    assert pointers(project)["champion"] == second


def refused_by_text(decision) -> str:
    return " ".join(reason.text for reason in decision.reasons if not reason.passed)


def test_an_unsigned_or_altered_release_is_not_opened(own_project, tmp_path):
    project, key = own_project, make_key(tmp_path / "own.key")
    task, registry = project.task, project.registry
    with pytest.raises(ArtifactError, match=r"it is not signed.*`hydra-ml releases sign 1 --key KEY`"):
        open_release(registry, task, "champion", project.cache, signed_with=key.public)
    version, name = sign_release(task, registry, "champion", key)
    assert len(name) == 16
    assert open_release(registry, task, "champion", project.cache, signed_with=key.public).version == version
    release = registry.release(task, version)[1]
    forged = replace(release, params={**release.params, "seed": 7})
    with pytest.raises(ArtifactError, match=f"its signature, of key {name}, is none of key"):
        check_signature(task, registry, version, forged, key.public)


def test_nothing_unsigned_comes_back(own_project, tmp_path):
    project, key = own_project, make_key(tmp_path / "own.key")
    second = add_release(project)
    go(project)
    with pytest.raises(ArtifactError, match="it is not signed"):
        rollback(project.task, project.registry, cache=project.cache, signed_with=key.public)
    assert pointers(project)["champion"] == second
    sign_release(project.task, project.registry, "previous", key)
    rollback(project.task, project.registry, cache=project.cache, signed_with=key.public)
    assert pointers(project)["champion"] == project.champion


def test_a_key_in_params_that_is_none_is_refused():
    with pytest.raises(ParamsError, match="require_signature"):
        parse_params({"promote": {"require_signature": "ssh-ed25519 AAAA"}}, "params.yaml")
