"""One step back, and the hold that keeps what was rolled back from coming live again by itself."""

from __future__ import annotations

import pytest

from hydra_ml.errors import ArtifactError
from hydra_ml.jobs.hold import hold, hold_of, release_hold
from hydra_ml.jobs.promote import rollback
from tests.jobs.promote_world import add_release, go, look, negated, pointers, refused_by


def test_a_rollback_holds_until_somebody_lifts_it(own_project):
    """3 -> 2, and then a drop makes release 4, which learned what release 3 did: it must not go live by itself."""
    project = own_project
    add_release(project)
    go(project)
    rollback(project.task, project.registry, reason="it learned spam", cache=project.cache)
    fourth = add_release(project)
    decision = go(project)
    assert refused_by(decision) == {"not held"}
    assert "rolled back from release 2 to 1: it learned spam" in decision.markdown()
    assert pointers(project)["champion"] == project.champion
    assert hold_of(project.task, project.registry).reason.endswith("it learned spam")
    assert release_hold(project.task, project.registry) is not None
    assert release_hold(project.task, project.registry) is None
    assert go(project).passed
    assert pointers(project)["champion"] == fourth


def test_a_hold_set_by_hand_refuses_all_but_force(own_project):
    project = own_project
    hold(project.task, project.registry, "an audit")
    version = add_release(project)
    assert refused_by(look(project)) == refused_by(go(project)) == {"not held"}
    assert go(project, force="the auditor agrees").promoted_at
    assert pointers(project)["champion"] == version
    assert hold_of(project.task, project.registry) is not None, "force is for one release"


def test_rollback_is_one_step_back_and_a_second_one_says_so(own_project):
    project = own_project
    version = add_release(project)
    go(project)
    assert rollback(project.task, project.registry, cache=project.cache) == (version, project.champion)
    assert pointers(project) == {"champion": project.champion}
    assert "rolled_back_at" in project.registry.release_tags(project.task, version)
    assert "restored_at" in project.registry.release_tags(project.task, project.champion)
    with pytest.raises(ArtifactError, match="no previous release"):
        rollback(project.task, project.registry, cache=project.cache)


def test_what_was_rolled_back_comes_back_by_force_alone(own_project):
    project = own_project
    version = add_release(project)
    go(project)
    rollback(project.task, project.registry, cache=project.cache)
    refused = go(project, version=version)  # as a schedule would try
    assert refused_by(refused) == {"not rolled back", "not held"}
    assert refused.figures is not None
    assert pointers(project) == {"champion": project.champion}
    assert go(project, version=version, force="it was the LLM, not the release").promoted_at
    assert pointers(project) == {"champion": version, "previous": project.champion}
    assert project.registry.release_tags(project.task, version).get("rolled_back_at") is None


def test_a_previous_release_that_was_altered_does_not_go_live(own_project):
    project = own_project
    version = add_release(project, negated)
    go(project, force="test")
    project.registry.tag_release(project.task, project.champion, {"digest": "0" * 32})
    with pytest.raises(ArtifactError, match="not what was registered"):
        rollback(project.task, project.registry, cache=project.cache)
    assert pointers(project)["champion"] == version
