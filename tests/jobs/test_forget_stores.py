"""What forgetting does beside the files of one store: choices and prepare, the watch for drift, signatures."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest

from hydra_ml.errors import ArtifactError
from hydra_ml.evaluation.drift import DriftFinding, DriftReport, UserLosses
from hydra_ml.io.drift import DriftFolder, Losses
from hydra_ml.io.feedback_store import Kept, append_feedback, stored_feedback
from hydra_ml.io.files import load_json
from hydra_ml.io.history_store import drop_names
from hydra_ml.io.signing import make_key
from hydra_ml.io.tables import load_table
from hydra_ml.jobs import forget as job
from hydra_ml.jobs.forget_signatures import signing_ahead
from hydra_ml.jobs.status import collect_status
from hydra_ml.learning.feedback import Feedback, Shown
from hydra_ml.serving.open_release import open_release
from hydra_ml.serving.signed_release import sign_release
from hydra_ml.stages.prepare import prepare
from tests.jobs.forget_world import OTHER, PHRASE, USER, World, opened


@pytest.fixture
def world(project, tmp_path, monkeypatch) -> World:
    return opened(project, tmp_path / "project", monkeypatch)


def test_choices_go_with_the_user_and_prepare_runs_again(world):
    """What users picked from lists: in the store, and by questions alone in what `prepare` made of it."""
    folders = {name: world.data / f"{name}/LaMP_2" for name in ("raw", "history")}
    out, feedback = world.data / "prepare/LaMP_2", world.data / "feedback/store/LaMP_2"

    def prepared() -> pd.DataFrame:
        prepare(**folders, feedback=feedback, out=out, task=world.task, params=world.params)
        return load_table(out / "choices.parquet")

    asked = pd.read_parquet(out / "queries.parquet")
    asked = asked[(asked["role"] == "train") & asked["user_id"].isin([USER, OTHER])].drop_duplicates("user_id")
    shown = [Shown(tag, 1, 0.5, 0.25, 0.5, place, not place, True) for place, tag in enumerate(world.task.labels[:2])]
    tag, rest = shown[0].answer, (shown[0].answer, None, "personal", (), shown)
    kept = [
        Kept(Feedback(f"c{row.user_id}", row.user_id, "chosen", False, tag, "", row.input, "1", *rest), record, False)
        for row in asked.itertuples()
        if (record := str(row.source_record_id))
    ]
    append_feedback(world.data, world.task, kept, "2026-11-28T00:00:00+00:00")
    assert {name.rpartition("/")[0] for name in prepared()["query_id"]} == {USER, OTHER}
    choices = load_table(out / "choices.parquet")
    others = choices[choices["query_id"].str.startswith(f"{OTHER}/")].reset_index(drop=True)
    job.forget(job.plan_forget(USER, world.place), world.place, world.params)
    pd.testing.assert_frame_equal(load_table(out / "choices.parquet"), others)
    assert {*stored_feedback(world.data, world.task)["user_id"]} == {OTHER}
    pd.testing.assert_frame_equal(prepared(), others)
    assert USER not in set(pd.read_parquet(out / "queries.parquet")["user_id"])
    assert not world.lives_in(PHRASE, USER)


def test_a_signed_release_is_said_to_need_another_signature_and_opens_with_it(world, tmp_path):
    key = make_key(tmp_path / "own.key")
    promote = world.params.promote.model_copy(update={"require_signature": key.public})
    world = replace(world, params=world.params.model_copy(update={"promote": promote}))
    for version in ("1", "2"):
        sign_release(world.task, world.registry, version, key)
    (ahead, *_) = [line for line in signing_ahead(world.place) if "(champion)" in line]
    assert "release 1 (champion) is signed" in ahead
    drift, (drop,) = DriftFolder(world.data, world.task), drop_names(world.data / "history/LaMP_2")
    harm = DriftFinding("losses", True, "the heads of 2 users do harm", (USER, OTHER))
    drift.keep_report(DriftReport("LaMP_2", "tonight", (harm,)))
    users = {user: UserLosses().after(0.5, 0.4) for user in (USER, OTHER)}
    drift.keep_losses(Losses(users=users, drops=[drop, "another"], requests=[f"{USER}\x1fr1", f"{OTHER}\x1fr2"]))

    said: list[str] = []
    receipt = job.forget(job.plan_forget(USER, world.place), world.place, world.params, say=said.append)
    document = load_json(receipt)
    assert document["sign_again"] == {"LaMP_2": {"1": "champion", "2": "challenger"}}
    told = [line for line in said if "`hydra-ml releases sign 1 --task LaMP_2 --key KEY`" in line]
    assert len(told) == 1
    assert told[0] in job.receipt_page(document, "receipt.json")
    with pytest.raises(ArtifactError, match="is not opened"):
        open_release(world.registry, world.task, "champion", world.cache, signed_with=key.public)
    where = {"data": world.data, "connect": lambda: world.registry, "api_url": "http://127.0.0.1:9/api"}
    (task,) = [one for one in collect_status(world.params, **where).tasks if one.task == "LaMP_2"]
    assert any("release 1 is champion and is not opened" in trouble for trouble in task.troubles())
    sign_release(world.task, world.registry, "champion", key)
    open_release(world.registry, world.task, "champion", world.cache, signed_with=key.public)
    (task,) = [one for one in collect_status(world.params, **where).tasks if one.task == "LaMP_2"]
    assert not task.unsigned

    # The watch for drift names the others alone, and knows the rewritten drop as one that it has counted.
    losses, report = drift.losses(), drift.report()
    assert losses.users == {OTHER: users[OTHER]}
    assert losses.requests == [f"{OTHER}\x1fr2"]
    assert losses.drops == [*drop_names(world.data / "history/LaMP_2"), "another"] != [drop, "another"]
    assert report is not None
    assert report.findings[0].line == f"the heads of 2 users do harm: user {OTHER}"
