"""Promotions at once, killed half-way, or overtaken: one consistent champion is left."""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from filelock import FileLock

from hydra_ml.errors import HydraError
from hydra_ml.io.mlflow.registry import Registry
from hydra_ml.jobs import promote as job
from hydra_ml.jobs.promote import promote, rollback
from tests.jobs.promote_world import add_release, go, look, pointers


def test_a_promotion_killed_between_two_moves_is_healed_by_the_next(own_project, monkeypatch):
    project = own_project
    version = add_release(project)
    point = Registry.point

    def dies(self, task, aliases):
        if "challenger" in aliases:
            raise KeyboardInterrupt
        point(self, task, aliases)

    with monkeypatch.context() as patch:
        patch.setattr(Registry, "point", dies)
        with pytest.raises(KeyboardInterrupt):
            go(project)
    assert pointers(project) == {"champion": version, "previous": project.champion, "challenger": version}
    assert go(project).promoted_at
    assert pointers(project) == {"champion": version, "previous": project.champion}


def test_a_lock_held_too_long_says_who_waits_for_what(own_project, monkeypatch):
    project = own_project
    monkeypatch.setattr(job, "LOCK_WAIT_S", 0.1)
    with (
        FileLock(project.cache / f"promote-{project.task.folder}.lock"),
        pytest.raises(HydraError, match="held by another promotion"),
    ):
        rollback(project.task, project.registry, cache=project.cache)


def promote_in_process(uri: str, root: str, version: str, start) -> None:
    """Another operator: `hydra-ml promote --version N` in a process of its own."""
    from hydra_ml.io.params_file import load_params
    from hydra_ml.tasks import get_task

    os.chdir(root)
    registry = Registry(uri, cache=Path(".cache"))
    params = load_params(Path("params.yaml"))
    start.wait(120)
    promote(get_task("LaMP_2"), params, data=Path("data"), registry=registry, version=version)


def test_two_promotions_at_once_leave_one_consistent_champion(own_project, monkeypatch):
    """Both releases pass. Whoever is second is judged anew, against the first one, and leaves it as `previous`."""
    project = own_project
    versions = [add_release(project, made_at=f"2026-11-20T0{i}:00:00+00:00") for i in (1, 2)]
    look(project)  # the champion's answers are there, so that the two race for the pointer alone
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(2)
    monkeypatch.syspath_prepend(
        str(Path(__file__).parents[2])
    )  # handed to the new process, which imports this very module
    other = context.Process(target=promote_in_process, args=(project.uri, str(project.root), versions[0], start))
    other.start()
    start.wait(120)
    go(project, version=versions[1])
    other.join(120)
    assert other.exitcode == 0
    found = pointers(project)
    assert {found["champion"], found["previous"]} == set(versions)
    assert "challenger" not in found
    second = project.registry.release_tags(project.task, found["champion"])
    assert second["gate.against"] == found["previous"]


def test_a_champion_that_changes_meanwhile_is_judged_against_anew(own_project, monkeypatch):
    project = own_project
    other = add_release(project, made_at="2026-11-20T01:00:00+00:00")
    version = add_release(project, made_at="2026-11-20T02:00:00+00:00")
    judged, really_judge = [], job.judge

    def judged_while_another_becomes_champion(*args, **options):
        decision = really_judge(*args, **options)
        judged.append(decision.against)
        if len(judged) == 1:
            project.registry.point(project.task, {"previous": project.champion, "champion": other})
        return decision

    monkeypatch.setattr(job, "judge", judged_while_another_becomes_champion)
    assert go(project).promoted_at
    assert judged == [project.champion, other]
    assert pointers(project) == {"champion": version, "previous": other}


def test_a_champion_that_never_stays_is_an_error_and_nothing_is_promoted(own_project, monkeypatch):
    project = own_project
    other = add_release(project, made_at="2026-11-20T01:00:00+00:00")
    version = add_release(project, made_at="2026-11-20T02:00:00+00:00")
    really_judge = job.judge

    def judged_while_another_becomes_champion(*args, **options):
        decision = really_judge(*args, **options)
        project.registry.point(project.task, {"champion": {other: project.champion}.get(decision.against, other)})
        return decision

    monkeypatch.setattr(job, "judge", judged_while_another_becomes_champion)
    with pytest.raises(HydraError, match="champion changed 3 times"):
        go(project)
    assert pointers(project)["champion"] != version


def test_one_release_promoted_from_many_threads_keeps_its_previous(own_project):
    project = own_project
    version = add_release(project)
    look(project)
    with ThreadPoolExecutor(4) as pool:
        decisions = list(pool.map(lambda _: go(project, version=version), range(4)))
    assert all(decision.promoted_at for decision in decisions)
    assert pointers(project) == {"champion": version, "previous": project.champion}
