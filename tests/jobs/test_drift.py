"""Watching for drift: a steady world stays quiet, planted changes are found, and nothing is asked or counted twice."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hydra_ml.evaluation.drift import DriftReport
from hydra_ml.io.drift import DriftFolder
from hydra_ml.io.encoders import open_encoder
from hydra_ml.io.feedback_store import Kept, append_feedback
from hydra_ml.io.history_store import append_drop
from hydra_ml.io.layout import task_folder
from hydra_ml.jobs.drift import watch_drift, watch_inputs
from hydra_ml.jobs.probe_llm import probe_llm
from hydra_ml.jobs.status import task_status
from hydra_ml.jobs.watch_losses import watch_losses
from hydra_ml.learning.feedback import Feedback, Shown
from hydra_ml.learning.history import read_record
from hydra_ml.records import RECORD_COLUMNS
from hydra_ml.sample import generate
from tests.conftest import bag_of_words
from tests.jobs.other_llm import served_as_my_model

TAKEN = "2026-11-28T00:00:00+00:00"


class Switched:
    """A server whose model may be exchanged behind its name."""

    def __init__(self, encode: Any) -> None:
        self.app, self.n_asked = served_as_my_model(encode), 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.n_asked += scope["type"] == "http" and scope["method"] == "POST"
        await self.app(scope, receive, send)


@pytest.fixture
def world(project, tmp_path):
    """The project with data of its own to change; releases, cache and texts' vectors are shared."""
    import shutil

    shutil.copytree(project.data / "prepare", tmp_path / "data/prepare")
    return replace(project, root=tmp_path)


def changed(params, **drift: Any):
    return params.model_copy(update={"drift": params.drift.model_copy(update=drift)})


def asked_of_my_model(params):
    return params.model_copy(update={"llm": params.llm.model_copy(update={"model": "my-model"})})


def test_a_steady_llm_is_quiet_and_another_behind_its_name_is_found(world, start_server, monkeypatch):
    server = Switched(open_encoder(world.params.encoder, world.cache, progress="").encode)
    for name, value in {"BASE_URL": start_server(server).address, "API_KEY": "k"}.items():
        monkeypatch.setenv(f"OPENAI_{name}", value)
    params = asked_of_my_model(changed(world.params, probe_prompts=40))
    where = {"data": world.data, "cache": world.cache}
    for night in range(6):
        found, n_calls = probe_llm(world.task, params, f"n{night}", **where)
        assert not found.is_alarm, night
        assert n_calls == 40
    assert server.n_asked == 240
    kept = (world.data / "drift/LaMP_2/answers.json").read_bytes()
    again, n_calls = probe_llm(world.task, params, "n5", **where)
    assert (again, n_calls, server.n_asked) == (found, 0, 240)
    assert (world.data / "drift/LaMP_2/answers.json").read_bytes() == kept

    server.app = served_as_my_model(lambda texts: bag_of_words(texts))  # reads otherwise, so it answers otherwise
    nights = [probe_llm(world.task, params, f"n{night}", **where)[0] for night in (6, 7)]
    assert nights[-1].is_alarm
    assert "its answers moved in the night of n" in nights[-1].told

    named = params.model_copy(update={"llm": params.llm.model_copy(update={"revision": "2"})})
    fresh, _ = probe_llm(world.task, named, "n8", **where)
    assert not fresh.is_alarm  # somebody said that it is another one
    assert "begun anew" in fresh.told


def test_a_night_cut_short_goes_on_and_comes_to_the_same(world):
    params = changed(world.params, probe_prompts=6)
    for night in ("a", "b"):
        probe_llm(world.task, params, night, data=world.data, cache=world.cache)
    folder = DriftFolder(world.data, world.task)
    whole = folder.probed()
    (folder.path / "answers.json").unlink()  # as if killed before it was kept: the answers are in the cache
    for night in ("a", "b"):
        _, n_calls = probe_llm(world.task, params, night, data=world.data, cache=world.cache)
        assert n_calls == 0
    assert folder.probed() == whole


def test_what_keeps_the_llm_from_being_asked_is_told_and_stops_nothing(world):
    where = {"data": world.data, "registry": world.registry, "cache": world.cache}
    off = watch_drift(world.task, changed(world.params, probe_prompts=0), "off", **where)
    assert off.findings[0].told == "not probed: drift.probe_prompts is 0"
    assert off.llm_calls == 0
    poor = world.params.model_copy(update={"llm": world.params.llm.model_copy(update={"max_calls": 0})})
    found = watch_drift(world.task, poor, "poor", **where)
    assert "not probed: " in found.findings[0].told
    assert "max_calls = 0" in found.findings[0].told
    assert not found.alarms
    assert [one.watch for one in found.findings] == ["llm", "losses", "inputs"]
    assert DriftFolder(world.data, world.task).report() == found


