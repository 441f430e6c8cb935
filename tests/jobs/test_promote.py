"""Promotion with real releases in a real registry: what is refused, which pointers move, and what two at once leave."""

from __future__ import annotations

import multiprocessing
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from hydra_ml.errors import ArtifactError, HydraError
from hydra_ml.evaluation.decision import gate_figures
from hydra_ml.io.files import load_json, save_json
from hydra_ml.io.head_bank import HeadBank, save_heads
from hydra_ml.io.mlflow.registry import Registry
from hydra_ml.io.tables import load_table
from hydra_ml.jobs import promote as job
from hydra_ml.jobs.hold import hold, hold_of, release_hold
from hydra_ml.jobs.promote import judge, promote, rollback
from hydra_ml.release import Release
from hydra_ml.serving.frozen_queries import FrozenQueries

ROOT = Path(__file__).parents[2]


def pointers(project) -> dict[str, str]:
    return project.registry.aliases(project.task)


def add_release(project, change=None, *, same=False, **facts) -> str:
    """A release of the champion's parts, with the adapter's head table changed; it becomes the challenger.

    change: None for one too small to change an answer, another each time. same: nothing is changed at all.
    """
    registry, task = project.registry, project.task
    n_before = len(registry.versions(task, "release"))
    if change is None and not same:
        change = lambda table: table * (1 + 1e-5 * n_before)  # noqa: E731
    _, release = registry.release(task, project.champion)
    run_id = registry.version(task, "release", project.champion).run_id
    components = dict(release.components)
    if change is not None:
        folder = project.root / f"changed-{len(registry.versions(task, 'release'))}"
        base = load_json(registry.fetch(task, components["adapter.base"]) / "manifest.json")
        bank = registry.open_bank(task, components["adapter.heads"], base_digest=base["digest"])
        heads = bank.heads_of(bank.user_ids())
        about = {key: bank.manifest[key] for key in ("task", "component", "base_digest", "fit")}
        save_heads(replace(heads, table=change(heads.table).astype(np.float32)), folder, about)
        ref = registry.register_component(task, "adapter.heads", folder, run_id=run_id)
        components["adapter.heads"] = ref
    made = replace(release, **{"components": components, "made_by": "update_heads", **facts})
    version = registry.register_release(task, made, run_id=run_id)
    registry.point(task, {"challenger": version})
    return version


def go(project, **options):
    return promote(
        project.task, project.params, data=project.data, registry=project.registry, cache=project.cache, **options
    )


def look(project, **options):
    return judge(
        project.task, project.params, data=project.data, registry=project.registry, cache=project.cache, **options
    )


def negated(table: np.ndarray) -> np.ndarray:
    return -100.0 * table


def refused_by(decision) -> set[str]:
    return {reason.name for reason in decision.reasons if not reason.passed}


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


def test_promoting_the_champion_changes_nothing(own_project):
    project = own_project
    version = add_release(project)
    first = go(project)
    again = go(project, version=version)
    assert again.passed
    assert again.promoted_at == first.promoted_at
    assert pointers(project) == {"champion": version, "previous": project.champion}


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


def test_an_unknown_version_and_a_missing_challenger_are_clear_errors(own_project):
    project = own_project
    with pytest.raises(ArtifactError, match="99"):
        go(project, version="99")
    project.registry.point(project.task, {"challenger": None})
    with pytest.raises(ArtifactError, match="challenger"):
        go(project)


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
    monkeypatch.syspath_prepend(str(ROOT))  # handed to the new process, which imports this very module
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


def test_kept_answers_hold_ids_and_answers_alone(own_project):
    project = own_project
    add_release(project, negated)
    look(project)
    kept = sorted((project.cache / "gate" / project.task.folder).glob("*.parquet"))
    assert len(kept) == 2
    assert list(load_table(kept[0]).columns) == ["query_id", "user_id", "prediction", "failed"]