def said(user_id: str, number: int, *, personal_is_right: bool) -> Feedback:
    """A choice between two, of which the head preferred one and everybody's the other."""
    scores = (2.0, 0.0) if personal_is_right else (0.0, 2.0)
    shown = [
        Shown("comedy", 2, scores[0], scores[1], None, 0, personal_is_right, True),
        Shown("action", 1, scores[1], scores[0], None, 1, not personal_is_right, True),
    ]
    return Feedback(
        f"r{number}",
        user_id,
        "chosen",
        False,
        "comedy",
        "2026-11-28",
        "i",
        "1",
        "comedy",
        "action",
        "personal",
        [],
        shown,
    )


def test_heads_that_do_harm_are_found_by_feedback_and_each_request_counts_once(world):
    where = {"data": world.data, "registry": world.registry, "cache": world.cache}
    good = [Kept(said("ann", i, personal_is_right=True), "", False) for i in range(40)]
    append_feedback(world.data, world.task, good, TAKEN)
    quiet = watch_losses(world.task, world.params, **where)
    assert not quiet.is_alarm
    assert "40 answers of 1 users" in quiet.told
    assert watch_losses(world.task, world.params, **where) == quiet

    bad = [Kept(said("bob", 100 + i, personal_is_right=False), "", False) for i in range(40)]
    append_feedback(world.data, world.task, bad, TAKEN)
    found = watch_losses(world.task, world.params, **where)
    assert found.is_alarm
    assert "80 answers of 2 users" in found.told
    losses = DriftFolder(world.data, world.task).losses()
    assert losses.users["bob"].process.log_e > np.log(40) > losses.users["ann"].process.log_e
    report = DriftReport(world.task.folder, "tonight", (found,))
    DriftFolder(world.data, world.task).keep_report(report)
    status = task_status(world.task, data=world.data, connect=lambda: world.registry)
    assert status.drift == (f"losses: {found.told} (tonight)",)
    assert any("drift, losses: " in trouble for trouble in status.troubles())


def fresh_records(world, n: int, *, text: str = "") -> pd.DataFrame:
    """Records of the sample's kind, of the evaluated users; with a text, that instead."""
    users = pd.read_parquet(world.data / "prepare/LaMP_2/queries.parquet")["user_id"].unique().tolist()
    items = [item for one in generate("LaMP_2", seed=99, n_users=12).questions["test"] for item in one["profile"]]
    records = []
    for i, item in enumerate(items[:n]):
        told = {**item, "description": f"{text} {i}"} if text else item
        record = read_record(world.task, users[i % len(users)], {**told, "date": f"2031-01-{i % 28 + 1:02d}"})
        records.append({name: getattr(record, name) for name in RECORD_COLUMNS})
    return pd.DataFrame(records)


def test_records_are_judged_by_a_release_that_cannot_have_learned_them(world):
    where = {"data": world.data, "registry": world.registry, "cache": world.cache}
    history = task_folder(world.data, "history", world.task)
    append_drop(history, fresh_records(world, 30))
    found = watch_losses(world.task, world.params, **where)
    losses = DriftFolder(world.data, world.task).losses()
    assert losses.together.n > 20  # of users with a head
    assert 0 < losses.together.shared / losses.together.n < 1
    assert "personal loss" in found.told
    assert watch_losses(world.task, world.params, **where) == found
    assert DriftFolder(world.data, world.task).losses() == losses

    late = append_drop(history, fresh_records(world, 60).tail(30))
    os.utime(history / f"{late}.parquet", (0, 0))  # it came before there was any release
    skipped = watch_losses(world.task, world.params, **where)
    assert "1 drops came before any release that could judge them" in skipped.told
    assert DriftFolder(world.data, world.task).losses().together == losses.together


def test_texts_of_another_kind_are_found_and_those_of_the_same_are_not(world):
    where = {"data": world.data, "cache": world.cache}
    assert "0 texts came in since" in watch_inputs(world.task, world.params, **where).told
    history = task_folder(world.data, "history", world.task)
    name = append_drop(history, fresh_records(world, 80))
    same = watch_inputs(world.task, world.params, **where)
    assert not same.is_alarm, same.told
    os.utime(history / f"{name}.parquet", (0, 0))
    append_drop(history, fresh_records(world, 400, text="Invoice overdue, please wire the amount to account number"))
    other = watch_inputs(world.task, world.params, **where)
    assert other.is_alarm
    assert "nearness_to_mean" in other.told
